"""What a scenario is, and the list of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from string import ascii_lowercase

from tests.chaos.stage import Stage

Act = Callable[[Stage], None]

KILLED_MS = 15_000
HUNG_MS = 30_000
REVOCATION_BOUND_MS = 1_000
"""`exchange.revocationBoundMs` of the chart, D_rev."""
LOST_NODE_MS = 45_000 + REVOCATION_BOUND_MS


@dataclass(frozen=True)
class Scenario:
    """One row of the table."""

    number: str
    title: str
    act: Act
    runs: int = 3
    zombie: bool = False
    """The old engine is alive when the new one trades, and must be seen trying."""
    recovery_limit_ms: int | None = None
    """None: recovery is not what this scenario is about."""
    with_bot: bool = True
    """False: the scenario creates its bots itself."""
    keys_left: int = 1
    """How many keys of engines the venue accepts when all is over."""
    revocation_delay_ms: int = 0
    """How long this scenario's venue goes on accepting a deleted key, which the judge has to know."""


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    number: str,
    title: str,
    *,
    runs: int = 3,
    zombie: bool = False,
    recovery_limit_ms: int | None = None,
    with_bot: bool = True,
    keys_left: int = 1,
    revocation_delay_ms: int = 0,
) -> Callable[[Act], Act]:
    """Enter a function into the catalogue; the numbers are those of singleton-safety.md, section 5.3."""

    def enter(act: Act) -> Act:
        assert number not in SCENARIOS, number
        SCENARIOS[number] = Scenario(
            number, title, act, runs, zombie, recovery_limit_ms, with_bot, keys_left, revocation_delay_ms
        )
        return act

    return enter


def in_order() -> list[Scenario]:
    """The catalogue by number: 2a before 2b before 10."""
    return sorted(
        SCENARIOS.values(), key=lambda each: (int(each.number.rstrip(ascii_lowercase)), each.number)
    )
