"""The venue's messages as events: decimal texts to integers, NO prices to YES prices, words to signs."""

from __future__ import annotations

from soloist_kalshi import frames, messages
from soloist_kalshi.numbers import count_from_text, money_from_dollars, price_from_dollars

from soloist_trader.core import events
from soloist_trader.core.book import Level
from soloist_trader.core.units import ASK, BID, ONE_DOLLAR_PRICE
from soloist_trader.shell.clock import text_to_ms

SIDES = {"bid": BID, "ask": ASK}
_PRICE_PER_CENT = 100
_MONEY_PER_CENT = 10_000


def levels(rows: list[messages.LevelText] | None, *, of_no: bool = False) -> list[Level]:
    """Levels of one side in YES prices."""
    pairs = [(price_from_dollars(price), count_from_text(count)) for price, count in rows or []]
    return [(ONE_DOLLAR_PRICE - price, count) for price, count in pairs] if of_no else pairs


def market_seen(now_ms: int, market: messages.Market) -> events.MarketSeen:
    """A market as the core knows it."""
    return events.MarketSeen(
        now_ms,
        market.ticker,
        market.status == "active",
        count_from_text(market.volume_fp),
        market.price_grid().ticks,
        text_to_ms(market.close_time),
    )


def _fees(order: messages.Order | frames.UserOrderMessage) -> int:
    """The order's own fee total, -1 where the venue does not say both parts of it."""
    if order.taker_fees_dollars is None or order.maker_fees_dollars is None:
        return -1
    return money_from_dollars(order.taker_fees_dollars) + money_from_dollars(order.maker_fees_dollars)


def order_seen(now_ms: int, order: messages.Order, source: str, as_of_ms: int = 0) -> events.OrderSeen:
    """An order of a listing. `as_of_ms` was read from the venue before the listing."""
    return events.OrderSeen(
        now_ms,
        order.client_order_id,
        order.order_id,
        order.ticker,
        SIDES[order.book_side],
        price_from_dollars(order.yes_price_dollars),
        count_from_text(order.initial_count_fp),
        count_from_text(order.fill_count_fp),
        order.status != "resting",
        source,
        _fees(order),
        as_of_ms,
    )


def user_order_seen(now_ms: int, order: frames.UserOrderMessage) -> events.OrderSeen:
    """An order of the user_orders channel. Status `unknown` says nothing about the end of it."""
    return events.OrderSeen(
        now_ms,
        order.client_order_id,
        order.order_id,
        order.ticker,
        SIDES[order.book_side],
        price_from_dollars(order.yes_price_dollars),
        count_from_text(order.initial_count_fp),
        count_from_text(order.fill_count_fp),
        order.status in {"canceled", "executed"},
        "user_orders",
        _fees(order),
    )


def fill_seen(now_ms: int, fill: messages.Fill) -> events.FillSeen:
    """A fill of a listing."""
    return events.FillSeen(
        now_ms,
        fill.trade_id,
        fill.order_id,
        "",
        fill.ticker,
        SIDES[fill.book_side],
        price_from_dollars(fill.yes_price_dollars),
        count_from_text(fill.count_fp),
        money_from_dollars(fill.fee_cost),
        fill.is_taker,
        text_to_ms(fill.created_time) if fill.created_time else (fill.ts or 0) * 1000,
    )


def user_fill_seen(now_ms: int, fill: frames.FillMessage) -> events.FillSeen:
    """A fill of the fill channel; the same id as in listings."""
    return events.FillSeen(
        now_ms,
        fill.trade_id,
        fill.order_id,
        fill.client_order_id or "",
        fill.market_ticker,
        SIDES[fill.book_side],
        price_from_dollars(fill.yes_price_dollars),
        count_from_text(fill.count_fp),
        money_from_dollars(fill.fee_cost),
        fill.is_taker,
        fill.ts_ms,
    )


def position_seen(position: messages.MarketPosition) -> tuple[str, int, int]:
    """(market, signed count, basis): exposure is what a NO position cost, the basis what YES was sold for."""
    count = count_from_text(position.position_fp)
    cost = money_from_dollars(position.market_exposure_dollars)
    return position.ticker, count, cost if count >= 0 else ONE_DOLLAR_PRICE * -count - cost


def settlement_seen(now_ms: int, settlement: messages.Settlement) -> events.SettlementSeen:
    """What a market paid. `revenue` and `value` of the venue are in cents. Raises ValueError for a value that is missing."""
    value = settlement.value
    if settlement.market_result in {"yes", "no"}:
        price = ONE_DOLLAR_PRICE if settlement.market_result == "yes" else 0
    elif value is not None:
        price = value * _PRICE_PER_CENT
    else:
        raise ValueError(
            f"settlement of {settlement.ticker} with result {settlement.market_result!r} has no value: its money is not "
            f"known; look at the account's history"
        )
    return events.SettlementSeen(
        now_ms,
        settlement.ticker,
        settlement.market_result,
        text_to_ms(settlement.settled_time),
        settlement.revenue * _MONEY_PER_CENT,
        count_from_text(settlement.yes_count_fp),
        count_from_text(settlement.no_count_fp),
        money_from_dollars(settlement.fee_cost),
        price,
    )
