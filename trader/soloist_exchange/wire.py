"""From the exchange's integers to the venue's structs: what REST prints, and what the WebSocket shares with it."""

from datetime import UTC, datetime
from functools import lru_cache

from soloist_kalshi import messages, numbers
from soloist_kalshi.numbers import money_to_dollars

from soloist_exchange.ledger import CENT, DOLLAR, Position
from soloist_exchange.markets import ONE, EventState, MarketState, SeriesState
from soloist_exchange.matching import Book
from soloist_exchange.orders import ASK, BID, Order
from soloist_exchange.store_rows import Candle, PublicTrade, Span, StoredFill, StoredSettlement

__all__ = [
    "MONEY_PER_PRICE",
    "book_levels",
    "book_side",
    "candle",
    "dollars",
    "event",
    "latest_candle",
    "market",
    "order",
    "order_book",
    "outcome",
    "position",
    "rest_fill",
    "rfc3339",
    "series",
    "settlement",
    "top",
    "trade",
]

PRICE_PER_CENT = 100
MONEY_PER_PRICE = 100
TEXTS_KEPT = 1 << 14

# A list of a thousand markets prints the same few prices, counts and times over and over.
price_to_dollars = lru_cache(TEXTS_KEPT)(numbers.price_to_dollars)
count_to_text = lru_cache(TEXTS_KEPT)(numbers.count_to_text)


@lru_cache(TEXTS_KEPT)
def rfc3339(time_ms: int) -> str:
    """Return a time as REST prints it: no more decimals of a second than it has."""
    seconds, milliseconds = divmod(time_ms, 1000)
    fraction = f".{milliseconds:03d}".rstrip("0") if milliseconds else ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"


def dollars(money: int) -> str:
    """Return money as balances and averages are printed: four decimals, and six only where they are needed."""
    price, rest = divmod(money, MONEY_PER_PRICE)
    return money_to_dollars(money) if rest else price_to_dollars(price)


def outcome(side: int) -> messages.OutcomeSide:
    """Return yes for a bid on the YES book and no for an ask (section 7)."""
    return "yes" if side == BID else "no"


def book_side(side: int) -> messages.BookSide:
    """Return the side's name on the YES book."""
    return "bid" if side == BID else "ask"


def book_levels(
    book: Book, *, yes_prices: bool = False
) -> tuple[list[messages.LevelText] | None, list[messages.LevelText] | None]:
    """Return YES and NO bids, best level last; None for an empty side. NO levels are in NO prices unless `yes_prices`."""
    yes = [(price_to_dollars(price), count_to_text(count)) for price, count in reversed(book.levels(BID))]
    no = [
        (price_to_dollars(price if yes_prices else DOLLAR - price), count_to_text(count))
        for price, count in reversed(book.levels(ASK))
    ]
    return yes or None, no or None


def order_book(book: Book, depth: int) -> messages.OrderBook:
    """Return the best `depth` levels of each side (0 = all), best level last; an empty side is an empty list."""
    yes, no = book_levels(book)
    return messages.OrderBook(yes_dollars=(yes or [])[-depth:], no_dollars=(no or [])[-depth:])


def top(book: Book) -> tuple[int, int, int, int]:
    """Return bid, bid size, ask and ask size; 0 and 10 000 stand for an empty side."""
    bid, ask = book.best(BID), book.best(ASK)
    return (
        bid or 0,
        book.level_total(BID, bid) if bid else 0,
        ask or DOLLAR,
        book.level_total(ASK, ask) if ask else 0,
    )


def market(state: MarketState, volume_of_day: int) -> messages.Market:
    """Return a market with its top of the book; `volume_of_day` is what was traded in the last 24 hours."""
    bid, bid_size, ask, ask_size = top(state.book)
    opened, closes = rfc3339(state.open_ms), rfc3339(state.close_ms)
    waiver_ms, value = state.fee_waiver_until_ms, state.settlement_value
    return messages.Market(
        ticker=state.ticker,
        event_ticker=state.event_ticker,
        market_type=state.market_type,
        title=state.title,
        yes_sub_title="Yes",
        no_sub_title="No",
        created_time=rfc3339(state.created_ms or state.open_ms),
        updated_time=rfc3339(state.updated_ms or state.created_ms or state.open_ms),
        open_time=opened,
        close_time=closes,
        expected_expiration_time=closes,
        latest_expiration_time=closes,
        settlement_timer_seconds=state.settlement_timer_ms // 1000,
        status=state.status,  # type: ignore[arg-type]  # the enum's words are the venue's
        yes_bid_dollars=price_to_dollars(bid),
        yes_bid_size_fp=count_to_text(bid_size),
        yes_ask_dollars=price_to_dollars(ask),
        yes_ask_size_fp=count_to_text(ask_size),
        no_bid_dollars=price_to_dollars(DOLLAR - ask),
        no_ask_dollars=price_to_dollars(DOLLAR - bid),
        last_price_dollars=price_to_dollars(state.last_price),
        volume_fp=count_to_text(state.volume),
        volume_24h_fp=count_to_text(volume_of_day),
        result=state.result,
        can_close_early=state.can_close_early,
        open_interest_fp=count_to_text(state.open_interest),
        notional_value_dollars="1.0000",
        previous_yes_bid_dollars=price_to_dollars(state.previous_bid),
        previous_yes_ask_dollars=price_to_dollars(state.previous_ask),
        previous_price_dollars=price_to_dollars(state.previous_price),
        settlement_value_dollars=None if value is None else price_to_dollars(value),
        settlement_ts=rfc3339(state.settled_ms) if state.settled_ms else None,
        expiration_value=_expiration_value(state),
        fee_waiver_expiration_time=rfc3339(waiver_ms) if waiver_ms else None,
        rules_primary="A simulated market of the local exchange.",
        rules_secondary="",
        price_level_structure=state.label,
        price_ranges=[messages.PriceRange(**item) for item in state.ranges],
        exchange_index=state.exchange_index,
    )


