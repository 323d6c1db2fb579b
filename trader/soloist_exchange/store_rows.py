"""What the state file gives back: one frozen row per thing that is remembered, and which rows a read wants."""

from dataclasses import dataclass

from soloist_kalshi.signing import Verifier

__all__ = [
    "AccountRow",
    "Candle",
    "KeyRow",
    "PublicTrade",
    "Range",
    "Span",
    "StoredFill",
    "StoredSettlement",
    "TransferRow",
]


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account as stored; `deposited` in money, `subaccounts` the highest that is open, `netting` those that have it on."""

    account_id: int
    name: str
    deposited: int
    tier: str = "basic"
    subaccounts: int = 0
    netting: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An API key as stored: the public part only. `deleted_ms` None = it was never deleted."""

    key_id: str
    account_id: int
    name: str
    key_type: str
    scopes: tuple[str, ...]
    subaccount: int | None
    verifier: Verifier
    created_ms: int = 0
    deleted_ms: int | None = None


@dataclass(frozen=True, slots=True)
class StoredFill:
    """One account's side of a trade; `number` is 0 until it is stored."""

    trade_id: str
    order_id: str
    account_id: int
    subaccount: int
    ticker: str
    side: int
    price: int
    count: int
    fee: int
    is_taker: bool
    time_ms: int
    exchange_index: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class StoredSettlement:
    """What one owner got when a market ended: counts, money, `value` in price units per YES contract (None = not scalar)."""

    account_id: int
    subaccount: int
    ticker: str
    event_ticker: str
    exchange_index: int
    result: str
    yes_count: int
    yes_cost: int
    no_count: int
    no_cost: int
    revenue: int
    value: int | None
    fee: int
    time_ms: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class TransferRow:
    """Money that moved between subaccounts or shards of one account."""

    account_id: int
    client_transfer_id: str
    from_subaccount: int
    to_subaccount: int
    exchange_index_from: int
    exchange_index_to: int
    money: int
    time_ms: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class PublicTrade:
    """A trade as everybody sees it; `taker_side` is the sign of orders.BID or orders.ASK. Numbered from 1, without gaps."""

    number: int
    trade_id: str
    ticker: str
    price: int
    count: int
    taker_side: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Span:
    """First, lowest, highest and last value of a price in a period (1/10 000 dollar)."""

    open: int
    low: int
    high: int
    close: int


@dataclass(frozen=True, slots=True)
class Candle:
    """One market in the period from `start_ms` to `end_ms` (exclusive).

    `price` and `mean` are None without a trade; `previous` is the last price before the period, None when there was none. An empty
    side of the book counts as 0 for `bid` and as 10 000 for `ask`.
    """

    ticker: str
    start_ms: int
    end_ms: int
    bid: Span
    ask: Span
    price: Span | None
    mean: int | None
    previous: int | None
    volume: int
    open_interest: int


@dataclass(frozen=True, slots=True)
class Range:
    """Which rows of an account a read wants, newest first; None and "" mean any.

    `before` is the last page's lowest number. `tickers` (when not None) names the only markets wanted: those of an event.
    """

    limit: int
    before: int | None = None
    subaccount: int | None = None
    ticker: str = ""
    order_id: str = ""
    status: str = ""
    from_ms: int | None = None
    to_ms: int | None = None
    tickers: frozenset[str] | None = None
    exchange_index: int | None = None

    def wants(self, subaccount: int, ticker: str, time_ms: int, exchange_index: int) -> bool:
        """Whether a row with these fields is in the range, whatever its number, order id and status."""
        return (
            self.subaccount in {None, subaccount}
            and self.ticker in {"", ticker}
            and (self.tickers is None or ticker in self.tickers)
            and self.exchange_index in {None, exchange_index}
            and (self.from_ms is None or time_ms >= self.from_ms)
            and (self.to_ms is None or time_ms <= self.to_ms)
        )
