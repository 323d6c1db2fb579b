"""Pre-trade controls: one table. Each row is a code, a limit and what happens when it is passed.

Worst case means: every unsettled order of one side fills, none of the other. An order in doubt counts in full.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from soloist_trader.core.codes import Code
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.units import BID, ONE_DOLLAR_PRICE, REDUCING


class Limits(NamedTuple):
    """The limits of a bot. Counts in 1/100 contract, money in 1/1 000 000 dollar."""

    max_order: int
    max_position: int
    max_exposure: int
    max_open_orders: int
    daily_loss: int


class Row(NamedTuple):
    """One control. `latches` is the state that passing it leads to, empty if only the order is denied."""

    code: Code
    limit: str
    scope: str
    latches: str
    document: str


TABLE: Final = (
    Row(Code.MAX_ORDER, "max_order", "order", "", "size of one order"),
    Row(Code.MAX_POSITION, "max_position", "market, per side", "", "worst-case position of a market"),
    Row(Code.MAX_EXPOSURE, "max_exposure", "bot", "", "money lost if everything settles against the bot"),
    Row(Code.MAX_OPEN_ORDERS, "max_open_orders", "bot", "", "unsettled orders, those in doubt included"),
    Row(
        Code.DAILY_LOSS,
        "daily_loss",
        "bot, per day",
        REDUCING,
        "loss since the day began, open positions included",
    ),
)


class Proposal(NamedTuple):
    """An order about to be intended. `reduces` is true if it can only make the position smaller."""

    market: str
    side: int
    price: int
    size: int
    reduces: bool


def worst_position(ledger: Ledger, market: str, side: int) -> int:
    """Signed position if every unsettled order of `side` fills and none of the other."""
    unbooked = sum(order.unbooked for order in ledger.unsettled(market) if order.slot.side == side)
    return ledger.position(market).count + side * unbooked


def order_risk(side: int, price: int, count: int) -> int:
    """Money that an opening order can lose: price for a bid, one dollar less the price for an ask."""
    return (price if side == BID else ONE_DOLLAR_PRICE - price) * count


def exposure(ledger: Ledger) -> int:
    """Money lost if every position and every unsettled order that opens settles against the bot.

    What closes a position opens nothing, once: a second order of that side finds nothing left to close.
    """
    total = sum(position.worst_loss() for position in ledger.positions.values())
    closable: dict[tuple[str, int], int] = {}
    for order in ledger.unsettled():
        market, side = order.slot.market, order.slot.side
        held = ledger.position(market).count
        closes = closable.get((market, side), abs(held) if held * side < 0 else 0)
        variants = order.variants()
        total += max(
            (order_risk(side, price, max(count - closes, 0)) for price, count in variants), default=0
        )
        closable[market, side] = max(closes - max((count for _, count in variants), default=0), 0)
    return total


def check(limits: Limits, ledger: Ledger, proposal: Proposal, day_profit: int) -> Code | None:
    """The first row that denies, or None. Reducing orders pass every row; the engine cuts them to `max_order`."""
    if proposal.reduces:
        return None
    if proposal.size > limits.max_order:
        return Code.MAX_ORDER
    worst = worst_position(ledger, proposal.market, proposal.side) + proposal.side * proposal.size
    if worst * proposal.side > limits.max_position:
        return Code.MAX_POSITION
    if ledger.unsettled_count() >= limits.max_open_orders:
        return Code.MAX_OPEN_ORDERS
    if exposure(ledger) + order_risk(proposal.side, proposal.price, proposal.size) > limits.max_exposure:
        return Code.MAX_EXPOSURE
    if day_profit <= -limits.daily_loss:
        return Code.DAILY_LOSS
    return None
