"""`make conformance`: run the cards, on our exchange or at the venue's demo, and write down how they went."""

from __future__ import annotations

import argparse
import os
import sys

import pytest

from tests.conformance import demo
from tests.conformance.table import CARDS, DOCUMENT, all_cards, render

_NO_SETTINGS = 2


class _Results:
    """A pytest plugin that keeps the worst result of each card's tests."""

    def __init__(self) -> None:
        self.by_card: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        number = dict(report.user_properties).get("card")
        if not isinstance(number, str) or (report.when != "call" and report.passed):
            return
        result = "passed" if report.passed else "failed"
        if self.by_card.get(number) != "failed":
            self.by_card[number] = result


def main() -> int:
    """Run the cards and return the exit code."""
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("--venue", choices=["local", "demo"], default="local")
    venue = parser.parse_args().venue
    if venue == "demo" and (missing := demo.missing_settings()):
        print(missing, file=sys.stderr)
        return _NO_SETTINGS
    os.environ["SOLOIST_VENUE"] = venue
    results = _Results()
    code = pytest.main(["-q", str(CARDS)], plugins=[results])
    cards = all_cards()
    if venue == "local":
        DOCUMENT.write_text(render(cards, results.by_card), encoding="utf-8")
    for item in cards:
        if item.number in results.by_card:
            print(f"{item.number}  {results.by_card[item.number]:6}  {item.section:5}  {item.title}")
    failed = sum(result == "failed" for result in results.by_card.values())
    print(f"{len(results.by_card)} of {len(cards)} cards ran at {venue}, {failed} failed")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
