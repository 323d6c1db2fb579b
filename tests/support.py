"""What tests of every layer share."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

POLL_S = 0.1


def eventually(
    condition: Callable[[], Result],
    deadline_s: float,
    message: str | Callable[[], str],
    *,
    interval_s: float = POLL_S,
) -> Result:
    """Poll until `condition` returns something true and return that.

    Fails the test at the deadline with `message`, or with what `message()` says then: make it print the state that
    was seen. An exception of the condition is the test's own failure and ends the wait.
    """
    end_s = time.monotonic() + deadline_s
    while True:
        if result := condition():
            return result
        if time.monotonic() > end_s:
            said = message if isinstance(message, str) else message()
            raise AssertionError(f"not within {deadline_s:g} s: {said}")
        time.sleep(interval_s)
