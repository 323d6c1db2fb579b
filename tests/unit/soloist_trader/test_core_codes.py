"""Every code is used by the core, documented, and in docs/codes.md."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from soloist_trader import core
from soloist_trader.cli.codes import codes
from soloist_trader.core import risk
from soloist_trader.core.codes import PAUSE_CODES, AlertCode, Code, Contradiction, is_pause

ROOT = Path(__file__).parents[3]
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in Path(core.__file__).parent.glob("*.py")}


@pytest.mark.parametrize("enum", [Code, Contradiction, AlertCode])
def test_every_code_is_used_outside_its_own_table(enum):
    used = {name for name in enum.__members__ for file, text in SOURCES.items()
            if file != "codes.py" and f"{enum.__name__}.{name}" in text}  # fmt: skip
    assert used == set(enum.__members__)


@pytest.mark.parametrize("enum", [Code, Contradiction, AlertCode])
def test_every_code_has_a_word_and_a_sentence(enum):
    for member in enum:
        assert re.fullmatch(r"[A-Z][A-Za-z]+", member.value)
        assert str(member) == member.value
        assert member.document.endswith(".")


def test_alerts_carry_no_code_that_is_not_in_the_table():
    literal = [
        line for text in SOURCES.values() for line in text.splitlines() if re.search(r'Alert\(\s*"', line)
    ]
    assert literal == []


def test_every_limit_of_the_risk_table_denies_with_a_documented_code():
    assert {row.code for row in risk.TABLE} <= set(Code)


def test_the_document_is_what_the_tables_say(tmp_path):
    runner = CliRunner()
    shown = runner.invoke(codes, ["--path", str(ROOT / "docs" / "codes.md")])
    assert shown.exit_code == 0, shown.output
    drifted = tmp_path / "codes.md"
    drifted.write_text("old", encoding="utf-8")
    shown = runner.invoke(codes, ["--path", str(drifted)])
    assert (shown.exit_code, "--write" in shown.output) == (1, True)
    assert runner.invoke(codes, ["--write", "--path", str(drifted)]).exit_code == 0
    assert drifted.read_text(encoding="utf-8") == (ROOT / "docs" / "codes.md").read_text(encoding="utf-8")


def test_pauses_are_told_from_faults():
    assert all(is_pause(code.upper()) for code in PAUSE_CODES)
    assert not is_pause("insufficient_balance")
