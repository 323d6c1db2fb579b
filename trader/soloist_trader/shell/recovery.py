"""Agreeing with the venue: once at start before anything is traded, then every 30 s, and the proof at a stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from soloist_kalshi.errors import VenueError

from soloist_trader.core import events
from soloist_trader.core.identifiers import is_ours
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.units import REDUCING
from soloist_trader.shell.clock import monotonic_ms, now_ms
from soloist_trader.shell.logs import log
from soloist_trader.shell.runtime import Runtime
from soloist_trader.shell.venue import Edge, Reading, SpotChecked, VenueTimed

FLIGHT_MS: Final = 1_000
"""D_flight: bytes of a process that died may arrive for so long (same host or one hop; the kernel still sends them)."""
OVERLAP_MS: Final = 120_000
"""Fills are read again this far before the cursor: the venue's clock and its read model are not ours."""
SWEEP_S: Final = 30.0
SWEEP_AGAIN_S: Final = 3.0
READS_SHARE: Final = 4
"""A sweep is followed by so many times its own duration of quiet: reads wait for the account's read tokens, so that a
scarce budget makes sweeps longer and rarer, and at most a fifth of it goes into them."""
LOOKS_AGAIN_S: Final = 0.2
SETTLED_AFTER_MS: Final = 2_000
SPOT_LOOKS: Final = 3
SPOT_AGAIN_S: Final = 0.5
_MAXIMUM_PASSES: Final = 20
_READ_ERRORS: Final = (VenueError, ValueError)


def wanted(ledger: Ledger) -> dict[str, tuple[str, int]]:
    """Unsettled orders: id to (market, when intended)."""
    return {order.client_order_id: (order.slot.market, order.intended_ms) for order in ledger.unsettled()}


def quiet_after_s(took_s: float, *, differs: bool) -> float:
    """How long to leave the venue alone after a sweep that took so long, in seconds."""
    return max(SWEEP_AGAIN_S if differs else SWEEP_S, READS_SHARE * took_s)


async def shows(edge: Edge, moment_ms: int) -> bool:
    """Whether reads of the account show everything until a moment of our clock. Raises VenueError.

    The venue says in its own time how far it is, which may be seconds from ours either way.
    """
    at_venue_ms = edge.venue_ms(moment_ms) if isinstance(edge, VenueTimed) else moment_ms
    return await edge.as_of_ms() > at_venue_ms and now_ms() > moment_ms


async def until_shown(edge: Edge, moment_ms: int) -> None:
    """Wait until reads show everything until a moment. Raises VenueError."""
    while not await shows(edge, moment_ms):  # noqa: ASYNC110 the venue tells no event
        await asyncio.sleep(LOOKS_AGAIN_S / 4)


