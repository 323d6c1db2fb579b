"""The cards as a whole: their numbers, what they leave out, and that docs/conformance.md tells what they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from soloist_exchange.faults import FAULT_KINDS
from soloist_exchange.switches import described

from tests.conformance.card import card, card_of
from tests.conformance.table import CARDS, DOCUMENT, all_cards, modules, render, results_in

FEWEST_CARDS = 120
SECTION = re.compile(r"([1-9]|1[0-6])(\.[1-9])?")


def test_numbers_are_unique_and_without_gaps():
    numbers = [item.number for item in all_cards()]
    assert numbers == [f"C{number:03}" for number in range(1, len(numbers) + 1)]
    assert len(numbers) >= FEWEST_CARDS


def test_every_test_is_a_card_with_a_section_of_the_contract():
    without = [
        f"{module.__name__}.{name}"
        for module in modules()
        for name, test in vars(module).items()
        if name.startswith("test_") and card_of(test) is None
    ]
    assert without == []
    assert [item.number for item in all_cards() if not SECTION.fullmatch(item.section)] == []
    titles = [item.title for item in all_cards()]
    assert len(titles) == len(set(titles))


def test_every_switch_has_a_card_and_every_named_switch_exists():
    known = {switch.name for switch in described()}
    assert {name for item in all_cards() for name in item.switches} == known


def test_every_fault_has_a_card():
    text = "".join(path.read_text() for path in CARDS.glob("test_*.py"))
    assert [kind for kind in FAULT_KINDS if f'"{kind}"' not in text] == []


def test_the_document_is_that_of_the_cards_and_all_passed():
    text = DOCUMENT.read_text(encoding="utf-8")
    results = results_in(text)
    assert text == render(all_cards(), results), "run `make conformance`"
    assert {
        item.number: results[item.number] for item in all_cards() if results[item.number] != "passed"
    } == {}


def test_the_demo_refuses_without_a_key():
    settings = {name: value for name, value in os.environ.items() if not name.startswith("SOLOIST_DEMO")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.run", "--venue", "demo"],
        env=settings,
        cwd=CARDS.parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=25,
    )
    assert done.returncode == 2
    assert "set SOLOIST_DEMO_KEY_ID to its id and SOLOIST_DEMO_KEY_FILE" in done.stderr


@pytest.mark.parametrize(
    ("number", "options", "complaint"),
    [
        ("17", {}, "C and three digits"),
        ("C017", {"title": "a | b"}, "one line of a table"),
        ("C017", {"demo": True, "clock": "virtual"}, "neither our switches nor a clock"),
        ("C017", {"demo": True, "switches": ("pss_salt",)}, "neither our switches nor a clock"),
    ],
)
def test_what_can_be_no_card(number, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        card(number, **({"section": "2", "title": "a title"} | options))
