"""The last line of a run says how many seeds there were, and what they did."""

import pytest

from tests.property.soloist_kalshi_faults.client_world import TOTALS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell it once, if any seed ran."""
    if TOTALS.seeds:
        terminalreporter.write_line(f"client under faults: {TOTALS}")
