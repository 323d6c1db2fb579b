from __future__ import annotations

import json
import stat

import pytest
from click.testing import CliRunner
from soloist_exchange.cli import main


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_an_account_and_its_key_file(tmp_path):
    done = run("account", "create", "me", "--balance", "12.50", "--state-dir", tmp_path)
    printed = json.loads(done.stdout)
    assert (done.exit_code, set(printed)) == (0, {"account", "key_id", "private_key_file"})
    path = tmp_path / "me.pem"
    assert printed["private_key_file"] == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("-----BEGIN PRIVATE KEY-----")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["account", "create", "me", "--balance", "much"], "--balance"),
        (["account", "create", "me", "--balance", "-1.00"], "must not be negative"),
        (["account", "create", "../me"], "letters, digits"),
        (["account", "create", ""], "letters, digits"),
        (["serve", "--listen", "8443"], "8443 is not HOST:PORT"),
        (["serve", "--listen", "localhost:99999"], "is not HOST:PORT"),
        (["serve", "--scenario", "nothing"], "neither a file nor one of demo"),
    ],
)
def test_bad_input_is_explained(tmp_path, words, complaint):
    done = run(*words, "--state-dir", tmp_path / "state")
    assert done.exit_code in {1, 2}
    assert complaint in done.stderr


def test_lists():
    assert "demo\t5 markets" in run("scenarios").stdout
    assert "post_only_cross\treject" in run("switches").stdout
