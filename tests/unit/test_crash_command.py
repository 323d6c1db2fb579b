"""`python -m tests.crash`: a count that was not reached is no success."""

import logging
import sys

import pytest

from tests.crash.__main__ import main


@pytest.mark.parametrize(
    ("part", "option", "what"), [("memory", "--crashes", "crashes"), ("kills", "--kills", "kills")]
)
def test_a_run_whose_time_is_up_before_its_count_fails_and_says_so(monkeypatch, capsys, part, option, what):
    arguments = ["--part", part, option, "10", "--minutes", "0", "--first-seed", "7"]
    monkeypatch.setattr(sys, "argv", ["python -m tests.crash", *arguments])
    try:
        assert main() == 1
    finally:
        logging.disable(logging.NOTSET)
    said = capsys.readouterr()
    assert f"{what}\t0" in said.out
    assert f"only 0 of 10 {what}" in said.err
    assert "--minutes" in said.err
    assert "--first-seed 7" in said.err
