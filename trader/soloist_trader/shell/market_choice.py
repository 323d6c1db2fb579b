"""Which markets one engine follows: those that are named, and those that the filters choose from the series.

What was chosen reaches the core as `MarketSeen` events, and what left as `BookLost`: both are on the tape, so that a
replay needs no venue to know them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from soloist_kalshi.messages import Market
from soloist_kalshi.rest import RestClient

from soloist_trader.config import MarketsBlock
from soloist_trader.core.ledger import Ledger
from soloist_trader.shell.clock import monotonic_ms, ms_to_text, now_ms
from soloist_trader.shell.logs import log
from soloist_trader.strategies.discovery import Verdict, judge

SHOWN: Final = 50
"""Reasons of so many markets are kept for `/status`; the counts are of all."""
_WORDS: Final = {"active": "open", "initialized": "unopened", "inactive": "paused"}
"""The venue's word of its listing's filter for each status."""
_COMING: Final = frozenset({"active", "initialized", "inactive"})
"""A market in one of these takes orders, will, or may again."""


class Change(NamedTuple):
    """What a look changed: tickers that are followed from now on, and those that are not any more."""

    added: list[str]
    gone: list[str]
    closed: list[Market]
    """What the venue says of those that are gone: nobody asks for them again."""


def held_markets(ledger: Ledger) -> set[str]:
    """Markets with a position or an order that may still change one."""
    held = {market for market, position in ledger.positions.items() if position.count}
    return held | {order.slot.market for order in ledger.unsettled()}


class MarketChoice:
    """Chooses at start and looks again. `held` names the markets that may not leave, and have to come back after a restart."""

    def __init__(self, block: MarketsBlock, held: Callable[[], Collection[str]] = frozenset) -> None:
        self._block = block
        self._held = held
        self._found: dict[str, str] = {}
        """Followed by discovery: ticker to why."""
        self._left_out: list[Verdict] = []
        self._listed = 0
        self._named_told = False
        self._looked_ms = 0
        self._due_ms = 0
        self.left: set[str] = set()
        """Tickers that were followed once and are not any more."""

    @property
    def tickers(self) -> list[str]:
        """Everything that is followed now, named ones first."""
        return [*self._block.tickers, *(name for name in self._found if name not in self._block.tickers)]

    def __contains__(self, ticker: str) -> bool:
        return ticker in self._found or ticker in self._block.tickers

    @property
    def is_due(self) -> bool:
        """True when it is time to look again; never where no series is named."""
        return bool(self._block.series) and monotonic_ms() >= self._due_ms

    async def pause(self, at_most_s: float) -> None:
        """Sleep until the next look, or so long if that is sooner."""
        await asyncio.sleep(
            min(at_most_s, self._block.look_every_seconds) if self._block.series else at_most_s
        )

    async def look(self, rest: RestClient) -> Change:
        """Ask the venue and choose. Raises VenueError and ValueError; then nothing changed, and the next look is due at once."""
        named = [] if self._named_told else list(self._block.tickers)
        if not self._block.series:
            self._named_told = True
            return Change(named, [], [])
        filters, excluded = self._block.filters, set(self._block.tickers)
        listed: dict[str, Market] = {}
        for series in self._block.series:
            for market in await rest.get_markets(status=_WORDS[filters.status], series_ticker=series):
                listed.setdefault(market.ticker, market)
        others = sorted((self._found.keys() | set(self._held())) - listed.keys() - excluded)
        shown = {market.ticker: market for market in await rest.get_markets(tickers=others)} if others else {}
        held = set(self._held())  # after the reads: an order may have been intended meanwhile

        following = {name: why for name, why in self._found.items() if name in listed}
        for name in others:
            stays = self._stays(name, shown.get(name), held)
            if stays:
                following[name] = stays
        new = (name for name in held if name in listed)
        following |= {name: "holds a position or an order" for name in new if name not in following}
        candidates = [market for name, market in listed.items() if name not in excluded]
        verdicts = judge(candidates, filters, following, now_ms())
        chosen = following | {
            verdict.ticker: verdict.why
            for verdict in verdicts
            if not verdict.rule and verdict.ticker not in following
        }
        gone = [name for name in self._found if name not in chosen]
        change = Change(
            named + [name for name in chosen if name not in self._found],
            gone,
            [shown[name] for name in gone if name in shown],
        )
        first = not self._looked_ms
        self._named_told = True
        self._found, self._left_out = chosen, [verdict for verdict in verdicts if verdict.rule]
        self._listed = len(candidates)
        self.left = (self.left | set(change.gone)) - chosen.keys()
        self._looked_ms, self._due_ms = now_ms(), monotonic_ms() + self._block.look_every_seconds * 1000
        if first or change.added or change.gone:
            self._say(change)
        return change

    def _stays(self, name: str, market: Market | None, held: Collection[str]) -> str:
        """Why a market stays although its series does not list it as wanted now; empty if it leaves."""
        ours = name in self._found or (
            market is not None
            and any(
                market.event_ticker == one or market.event_ticker.startswith(f"{one}-")
                for one in self._block.series
            )
        )
        if not ours:
            return ""  # a position of another series, or of a person: this bot was not asked to look after it
        if name in held:
            return "holds a position or an order"
        if market is not None and name in self._found and market.status in _COMING:
            return f"{market.status}, chosen before"
        return ""

    def _say(self, change: Change) -> None:
        log(
            "MarketsChosen",
            f"{len(self._found)} of {self._listed} listed markets of {', '.join(self._block.series)} are followed"
            + "".join(f"; {count} left out by {rule}" for rule, count in self._counts().items()),
            level=logging.INFO if self._found or self._block.tickers else logging.WARNING,
            added=change.added[:SHOWN],
            gone=change.gone[:SHOWN],
            why={name: self._found[name] for name in change.added[:SHOWN] if name in self._found},
        )

    def _counts(self) -> dict[str, int]:
        return dict(Counter(verdict.rule for verdict in self._left_out))

    def shown(self) -> dict[str, object] | None:
        """For `/status`; None where no series is named."""
        if not self._block.series:
            return None
        return {
            "series": list(self._block.series),
            "filters": self._block.filters.model_dump(mode="json", exclude_none=True),
            "lookedAt": ms_to_text(self._looked_ms) if self._looked_ms else "",
            "listed": self._listed,
            "followed": len(self._found),
            "chosen": dict(list(self._found.items())[:SHOWN]),
            "leftOut": self._counts(),
            "leftOutWhy": {verdict.ticker: verdict.why for verdict in self._left_out[:SHOWN]},
        }

    def nothing(self) -> str:
        """Why nothing can be traded, empty if something is followed."""
        if self.tickers or not self._looked_ms:
            return ""
        counts = ", ".join(f"{count} left out by {rule}" for rule, count in self._counts().items())
        return (
            f"no market of series {', '.join(self._block.series)} fits spec.markets.filters now "
            f"({self._listed} listed{': ' if counts else ''}{counts}); looked at {ms_to_text(self._looked_ms)}, "
            f"again every {self._block.look_every_seconds} s"
        )
