"""An account kept up to date: private channels for speed, REST for certainty.

The private channels have no sequence numbers (section 13.3), so a lost frame cannot be seen in them. Every reconnect, every open
question and every `period_ms` therefore read through REST: resting orders, orders that are not among them any more, fills since the last
agreed read, positions and balance. Facts are put together by `account_facts`, which late and repeated news cannot harm.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from soloist_kalshi import frames
from soloist_kalshi.account_facts import AccountFacts, time_to_ms
from soloist_kalshi.attempt_budget import AttemptBudget
from soloist_kalshi.codec import FrameDecoder
from soloist_kalshi.endpoint import check_subaccount
from soloist_kalshi.errors import VenueError, VenueNotFound
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.rest import RestClient
from soloist_kalshi.signing import Signer
from soloist_kalshi.websocket import WebSocketClient, WebSocketPolicy

__all__ = ["AccountView", "AccountViewPolicy"]

_log = logging.getLogger(__name__)
_CHANNELS = ["user_orders", "fill", "market_positions"]


@dataclass(frozen=True, slots=True)
class AccountViewPolicy:
    """How often to read: `spacing_ms` is the least pause between two reads, however much happens. `overlap_ms` is re-read each time, because fills reach the read model late.

    A connection whose subscriptions are not confirmed within `answer_ms` is made anew.

    An intent counts as absent when a read that is `absent_after_ms` fresher than its last sending does not show it: until then the
    request may still be under way. Orders that ended longer ago than `keep_ms` are forgotten.
    """

    period_ms: int = 30_000
    retry_ms: int = 500
    spacing_ms: int = 100
    answer_ms: int = 5_000
    overlap_ms: int = 120_000
    absent_after_ms: int = 30_000
    agreeing_reads: int = 5
    keep_ms: int = 3_600_000


class AccountView:
    """Keeps the facts of one subaccount. Run `run` as a task; `close` ends it.

    `as_of_ms` is the venue's time (Unix ms) that the last read showed: the view is true as of then, whatever frames were lost.
    `on_change()` is synchronous and called after facts changed. Whoever sends orders tells `facts` of intents and outcomes.
    """

    def __init__(
        self,
        rest: RestClient,
        ws_url: str,
        signer_source: SignerSource | Signer,
        *,
        subaccount: int,
        ca_file: str | None = None,
        policy: AccountViewPolicy | None = None,
        websocket_policy: WebSocketPolicy | None = None,
        on_change: Callable[[], None] | None = None,
        random: Random | None = None,
        budget: AttemptBudget | None = None,
    ) -> None:
        self.facts = AccountFacts(check_subaccount(subaccount), self._latest_venue_ms)
        self.policy = policy if policy is not None else AccountViewPolicy()
        self.as_of_ms = 0
        self.reads = 0
        self.failed_reads = 0
        self.last_error: VenueError | None = None
        self.frames: Counter[str] = Counter()
        self._rest = rest
        self._on_change = on_change
        self._decoder = FrameDecoder(rest.unknown_fields)
        self._reading = asyncio.Lock()
        self._asked_ms = 0
        self._subscribed: set[str] = set()
        self._needed = asyncio.Event()
        self._is_current = False
        self._fills_from_ms = _now_ms()
        self._told = 0
        self._generation = 0
        self.socket = WebSocketClient(
            ws_url,
            signer_source,
            on_frame=self._on_frame,
            on_opened=self._on_opened,
            on_closed=self._on_closed,
            on_read_end=self._tell,
            ca_file=ca_file,
            clock=rest.clock,
            policy=websocket_policy,
            random=random,
            budget=budget,
        )

    @property
    def is_current(self) -> bool:
        """Whether the channels are open, REST was read since they opened, and no question is open."""
        return self._is_current and self.facts.is_settled

    async def run(self) -> None:
        """Keep the facts until `close`."""
        reader = asyncio.create_task(self._read_forever(), name="account reads")
        socket = asyncio.create_task(self.socket.run(), name="account channels")
        try:
            await asyncio.wait({reader, socket}, return_when=asyncio.FIRST_COMPLETED)
            for task in (reader, socket):
                if task.done():
                    task.result()
        finally:
            reader.cancel()
            socket.cancel()
            await asyncio.gather(reader, socket, return_exceptions=True)

    async def close(self) -> None:
        """End the connection; `run` returns."""
        await self.socket.close()

    def read_soon(self) -> None:
        """Ask for a REST read now, for example after an outcome left a question open."""
        self._needed.set()

    async def read(self) -> bool:
        """Read once through REST and return whether everything is settled now. Raises VenueError."""
        async with self._reading:
            return await self._read_once()

    async def _read_once(self) -> bool:
        self.reads += 1
        generation = self._generation
        # First, because every read after it shows this moment or a later one.
        as_of_ms = time_to_ms((await self._rest.get_user_data_timestamp()).as_of_time)
        await self._read_orders(as_of_ms)
        await self._read_missing_fills()  # before positions, which have them in already
        agreed = await self._read_portfolio(as_of_ms)
        await self._close_intents(as_of_ms)
        self.as_of_ms = as_of_ms
        self._tell()
        if agreed and generation == self._generation and len(self._subscribed) == len(_CHANNELS):
            self._is_current = True
        settled = agreed and self.facts.is_settled
        if settled:
            self.facts.forget(self._rest.clock.venue_ms() - self.policy.keep_ms)
        return settled

    def _latest_venue_ms(self) -> int:
        """The venue's time now, or somewhat later: a question must not look older than it is."""
        clock = self._rest.clock
        return clock.venue_ms() + (clock.uncertainty_ms or 0)

    # REST

    async def _read_forever(self) -> None:
        wait_ms = 0
        while True:
            try:
                async with asyncio.timeout(wait_ms / 1_000):
                    await self._needed.wait()
            except TimeoutError:
                pass
            self._needed.clear()
            self._check_channels()
            try:
                settled = await self.read()
                self.last_error = None
            except VenueError as error:
                settled = False
                self.failed_reads += 1
                self.last_error = error
                _log.warning("reading the account failed: %s", error)
            await asyncio.sleep(self.policy.spacing_ms / 1_000)
            is_quiet = settled and self._is_current
            wait_ms = self.policy.period_ms if is_quiet else self.policy.retry_ms

    async def _read_orders(self, as_of_ms: int) -> None:
        """Read what rests, and ask for every order by name that should rest and does not, or that is suspect."""
        facts = self.facts
        believed = {order.order_id for order in facts.resting} | set(facts.suspects)
        rows = await self._rest.list_orders(subaccount=facts.subaccount, status="resting")
        facts.orders_read(rows, as_of_ms)
        for order_id in believed - {row.order_id for row in rows}:
            try:
                facts.orders_read([await self._rest.get_order(order_id)], as_of_ms)
            except VenueNotFound:
                # Not in the read model yet (section 3.5), or in history by now: the next read asks again.
                continue

    async def _read_portfolio(self, as_of_ms: int) -> bool:
        """Read positions and balance while nothing moves; return whether such a moment was found."""
        facts = self.facts
        from_s = (self._fills_from_ms - self.policy.overlap_ms) // 1_000
        before = await self._read_fills(from_s)
        for _ in range(self.policy.agreeing_reads):
            began_ms, doubts = _now_ms(), facts.doubts
            money = await self._rest.get_balance(subaccount=facts.subaccount)
            positions = await self._rest.list_positions(subaccount=facts.subaccount)
            balance = await self._rest.get_balance(subaccount=facts.subaccount)
            after = await self._read_fills(from_s)
            # Settlements and deposits are no fills: they show between the two balances.
            stood_still = before == after and money.balance_dollars == balance.balance_dollars
            if stood_still and facts.doubts == doubts:
                if not facts.portfolio_read(positions, balance, as_of_ms):
                    return False  # the read model has not seen yet what we have: the next read
                self._fills_from_ms = min(began_ms, as_of_ms)
                return True
            before = after
        return False

    async def _read_fills(self, from_s: int) -> set[tuple[str, str]]:
        rows = await self._rest.list_fills(subaccount=self.facts.subaccount, min_ts=from_s)
        self.facts.fills_read(rows)
        return {(row.trade_id, row.order_id) for row in rows}

    async def _read_missing_fills(self) -> None:
        facts = self.facts
        for order_id in facts.incomplete:
            facts.fills_read(await self._rest.list_fills(subaccount=facts.subaccount, order_id=order_id))

    async def _close_intents(self, as_of_ms: int) -> None:
        """Look for open intents in the order list: there is no look-up by client order id (section 8.1)."""
        facts = self.facts
        if not facts.intents:
            return
        first_ms: dict[str, int] = {}
        for intent in facts.intents.values():
            ticker = intent.order.ticker
            first_ms[ticker] = min(first_ms.get(ticker, intent.sent_ms), intent.sent_ms)
        open_before = dict(facts.intents)
        for ticker, from_ms in first_ms.items():
            rows = await self._rest.list_orders(
                subaccount=facts.subaccount, ticker=ticker, min_ts=(from_ms - self.policy.overlap_ms) // 1_000
            )
            facts.orders_read((row for row in rows if row.client_order_id in facts.intents), as_of_ms)
        for client_order_id, intent in open_before.items():
            is_same = facts.intents.get(client_order_id) is intent  # not sent or answered meanwhile
            if is_same and as_of_ms >= intent.sent_ms + self.policy.absent_after_ms:
                facts.absent(client_order_id)

    # WebSocket

    def _check_channels(self) -> None:
        """Leave a connection that never confirmed its subscriptions: the confirmation was lost, or they are not there."""
        waited_ms = self._rest.clock.monotonic_ms() - self._asked_ms
        incomplete = len(self._subscribed) < len(_CHANNELS)
        if self.socket.is_open and incomplete and waited_ms > self.policy.answer_ms:
            self.socket.disconnect()

    def _on_opened(self) -> None:
        self._subscribed.clear()
        self._asked_ms = self._rest.clock.monotonic_ms()
        self.socket.subscribe(_CHANNELS)

    def _on_closed(self, error: VenueError) -> None:
        self._generation += 1
        self._is_current = False
        self.last_error = error

    def _on_frame(self, raw: bytes) -> None:
        frame = self._decoder.decode(raw)
        self.frames[type(frame).__name__] += 1
        if isinstance(frame, frames.UserOrderFrame):
            self.facts.order_frame(frame.msg)
        elif isinstance(frame, frames.FillFrame):
            self.facts.fill_frame(frame.msg)
        elif isinstance(frame, frames.MarketPositionFrame):
            self.facts.position_frame(frame.msg)
        elif isinstance(frame, frames.SubscribedFrame):
            self._subscribed.add(frame.msg.channel)
            if len(self._subscribed) == len(_CHANNELS):
                # From here on no frame is missed, so what was missed before can be read now.
                self._generation += 1
                self._needed.set()
        elif isinstance(frame, frames.ErrorFrame):
            # Every error of a private channel leaves it in doubt: begin again, and read.
            _log.warning("the venue answered error %d: %s", frame.msg.code, frame.msg.msg)
            self.socket.disconnect()

    def _tell(self) -> None:
        if self.facts.changes != self._told:
            self._told = self.facts.changes
            if not self.facts.is_settled:
                self._needed.set()
            if self._on_change is not None:
                self._on_change()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
