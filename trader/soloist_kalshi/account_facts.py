"""What is known of an account: orders, fills, positions, balance and open questions, from replies, frames and REST reads in any order.

Everything here is pure and synchronous; `account_view` does the reading. The rules that keep late and repeated news harmless:

* an order that was canceled or executed never rests again, and its filled count never falls;
* what else an order is (price, remaining) comes from the newest `last_update` that was seen, never from an older one;
* a fill is known by trade and order, and counts once whoever tells of it;
* positions and balance come from a REST read between two reads of the fills that agree; later fills move the position from there;
* the read model lags behind (section 3.5): a read answers only the questions that were raised before the time that it shows;
* an intent (a client order id that may have reached the venue) stays open until the order list shows the order, or provably does not.

Prices in 1/10 000 dollar, counts in 1/100 contract, money in 1/1 000 000 dollar, times in Unix ms.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Literal

from soloist_kalshi import frames
from soloist_kalshi.messages import Balance, BookSide, CreateOrder, Fill, MarketPosition, Order
from soloist_kalshi.numbers import count_from_text, money_from_dollars, price_from_dollars
from soloist_kalshi.orders_outcomes import (
    Accepted,
    AmendOutcome,
    Cancelled,
    CancelOutcome,
    CreateOutcome,
    DecreaseOutcome,
    NotSent,
    Rejected,
)

__all__ = ["AccountFacts", "FillFacts", "Intent", "OrderFacts", "Status", "time_to_ms"]

Status = Literal["resting", "canceled", "executed"]
_ALREADY: Final = "order_already_exists"


@dataclass(frozen=True, slots=True)
class OrderFacts:
    """One order as far as it is known; `updated_ms` is the venue's time of its last change (0: only a reply told of it)."""

    order_id: str
    client_order_id: str
    ticker: str
    side: BookSide
    price: int
    initial: int
    filled: int
    remaining: int
    status: Status
    updated_ms: int


@dataclass(frozen=True, slots=True)
class FillFacts:
    """One fill; a trade between two of our own orders is two of them."""

    trade_id: str
    order_id: str
    ticker: str
    side: BookSide
    price: int
    count: int
    fee: int
    is_taker: bool


@dataclass(frozen=True, slots=True)
class Intent:
    """An order that may be at the venue and was not seen there yet."""

    order: CreateOrder
    sent_ms: int


def _no_time() -> int:
    return 0


