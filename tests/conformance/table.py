"""docs/conformance.md: every card with its last result, every switch with the cards that show it, and what no card shows."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from soloist_exchange.switches import described

from tests.conformance.card import Card, card_of

__all__ = ["CARDS", "DOCUMENT", "all_cards", "modules", "render", "results_in"]

CARDS = Path(__file__).resolve().parent / "cards"
DOCUMENT = CARDS.parents[2] / "docs" / "conformance.md"
NOT_RUN = "not run"
_ROW = re.compile(r"^\| (C[0-9]{3}) \|.*\| ([a-z ]+) \|$", re.MULTILINE)

_HEAD = """# Conformance cards

A card is one numbered test that shows one sentence of the venue's contract. It runs our client (`soloist_kalshi`) against a real
`soloist-exchange serve` process over TLS, with a market and an account of its own; cards of time run on a virtual clock. The cards of
`test_24_third_party.py` run a published client that is not ours, `pykalshi`, unmodified.

```
make conformance               every card on our exchange; writes the results into this file
make conformance VENUE=demo    the demo-safe cards at the venue's public demo
```

The demo needs an account there: SOLOIST_DEMO_KEY_ID is the id of its API key, SOLOIST_DEMO_KEY_FILE the file with the private key
(PEM). Demo-safe cards read, or place post-only orders at one or two cents in a market whose best bid is ten cents or more, and cancel
them, also after a card that failed. They have never run there: there was no key and no way out to it when they were written. In the same
mode they ran against an exchange of ours in the demo's place. The first real run will tell about the questions of section 16 as well as
about the cards.

This file is made by `make conformance`; a test compares it with the cards. Sections are those of the contract.
"""

_REST = """
## What no card shows, and why

| what | why |
|---|---|
| the limits of 200 000 open orders, 100 000 groups and 500 000 subscribed markets | minutes of set-up each; the exchange's unit tests lower them |
| speed, 5 000 markets, start time | `make bench` measures them; a card must not depend on the machine |
| the edge of a fee that is carried from an order's taker part to its maker part | the contract names it without numbers; the fee model's own tests fix ours |
| the fee type `flat` | its amount is not published |
| maintenance at Thursday 03:00 Eastern time | the pauses themselves are shown; when they come is the venue's business |
| combination (mve) collections, RFQ, block trades, index and price channels | optional in the contract, and nothing here trades them |
| FIX | not needed now (section 14) |
| permessage-deflate, messages of 64 MiB, 10 000 commands a second | reported by third parties only; no client of ours depends on them |
| `disputed` and `amended` markets | the contract names the words and no way to get there |
| pages that change while the client reads a repeated first page | the client's unit tests send one; our exchange never does |
| 1 000 seeds of random faults, 10 000 random order streams | property tests: `tests/property` |
"""


def modules() -> list[ModuleType]:
    """Import every file of cards, in their order."""
    return [
        importlib.import_module(f"tests.conformance.cards.{path.stem}")
        for path in sorted(CARDS.glob("test_*.py"))
    ]


def all_cards() -> list[Card]:
    """Return every card in the order of the files and of the tests in them."""
    tests = [test for module in modules() for test in vars(module).values()]
    return [found for test in tests if (found := card_of(test)) is not None]


def results_in(text: str) -> dict[str, str]:
    """Return the results that a document tells, by the numbers of the cards."""
    return {match[1]: match[2] for match in _ROW.finditer(text)}


def render(cards: Iterable[Card], results: Mapping[str, str]) -> str:
    """Return the document."""
    rows = [
        f"| {item.number} | {item.section} | {item.title} | {'yes' if item.demo else ''} | {results.get(item.number, NOT_RUN)} |"
        for item in cards
    ]
    switches = [
        f"| `{switch.name}` | {switch.section} | `{switch.value}` | {_shown_by(cards, switch.name)} |"
        for switch in described()
    ]
    return "\n".join(
        [
            _HEAD,
            f"## The cards ({len(rows)})\n",
            "| card | section | what | demo-safe | last result |",
            "|---|---|---|---|---|",
            *rows,
            "\n## Every open question is a switch, and each switch has a card that sees its other behaviour\n",
            "| switch | section | default | shown by |",
            "|---|---|---|---|",
            *switches,
            _REST,
        ]
    )


def _shown_by(cards: Iterable[Card], switch: str) -> str:
    return ", ".join(item.number for item in cards if switch in item.switches)
