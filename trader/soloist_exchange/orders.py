"""An order and its life, in integers: price 1/10 000 dollar on the YES book, count 1/100 contract."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = [
    "ASK",
    "BID",
    "LONGEST_CLIENT_ORDER_ID",
    "Amendment",
    "Level",
    "Order",
    "SelfTrade",
    "Status",
    "TimeInForce",
    "UpdateReason",
    "opposite",
]

# The sign of the position change a fill makes for the order's owner.
BID: Final = 1
ASK: Final = -1

LONGEST_CLIENT_ORDER_ID: Final = 64


class TimeInForce(StrEnum):
    """How long an order lives."""

    GOOD_TILL_CANCELED = "good_till_canceled"
    IMMEDIATE_OR_CANCEL = "immediate_or_cancel"
    FILL_OR_KILL = "fill_or_kill"


class SelfTrade(StrEnum):
    """What happens when an order meets an order of its own account (section 8.1)."""

    TAKER_AT_CROSS = "taker_at_cross"
    MAKER = "maker"


class Status(StrEnum):
    """The venue's order status (section 8.8)."""

    RESTING = "resting"
    CANCELED = "canceled"
    EXECUTED = "executed"


class UpdateReason(StrEnum):
    """`last_update_reason` of user_orders frames (section 8.8); NONE is never printed."""

    NONE = ""
    DECREASE = "Decrease"
    AMEND = "Amend"
    TRADE = "Trade"
    SELF_TRADE_CANCEL = "SelfTradeCancel"
    EXPIRY_CANCEL = "ExpiryCancel"
    CLOSE_CANCEL = "CloseCancel"
    HALT_CANCEL = "HaltCancel"
    POST_ONLY_CROSS_CANCEL = "PostOnlyCrossCancel"
    REDUCE_ONLY_CANCEL = "ReduceOnlyCancel"
    ORDER_GROUP_CANCEL = "ORDER_GROUP_CANCEL"


def opposite(side: int) -> int:
    """Return the other side of the book."""
    return -side


class Level:
    """The orders at one price of one side, oldest first (a chain through `Order.behind`), and their sum."""

    __slots__ = ("first", "last", "price", "side", "total")

    def __init__(self, side: int, price: int) -> None:
        self.side = side
        self.price = price
        self.total = 0
        self.first: Order | None = None
        self.last: Order | None = None


class Order:
    """One order. `remaining` is what may still fill: 0 once the order is closed, whatever was filled.

    `level`, `ahead` and `behind` are its place in the book (level is None outside of it), `backed` the count that the collateral
    counts. `releases_id`: the order ended unfilled and, by the venue's switch, its client order id may be used again.
    """

    __slots__ = (
        "account_id",
        "ahead",
        "backed",
        "behind",
        "cancel_on_pause",
        "client_order_id",
        "created_ms",
        "exchange_index",
        "expiration_ms",
        "fee_carry",
        "filled",
        "group_id",
        "initial",
        "key_id",
        "level",
        "maker_cost",
        "maker_fees",
        "order_id",
        "post_only",
        "price",
        "reason",
        "reduce_only",
        "releases_id",
        "remaining",
        "self_trade",
        "sequence",
        "side",
        "status",
        "subaccount",
        "taker_cost",
        "taker_fees",
        "ticker",
        "time_in_force",
        "updated_ms",
    )

    def __init__(
        self,
        *,
        order_id: str,
        account_id: int,
        ticker: str,
        side: int,
        price: int,
        count: int,
        created_ms: int,
        subaccount: int = 0,
        client_order_id: str = "",
        key_id: str = "",
        time_in_force: TimeInForce = TimeInForce.GOOD_TILL_CANCELED,
        self_trade: SelfTrade = SelfTrade.TAKER_AT_CROSS,
        expiration_ms: int = 0,
        post_only: bool = False,
        reduce_only: bool = False,
        cancel_on_pause: bool = False,
        group_id: str = "",
        exchange_index: int = 0,
    ) -> None:
        self.order_id = order_id
        self.account_id = account_id
        self.subaccount = subaccount
        self.ticker = ticker
        self.client_order_id = client_order_id
        self.key_id = key_id
        self.side = side
        self.price = price
        self.initial = count
        self.remaining = count
        self.filled = 0
        self.time_in_force = time_in_force
        self.self_trade = self_trade
        self.expiration_ms = expiration_ms
        self.post_only = post_only
        self.reduce_only = reduce_only
        self.cancel_on_pause = cancel_on_pause
        self.group_id = group_id
        self.exchange_index = exchange_index
        self.releases_id = False
        self.level: Level | None = None
        self.ahead: Order | None = None
        self.behind: Order | None = None
        self.backed = 0
        self.created_ms = created_ms
        self.updated_ms = created_ms
        self.status = Status.RESTING
        self.reason = UpdateReason.NONE
        self.taker_cost = self.maker_cost = 0
        self.taker_fees = self.maker_fees = 0
        self.fee_carry = 0
        self.sequence = 0

    def __repr__(self) -> str:
        side = "bid" if self.side == BID else "ask"
        return f"<Order {self.order_id} {self.ticker} {side} {self.remaining}/{self.initial} @ {self.price} {self.status.value}>"


@dataclass(frozen=True, slots=True)
class Amendment:
    """What an amend asks for (section 8.3). `count` = filled + desired resting; None keeps, `expiration_ms` 0 removes.

    `side`, `ticker` and `expected_client_order_id` are what the caller believes the order to have: another value is a mismatch error.
    """

    price: int | None = None
    count: int | None = None
    client_order_id: str | None = None
    expiration_ms: int | None = None
    side: int | None = None
    ticker: str | None = None
    expected_client_order_id: str | None = None