@dataclass(slots=True)
class AccountFacts:
    """The facts of one subaccount. `changes` grows with every fact that is new.

    `clock_ms` returns the venue's time, late rather than early: questions are stamped with it, and reads with the time that they show.
    """

    subaccount: int
    clock_ms: Callable[[], int] = _no_time
    orders: dict[str, OrderFacts] = field(default_factory=dict)
    fills: dict[tuple[str, str], FillFacts] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    balance: int | None = None
    intents: dict[str, Intent] = field(default_factory=dict)
    suspects: dict[str, int] = field(default_factory=dict)
    changes: int = 0
    late_orders: int = 0
    repeated_fills: int = 0
    doubts: int = 0
    doubted_ms: int = 0
    portfolio_doubted: bool = False
    _filled: dict[str, int] = field(default_factory=dict)
    _lacking: set[str] = field(default_factory=set)
    _names: set[str] = field(default_factory=set)

    # Our own writes

    def intend(self, order: CreateOrder, now_ms: int) -> None:
        """Note an order before it is sent; raises ValueError for a client order id that was used before."""
        name = order.client_order_id or ""
        if not name or name in self.intents or name in self._names:
            raise ValueError(f"client order id {name!r} is empty or was used before: an intent is sent once")
        self.intents[name] = Intent(order, now_ms)

    def created(self, client_order_id: str, outcome: CreateOutcome, now_ms: int) -> None:
        """Take the outcome of a create. Unknown leaves the intent open, and so does a refusal that says it exists."""
        intent = self.intents.get(client_order_id)
        if intent is None:
            return  # a frame or a list was faster than the reply
        if isinstance(outcome, Accepted):
            order = intent.order
            initial = count_from_text(order.count)
            over = outcome.remaining_count == 0
            status: Status = (
                "resting" if not over else "executed" if outcome.fill_count == initial else "canceled"
            )
            self._merge(
                OrderFacts(
                    order_id=outcome.order_id,
                    client_order_id=client_order_id,
                    ticker=order.ticker,
                    side=order.side,
                    price=price_from_dollars(order.price),
                    initial=initial,
                    filled=outcome.fill_count,
                    remaining=outcome.remaining_count,
                    status=status,
                    updated_ms=0,
                ),
                is_read=False,
            )
        elif isinstance(outcome, NotSent) or (isinstance(outcome, Rejected) and outcome.code != _ALREADY):
            del self.intents[client_order_id]
            self.changes += 1
        else:
            self.intents[client_order_id] = replace(intent, sent_ms=now_ms)

    def changed(self, order_id: str, outcome: CancelOutcome | AmendOutcome | DecreaseOutcome) -> None:
        """Take the outcome of a cancel, amend or decrease: the order is read again unless the outcome says all there is to know."""
        known = self.orders.get(order_id)
        if isinstance(outcome, NotSent):
            return
        if isinstance(outcome, Cancelled) and known is not None:
            self._merge(replace(known, status="canceled", remaining=0), is_read=False)
            if known.initial - outcome.reduced_by == known.filled:
                return  # nothing filled or changed that we did not see
        # 404 does not say why (section 3.5), an unknown outcome says nothing, and an amend may have filled.
        self._ask(order_id)

    # Frames

    def order_frame(self, message: frames.UserOrderMessage) -> None:
        """Take a user_order frame; one without a status that we know only makes the order suspect."""
        is_known = message.order_id in self.orders or message.client_order_id in self.intents
        if not self._is_ours(message.subaccount_number, is_known=is_known):
            return
        if message.status == "unknown":
            self._ask(message.order_id)
            return
        self._merge(
            OrderFacts(
                order_id=message.order_id,
                client_order_id=message.client_order_id,
                ticker=message.ticker,
                side=message.book_side,
                price=price_from_dollars(message.yes_price_dollars),
                initial=count_from_text(message.initial_count_fp),
                filled=count_from_text(message.fill_count_fp),
                remaining=count_from_text(message.remaining_count_fp),
                status=message.status,
                updated_ms=message.last_update_ts_ms
                or message.last_updated_ts_ms
                or message.created_ts_ms
                or 0,
            ),
            is_read=False,
        )

    def fill_frame(self, message: frames.FillMessage) -> None:
        """Take a fill frame."""
        if not self._is_ours(message.subaccount, is_known=message.order_id in self.orders):
            return
        self._add_fill(
            FillFacts(
                trade_id=message.trade_id,
                order_id=message.order_id,
                ticker=message.market_ticker,
                side=message.book_side,
                price=price_from_dollars(message.yes_price_dollars),
                count=count_from_text(message.count_fp),
                fee=money_from_dollars(message.fee_cost),
                is_taker=message.is_taker,
            )
        )

    def position_frame(self, message: frames.MarketPositionMessage) -> None:
        """Take a market_position frame. It has no order among the others, so it only raises a doubt, which a REST read settles."""
        if not self._is_ours(message.subaccount, is_known=False):
            return
        if count_from_text(message.position_fp) != self.positions.get(message.market_ticker, 0):
            self._doubt()

    # REST reads

    def orders_read(self, rows: Iterable[Order], as_of_ms: int | None = None) -> None:
        """Take rows of an order list, or single orders, that show the venue at `as_of_ms` or later (None: after everything here)."""
        for row in rows:
            self._merge(
                OrderFacts(
                    order_id=row.order_id,
                    client_order_id=row.client_order_id,
                    ticker=row.ticker,
                    side=row.book_side,
                    price=price_from_dollars(row.yes_price_dollars),
                    initial=count_from_text(row.initial_count_fp),
                    filled=count_from_text(row.fill_count_fp),
                    remaining=count_from_text(row.remaining_count_fp),
                    status=row.status,
                    updated_ms=time_to_ms(row.last_update_time or row.created_time),
                ),
                is_read=True,
            )
            if as_of_ms is None or self.suspects.get(row.order_id, as_of_ms) < as_of_ms:
                self.suspects.pop(row.order_id, None)

    def fills_read(self, rows: Iterable[Fill]) -> None:
        """Take rows of a fill list."""
        for row in rows:
            self._add_fill(
                FillFacts(
                    trade_id=row.trade_id,
                    order_id=row.order_id,
                    ticker=row.ticker,
                    side=row.book_side,
                    price=price_from_dollars(row.yes_price_dollars),
                    count=count_from_text(row.count_fp),
                    fee=money_from_dollars(row.fee_cost),
                    is_taker=row.is_taker,
                ),
                is_read=True,
            )

    def portfolio_read(
        self, positions: Iterable[MarketPosition], balance: Balance, as_of_ms: int | None = None
    ) -> bool:
        """Take positions and balance that show the venue at `as_of_ms` or later; return False for a moment that doubts have outlived.

        The caller has checked that nothing moved while they were read: that `doubts` stood still.
        """
        if as_of_ms is not None and self.doubted_ms >= as_of_ms:
            return False
        read: dict[str, int] = {}
        for row in positions:
            read[row.ticker] = read.get(row.ticker, 0) + count_from_text(row.position_fp)
        self.positions = {ticker: count for ticker, count in read.items() if count}
        self.balance = money_from_dollars(balance.balance_dollars)
        self.portfolio_doubted = False
        self.changes += 1
        return True

    def absent(self, client_order_id: str) -> None:
        """Close an intent whose order is provably not at the venue."""
        self.intents.pop(client_order_id, None)
        self.changes += 1

    # Questions

    @property
    def resting(self) -> list[OrderFacts]:
        """Orders that rest as far as we know."""
        return [order for order in self.orders.values() if order.status == "resting"]

    @property
    def incomplete(self) -> list[str]:
        """Ids of orders that are known to have filled more than the fills that we know: a frame was lost."""
        return sorted(self._lacking)

    @property
    def is_settled(self) -> bool:
        """Whether no question is open: no intent, no suspect, no missing fill, no doubt about positions and money."""
        return not (self.intents or self.suspects or self.portfolio_doubted or self._lacking)

    def forget(self, before_ms: int) -> int:
        """Drop orders that ended before a time of the venue, with their fills, and return how many; call it when all is settled.

        Positions and balance stay. A frame that is older still would be taken for news, until the next read of the portfolio.
        """
        gone = {
            order.order_id
            for order in self.orders.values()
            if order.status != "resting" and 0 < order.updated_ms < before_ms
        } - self.suspects.keys() - self._lacking  # fmt: skip
        if gone:
            for order_id in gone:
                self._names.discard(self.orders.pop(order_id).client_order_id)
                self._filled.pop(order_id, None)
            self.fills = {key: fill for key, fill in self.fills.items() if fill.order_id not in gone}
        return len(gone)

    def _is_ours(self, subaccount: int | None, *, is_known: bool) -> bool:
        """Whether a frame is of this subaccount.

        One that names none may be the primary's, because the venue leaves empty fields out: a numbered subaccount takes it for orders
        that it knows, and for others has a read decide.
        """
        if subaccount is None and self.subaccount and not is_known:
            self._doubt()
            return False
        return subaccount in {None, self.subaccount}

    def _merge(self, news: OrderFacts, *, is_read: bool) -> None:
        """Put news of an order together with what is known of it.

        At equal times a read wins, because it was asked for after the frame was sent, and a frame only adds what can but grow.
        """
        self.intents.pop(news.client_order_id, None)
        known = self.orders.get(news.order_id)
        if known is None:
            self._names.add(news.client_order_id)
            self.orders[news.order_id] = news
            self._weigh(news.order_id)
            self._doubt()
            return
        is_newer = news.updated_ms > known.updated_ms or (is_read and news.updated_ms == known.updated_ms)
        base = news if is_newer else known
        over = known if known.status != "resting" else news if news.status != "resting" else None
        filled = max(known.filled, news.filled)
        merged = replace(base, filled=filled, updated_ms=max(known.updated_ms, news.updated_ms))
        if over is not None:
            merged = replace(merged, status=over.status, remaining=0)
        elif filled > base.filled:
            merged = replace(merged, remaining=max(0, base.remaining - (filled - base.filled)))
        if not is_newer and not is_read:
            self.late_orders += merged == known
        if is_newer and over is not None and news.status != "resting":
            # Two reports of the end: the newer one knows better how it ended.
            merged = replace(merged, status=news.status)
        if merged != known:
            self.orders[news.order_id] = merged
            self._weigh(news.order_id)
            self._doubt()

    def _add_fill(self, fill: FillFacts, *, is_read: bool = False) -> None:
        key = (fill.trade_id, fill.order_id)
        if key in self.fills:
            self.repeated_fills += not is_read
            return
        self.fills[key] = fill
        self._filled[fill.order_id] = self._filled.get(fill.order_id, 0) + fill.count
        self._weigh(fill.order_id)
        signed = fill.count if fill.side == "bid" else -fill.count
        self.positions[fill.ticker] = self.positions.get(fill.ticker, 0) + signed
        if not self.positions[fill.ticker]:
            del self.positions[fill.ticker]
        self._doubt()

    def _weigh(self, order_id: str) -> None:
        """Note whether an order filled more than its fills that we know."""
        order = self.orders.get(order_id)
        if order is not None and order.filled > self._filled.get(order_id, 0):
            self._lacking.add(order_id)
        else:
            self._lacking.discard(order_id)

    def _ask(self, order_id: str) -> None:
        """Raise a question about an order, which a read of what is true from now on answers."""
        self.suspects[order_id] = self.clock_ms()

    def _doubt(self) -> None:
        """Something moved, or may have: what it did to positions, collateral and money is the venue's to say."""
        self.doubts += 1
        self.doubted_ms = self.clock_ms()
        self.changes += 1
        self.portfolio_doubted = True


def time_to_ms(text: str | None) -> int:
    """Return an RFC 3339 time in Unix ms, rounded down; 0 for none."""
    if not text:
        return 0
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000 + moment.microsecond // 1_000