def _expiration_value(state: MarketState) -> str:
    """Return what the market ended at: the outcome, or the value of a scalar one."""
    if state.result == "scalar" and state.settlement_value is not None:
        return price_to_dollars(state.settlement_value)
    return state.result


def event(
    state: EventState, of: SeriesState | None, updated_ms: int, markets: list[messages.Market] | None = None
) -> messages.Event:
    """Return an event; `of` is its series and `markets` what is nested in it, if anything."""
    return messages.Event(
        event_ticker=state.ticker,
        series_ticker=state.series_ticker,
        sub_title="",
        title=state.title,
        collateral_return_type="",
        mutually_exclusive=state.mutually_exclusive,
        category=of.category if of is not None else "",
        markets=markets,
        last_updated_ts=rfc3339(updated_ms),
        exchange_index=state.exchange_index,
    )


def series(
    state: SeriesState, *, exchange_index: int, updated_ms: int, volume: int | None
) -> messages.Series:
    """Return a series; `volume` (1/100 contract) only when it was asked for."""
    whole, part = divmod(state.fee.multiplier, ONE)
    return messages.Series(
        ticker=state.ticker,
        frequency=state.frequency,
        title=state.title,
        category=state.category,
        categories=[state.category] if state.category else [],
        tags=list(state.tags),
        settlement_sources=[],
        contract_url="",
        contract_terms_url="",
        additional_prohibitions=[],
        fee_type=state.fee.kind,
        fee_multiplier=whole if part == 0 else state.fee.multiplier / ONE,
        volume_fp=None if volume is None else count_to_text(volume),
        last_updated_ts=rfc3339(updated_ms),
        exchange_index=exchange_index,
    )


class _CandlePrice(messages.CandlePrice, frozen=True, kw_only=True, omit_defaults=True):
    """Of a period without a trade only the price before it: the specification says null, the wire leaves the others out."""


def candle(item: Candle) -> messages.Candlestick:
    """Return a candlestick."""
    price = item.price
    return messages.Candlestick(
        end_period_ts=item.end_ms // 1000,
        yes_bid=_candle_side(item.bid),
        yes_ask=_candle_side(item.ask),
        price=_CandlePrice(
            open_dollars=_price(price.open if price else None),
            low_dollars=_price(price.low if price else None),
            high_dollars=_price(price.high if price else None),
            close_dollars=_price(price.close if price else None),
            mean_dollars=_price(item.mean),
            previous_dollars=_price(item.previous),
        ),
        volume_fp=count_to_text(item.volume),
        open_interest_fp=count_to_text(item.open_interest),
    )


def latest_candle(item: Candle, end_ms: int) -> messages.Candlestick:
    """Return what was known before a stretch of candles, as one that ends at `end_ms`: nothing traded, the last price before it."""
    return messages.Candlestick(
        end_period_ts=end_ms // 1000,
        yes_bid=_candle_side(Span(item.bid.close, item.bid.close, item.bid.close, item.bid.close)),
        yes_ask=_candle_side(Span(item.ask.close, item.ask.close, item.ask.close, item.ask.close)),
        price=_CandlePrice(previous_dollars=_price(item.price.close if item.price else item.previous)),
        volume_fp=count_to_text(0),
        open_interest_fp=count_to_text(item.open_interest),
    )


def _candle_side(span: Span) -> messages.CandleSide:
    return messages.CandleSide(
        open_dollars=price_to_dollars(span.open),
        low_dollars=price_to_dollars(span.low),
        high_dollars=price_to_dollars(span.high),
        close_dollars=price_to_dollars(span.close),
    )


