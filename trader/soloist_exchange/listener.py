"""What the venue tells: fills, settlements, and the calls that carry them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from soloist_exchange.markets import MarketState, Result
from soloist_exchange.matching import LevelChange
from soloist_exchange.orders import Order

if TYPE_CHECKING:
    from soloist_exchange.groups import Group

__all__ = ["Fill", "Listener", "Settlement"]


@dataclass(slots=True, eq=False)
class Fill:
    """One account's side of a trade; never changed after it was told. `price` on the YES book."""

    trade_id: str
    order: Order
    price: int
    count: int
    fee: int
    is_taker: bool
    time_ms: int
    position_after: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a settled market paid to one subaccount. Counts 1/100 contract, `value` price units of one YES, the rest money."""

    account_id: int
    subaccount: int
    ticker: str
    result: Result
    yes_count: int
    yes_cost: int
    no_count: int
    no_cost: int
    revenue: int
    value: int | None
    fee: int
    time_ms: int


class Listener:
    """Told of everything that happens, in order, before the call that caused it returns. Override what matters.

    Calls about orders, fills, groups and settlements are about connected accounts only; the exchange's own participants are silent.
    """

    def on_accepted(self, order: Order) -> None:
        """An order of a connected account was accepted (and may have been filled by the time of the next call)."""

    def on_renamed(self, order: Order, previous: str) -> None:
        """An amend gave an order a new client order id; `previous` stays taken."""

    def on_fill(self, fill: Fill) -> None:
        """A connected account's order was filled."""

    def on_order(self, order: Order) -> None:
        """A connected account's order changed its state."""

    def on_trade(self, market: MarketState, fill: Fill) -> None:
        """A public trade, told from the taker's side."""

    def on_book(self, market: MarketState, changes: list[LevelChange]) -> None:
        """Levels of a book changed."""

    def on_market(self, market: MarketState, event_type: str) -> None:
        """A market changed; `event_type` is the word of market_lifecycle_v2."""

    def on_market_state(self, market: MarketState) -> None:
        """A market's state is another, also where the feed is silent (it opened, it closed): told before `on_market`."""

    def on_group(self, group: "Group", event_type: str) -> None:
        """An order group was created, triggered, reset, deleted, or got another limit (limit_updated)."""

    def on_settlement(self, settlement: Settlement) -> None:
        """A settled market paid a connected account."""

    def on_exchange(self) -> None:
        """Trading or the whole exchange was paused or resumed."""