class Reconciler:
    """Compares one engine with the venue."""

    def __init__(self, runtime: Runtime, started_ms: int) -> None:
        self.runtime = runtime
        self.phase = "Starting"
        self.sweeps = 0
        self.last_error = ""
        self.foreign: tuple[str, ...] = ()
        """Order ids of the account's resting orders that are not ours: reported, never touched."""
        self._claim_hash = runtime.engine.desk.identity.claim_hash
        self._started_ms = started_ms
        self._soon = asyncio.Event()
        self._missing = ""

    @property
    def _ledger_cursor_ms(self) -> int:
        return self.runtime.engine.ledger.cursor_ms or self._started_ms

    def hurry(self) -> None:
        """Sweep as soon as possible: private channels were away for a while and have no sequence numbers."""
        self._soon.set()

    # -- start

    async def recover(self) -> None:
        """Bring ledger and venue together; returns when trading may begin. Waits while the venue cannot be read."""
        self.phase = "WaitingForReadModel"
        await self._wait_for_read_model(self._started_ms + FLIGHT_MS)
        self.phase = "Reading"
        reading = await self._two_equal_passes()
        self._apply(reading)
        self.runtime.release_own_events()
        self.phase = "ResolvingOrders"
        await self._settle_leftovers()
        self.phase = "Comparing"
        await self._compare()
        self.runtime.dispatch(events.Readied(now_ms()))
        self.phase = "Ready"

    async def _wait_for_read_model(self, moment_ms: int) -> None:
        """Until the venue's read model is later than a moment: what was in flight then has arrived or never will."""
        while True:
            try:
                return await until_shown(self.runtime.edge, moment_ms)
            except _READ_ERRORS as error:
                self._note(error)
            await asyncio.sleep(LOOKS_AGAIN_S / 4)

    def _note(self, error: Exception) -> None:
        if str(error) != self.last_error:
            self.last_error = str(error)
            log("VenueUnreadable", str(error), level=logging.WARNING, phase=self.phase)

    async def _read(self) -> Reading:
        while True:
            try:
                reading = await self.runtime.edge.read(
                    self._ledger_cursor_ms - OVERLAP_MS, wanted(self.runtime.engine.ledger)
                )
            except _READ_ERRORS as error:
                self._note(error)
                await asyncio.sleep(LOOKS_AGAIN_S)
                continue
            self.last_error = ""
            return reading

    async def _two_equal_passes(self) -> Reading:
        """Two passes with the same content and no own event since the first of them began."""
        seen, before = self.runtime.own_events, await self._read()
        for _ in range(_MAXIMUM_PASSES):
            began, reading = self.runtime.own_events, await self._read()
            if reading.fingerprint() == before.fingerprint() and seen == self.runtime.own_events:
                return before  # its as-of time is the earlier one: nothing after it is skipped
            seen, before = began, reading
            await asyncio.sleep(LOOKS_AGAIN_S)
        log(
            "ReadingUnstable",
            "the account kept changing while it was read; orders settle first",
            level=logging.WARNING,
        )
        return before

    def _apply(self, reading: Reading) -> None:
        """Facts first, then the comparison, then the cursor."""
        runtime = self.runtime
        for order in reading.orders:
            runtime.dispatch(order)
        self._note_foreign(reading)
        for group in reading.groups:
            runtime.dispatch(group)
        adopting = runtime.engine.ledger.cursor_ms == 0
        if not adopting:
            for fill in reading.fills:
                runtime.dispatch(fill)
            for settlement in reading.settlements:
                runtime.dispatch(settlement)
        fill_ids = tuple((fill.fill_id, fill.fill_time_ms) for fill in reading.fills)
        runtime.dispatch(events.PositionsSeen(now_ms(), reading.as_of_ms, reading.positions, fill_ids))
        if reading.balance >= 0 and not reading.has_resting:
            runtime.dispatch(events.BalanceSeen(now_ms(), reading.balance, reading.as_of_ms))
        runtime.dispatch(events.SweepEnded(now_ms(), reading.as_of_ms))

    def _note_foreign(self, reading: Reading) -> None:
        foreign = tuple(
            sorted(
                order.order_id
                for order in reading.orders
                if not order.closed and not is_ours(order.client_order_id, self._claim_hash)
            )
        )
        if foreign != self.foreign:
            self.foreign = foreign
            shown = ", ".join(foreign[:5])
            log(
                "ForeignOrders",
                f"{len(foreign)} orders on this subaccount are not of this bot: {shown or 'none'}; they are left alone",
                level=logging.WARNING,
            )

    async def _settle_leftovers(self) -> None:
        """Own orders that rest are cancelled, unknown ones resolved; the engine's ticks drive both."""
        ledger = self.runtime.engine.ledger
        said_ms = monotonic_ms()
        while ledger.unsettled_count():
            if monotonic_ms() - said_ms > 5 * SETTLED_AFTER_MS:
                said_ms = monotonic_ms()
                left = [f"{order.client_order_id} {order.label}" for order in ledger.unsettled()]
                log("StillUnsettled", f"{len(left)} orders: {', '.join(left[:5])}", level=logging.WARNING)
            await asyncio.sleep(LOOKS_AGAIN_S / 4)

    async def _compare(self) -> None:
        """Until a comparison was possible for every market, or the same difference was seen twice (then REDUCING)."""
        engine = self.runtime.engine
        for _ in range(_MAXIMUM_PASSES):
            self._apply(await self._read())
            if engine.account.whole and not engine.differences:
                return
            if engine.differences and "reconcile" in engine.ledger.latches:
                return
            await asyncio.sleep(LOOKS_AGAIN_S)
        word = events.Verb(
            now_ms(), "reconcile", REDUCING, "not every position could be compared with the venue's yet"
        )
        self.runtime.dispatch(word)
        self.hurry()

    # -- run

    async def sweep(self) -> None:
        """Compare every 30 s, sooner after a difference or a reconnect, until cancelled."""
        delay_s = SWEEP_S
        while True:
            try:
                async with asyncio.timeout(delay_s):
                    await self._soon.wait()
            except TimeoutError:
                pass
            self._soon.clear()
            began_ms = monotonic_ms()
            try:
                reading = await self.runtime.edge.read(
                    self._ledger_cursor_ms - OVERLAP_MS, self._old_unsettled()
                )
            except _READ_ERRORS as error:
                self._note(error)
                delay_s = SWEEP_AGAIN_S
                continue
            self.last_error = ""
            self.sweeps += 1
            self._apply(reading)
            await self.check_a_book()
            took_s = (monotonic_ms() - began_ms) / 1000
            delay_s = quiet_after_s(took_s, differs=bool(self.runtime.engine.differences))

    async def check_a_book(self) -> None:
        """Compare one market's top with a read of it, the next one each time; a wrong book begins anew.

        It counts only while our top stayed the same during the look, and three looks in a row have to differ: a read may
        be a moment late.
        """
        edge, markets = self.runtime.edge, self.runtime.engine.markets
        live = [name for name, market in markets.items() if market.live]
        if not live or not isinstance(edge, SpotChecked):
            return
        name = live[self.sweeps % len(live)]
        for _ in range(SPOT_LOOKS):
            before = self._top(name)
            try:
                theirs = await edge.look_at_top(name)
            except _READ_ERRORS as error:
                self._note(error)
                return
            if self._top(name) != before or theirs == before[1:]:
                return
            await asyncio.sleep(SPOT_AGAIN_S)
        log(
            "BookDiffers",
            f"{name}: our best bid and ask are {before[1:]}, the venue's {theirs}; the books begin anew",
            level=logging.ERROR,
        )
        edge.reconnect()

    def _top(self, name: str) -> tuple[int, int, int]:
        market = self.runtime.engine.markets[name]
        return market.generation, market.view.bid_price, market.view.ask_price

    def _old_unsettled(self) -> dict[str, tuple[str, int]]:
        """Unsettled for longer than an ordinary round trip."""
        limit_ms = now_ms() - SETTLED_AFTER_MS
        every = wanted(self.runtime.engine.ledger)
        return {name: order for name, order in every.items() if order[1] < limit_ms}

    # -- stop

    async def prove_nothing_rests(self, deadline_ms: int) -> str:
        """Cancel everything and prove it by a listing. Returns "" when proven, else what is missing.

        `deadline_ms` is on the monotonic clock; a read that hangs does not outlast it.
        """
        self._missing = "nothing was listed yet"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0, deadline_ms - monotonic_ms()) / 1000):
                await self._until_nothing_rests()
                return ""
        left = ", ".join(
            f"{order.client_order_id} {order.label}" for order in self.runtime.engine.ledger.unsettled()
        )
        return f"{self._missing}; unsettled: {left or 'none'}"

    async def _until_nothing_rests(self) -> None:
        """Until every order has ended, and a listing of a later moment shows none of ours."""
        runtime, ledger = self.runtime, self.runtime.engine.ledger
        while ledger.unsettled_count() or runtime.in_flight:  # noqa: ASYNC110 as above
            await asyncio.sleep(LOOKS_AGAIN_S / 4)
        last_change_ms = now_ms()
        while True:
            try:
                if await shows(runtime.edge, last_change_ms):
                    resting = await runtime.edge.own_resting()
                    if not resting and not ledger.unsettled_count():
                        return
                    self._missing = (
                        f"{len(resting)} own orders rest, {ledger.unsettled_count()} are unsettled"
                    )
                    for order in resting:
                        runtime.dispatch(order)
                else:
                    self._missing = "the venue's reads do not show the end of the last order yet"
            except _READ_ERRORS as error:
                self._missing = str(error)
            await asyncio.sleep(LOOKS_AGAIN_S / 4)