def _price(price: int | None) -> str | None:
    return None if price is None else price_to_dollars(price)


def order(item: Order) -> messages.Order:
    """Return an order as the portfolio reads show it; what is empty is left out.

    The deprecated `side` is always yes, as recorded: `action` tells the direction on the YES book. For fills `side` is what was
    acquired, so that `action` is always buy.
    """
    return messages.Order(
        order_id=item.order_id,
        client_order_id=item.client_order_id,
        ticker=item.ticker,
        side="yes",
        action="buy" if item.side == BID else "sell",
        outcome_side=outcome(item.side),
        book_side=book_side(item.side),
        type="limit",
        status=item.status.value,
        yes_price_dollars=price_to_dollars(item.price),
        no_price_dollars=price_to_dollars(DOLLAR - item.price),
        fill_count_fp=count_to_text(item.filled),
        remaining_count_fp=count_to_text(item.remaining),
        initial_count_fp=count_to_text(item.initial),
        user_id=str(item.account_id),
        taker_fill_cost_dollars=money_to_dollars(item.taker_cost),
        maker_fill_cost_dollars=money_to_dollars(item.maker_cost),
        taker_fees_dollars=money_to_dollars(item.taker_fees),
        maker_fees_dollars=money_to_dollars(item.maker_fees),
        expiration_time=rfc3339(item.expiration_ms) if item.expiration_ms else None,
        created_time=rfc3339(item.created_ms),
        last_update_time=rfc3339(item.updated_ms),
        self_trade_prevention_type=item.self_trade.value,
        order_group_id=item.group_id or None,
        cancel_order_on_pause=item.cancel_on_pause or None,
        subaccount_number=item.subaccount,
        exchange_index=item.exchange_index,
    )


def rest_fill(fill: StoredFill) -> messages.Fill:
    """Return a fill as GET /portfolio/fills shows it: without a client order id."""
    return messages.Fill(
        fill_id=fill.trade_id,
        trade_id=fill.trade_id,
        order_id=fill.order_id,
        ticker=fill.ticker,
        market_ticker=fill.ticker,
        side=outcome(fill.side),
        action="buy",
        outcome_side=outcome(fill.side),
        book_side=book_side(fill.side),
        count_fp=count_to_text(fill.count),
        yes_price_dollars=price_to_dollars(fill.price),
        no_price_dollars=price_to_dollars(DOLLAR - fill.price),
        is_taker=fill.is_taker,
        fee_cost=money_to_dollars(fill.fee),
        created_time=rfc3339(fill.time_ms),
        subaccount_number=fill.subaccount,
        ts=fill.time_ms // 1000,
        exchange_index=fill.exchange_index,
    )


def settlement(item: StoredSettlement) -> messages.Settlement:
    """Return what a market paid; `revenue` in whole cents, `value` in cents per YES contract."""
    return messages.Settlement(
        ticker=item.ticker,
        event_ticker=item.event_ticker,
        exchange_index=item.exchange_index,
        market_result=item.result,  # type: ignore[arg-type]  # the store keeps the venue's word
        yes_count_fp=count_to_text(item.yes_count),
        yes_total_cost_dollars=money_to_dollars(item.yes_cost),
        no_count_fp=count_to_text(item.no_count),
        no_total_cost_dollars=money_to_dollars(item.no_cost),
        revenue=item.revenue // CENT,
        value=None if item.value is None else item.value // PRICE_PER_CENT,
        settled_time=rfc3339(item.time_ms),
        fee_cost=money_to_dollars(item.fee),
    )


def trade(item: PublicTrade) -> messages.Trade:
    """Return a public trade as GET /markets/trades shows it."""
    side = item.taker_side
    return messages.Trade(
        trade_id=item.trade_id,
        ticker=item.ticker,
        count_fp=count_to_text(item.count),
        yes_price_dollars=price_to_dollars(item.price),
        no_price_dollars=price_to_dollars(DOLLAR - item.price),
        taker_side=outcome(side),
        taker_outcome_side=outcome(side),
        taker_book_side=book_side(side),
        created_time=rfc3339(item.time_ms),
        is_block_trade=False,
    )


def position(ticker: str, held: Position, exchange_index: int) -> messages.MarketPosition:
    """Return a position as GET /portfolio/positions shows it."""
    return messages.MarketPosition(
        ticker=ticker,
        exchange_index=exchange_index,
        total_traded_dollars=money_to_dollars(held.traded),
        position_fp=count_to_text(held.count),
        market_exposure_dollars=money_to_dollars(held.cost),
        realized_pnl_dollars=money_to_dollars(held.realized),
        fees_paid_dollars=money_to_dollars(held.fees),
        last_updated_ts=rfc3339(held.updated_ms),
    )
