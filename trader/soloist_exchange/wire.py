"""From the exchange's integers to the venue's structs, for REST and WebSocket alike."""

from datetime import UTC, datetime

from soloist_kalshi import frames, messages
from soloist_kalshi.numbers import count_to_text, money_to_dollars, price_to_dollars

from soloist_exchange.ledger import DOLLAR, Account, Position
from soloist_exchange.matching import Book
from soloist_exchange.orders import ASK, BID, Order, UpdateReason
from soloist_exchange.store import StoredFill
from soloist_exchange.venue import Fill, MarketState

__all__ = [
    "balance",
    "book_levels",
    "fill_message",
    "market",
    "order",
    "position",
    "position_message",
    "rest_fill",
    "rfc3339",
    "ticker_message",
    "trade",
    "trade_message",
    "user_order_message",
]

CENT = 10_000  # money


def rfc3339(time_ms: int) -> str:
    """Return a time as the venue prints it, with microseconds."""
    return (
        datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    )


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


def _top(book: Book) -> tuple[int, int, int, int]:
    """Return bid, bid size, ask and ask size; 0 and 10 000 stand for an empty side."""
    bid, ask = book.best(BID), book.best(ASK)
    return (
        bid or 0,
        book.level_total(BID, bid) if bid else 0,
        ask or DOLLAR,
        book.level_total(ASK, ask) if ask else 0,
    )


def market(state: MarketState) -> messages.Market:
    """Return a market with its top of the book."""
    bid, bid_size, ask, ask_size = _top(state.book)
    opened, closes = rfc3339(state.open_ms), rfc3339(state.close_ms)
    return messages.Market(
        ticker=state.ticker,
        event_ticker=state.event_ticker,
        market_type="binary",
        title=state.title,
        yes_sub_title="Yes",
        no_sub_title="No",
        created_time=opened,
        updated_time=opened,
        open_time=opened,
        close_time=closes,
        latest_expiration_time=closes,
        settlement_timer_seconds=60,
        status="active" if state.status == "active" else "closed",
        yes_bid_dollars=price_to_dollars(bid),
        yes_bid_size_fp=count_to_text(bid_size),
        yes_ask_dollars=price_to_dollars(ask),
        yes_ask_size_fp=count_to_text(ask_size),
        no_bid_dollars=price_to_dollars(DOLLAR - ask),
        no_ask_dollars=price_to_dollars(DOLLAR - bid),
        last_price_dollars=price_to_dollars(state.last_price),
        volume_fp=count_to_text(state.volume),
        volume_24h_fp=count_to_text(state.volume),
        result="",
        can_close_early=False,
        open_interest_fp=count_to_text(state.open_interest),
        notional_value_dollars="1.0000",
        previous_yes_bid_dollars=price_to_dollars(bid),
        previous_yes_ask_dollars=price_to_dollars(ask),
        previous_price_dollars=price_to_dollars(state.last_price),
        expiration_value="",
        rules_primary="A simulated market of the local exchange.",
        rules_secondary="",
        price_level_structure="linear_cent",
        price_ranges=[messages.PriceRange(**item) for item in state.ranges],
        exchange_index=0,
    )


def order(item: Order) -> messages.Order:
    """Return an order as the portfolio reads show it."""
    return messages.Order(
        order_id=item.order_id,
        client_order_id=item.client_order_id,
        ticker=item.ticker,
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
        cancel_order_on_pause=item.cancel_on_pause,
        subaccount_number=item.subaccount,
        exchange_index=0,
    )


def user_order_message(item: Order) -> frames.UserOrderMessage:
    """Return an order as the user_orders channel shows it."""
    return frames.UserOrderMessage(
        order_id=item.order_id,
        ticker=item.ticker,
        status=item.status.value,
        outcome_side=outcome(item.side),
        book_side=book_side(item.side),
        is_yes=item.side == BID,
        yes_price_dollars=price_to_dollars(item.price),
        fill_count_fp=count_to_text(item.filled),
        remaining_count_fp=count_to_text(item.remaining),
        initial_count_fp=count_to_text(item.initial),
        client_order_id=item.client_order_id,
        user_id=str(item.account_id),
        exchange_index=0,
        taker_fill_cost_dollars=money_to_dollars(item.taker_cost),
        maker_fill_cost_dollars=money_to_dollars(item.maker_cost),
        taker_fees_dollars=money_to_dollars(item.taker_fees),
        maker_fees_dollars=money_to_dollars(item.maker_fees),
        self_trade_prevention_type=item.self_trade.value,
        created_time=rfc3339(item.created_ms),
        created_ts_ms=item.created_ms,
        last_update_time=rfc3339(item.updated_ms),
        last_update_ts_ms=item.updated_ms,
        expiration_time=rfc3339(item.expiration_ms) if item.expiration_ms else None,
        expiration_ts_ms=item.expiration_ms or None,
        last_update_reason=None if item.reason is UpdateReason.NONE else item.reason.value,
        subaccount_number=item.subaccount,
    )


def rest_fill(fill: StoredFill) -> messages.Fill:
    """Return a fill as GET /portfolio/fills shows it: without a client order id."""
    return messages.Fill(
        fill_id=fill.trade_id,
        trade_id=fill.trade_id,
        order_id=fill.order_id,
        ticker=fill.ticker,
        market_ticker=fill.ticker,
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
        exchange_index=0,
    )


def trade(state: MarketState, fill: Fill) -> messages.Trade:
    """Return a public trade as GET /markets/trades shows it, from its taker's fill."""
    side = fill.order.side
    return messages.Trade(
        trade_id=fill.trade_id,
        ticker=state.ticker,
        count_fp=count_to_text(fill.count),
        yes_price_dollars=price_to_dollars(fill.price),
        no_price_dollars=price_to_dollars(DOLLAR - fill.price),
        taker_side=outcome(side),
        taker_outcome_side=outcome(side),
        taker_book_side=book_side(side),
        created_time=rfc3339(fill.time_ms),
        is_block_trade=False,
    )


def fill_message(fill: Fill) -> frames.FillMessage:
    """Return a fill as the fill channel shows it."""
    item = fill.order
    return frames.FillMessage(
        trade_id=fill.trade_id,
        order_id=item.order_id,
        client_order_id=item.client_order_id or None,
        market_ticker=item.ticker,
        is_taker=fill.is_taker,
        yes_price_dollars=price_to_dollars(fill.price),
        count_fp=count_to_text(fill.count),
        fee_cost=money_to_dollars(fill.fee),
        ts=fill.time_ms // 1000,
        ts_ms=fill.time_ms,
        post_position_fp=count_to_text(fill.position_after),
        purchased_side=outcome(item.side),
        outcome_side=outcome(item.side),
        book_side=book_side(item.side),
        exchange_index=0,
        subaccount=item.subaccount,
    )


def trade_message(state: MarketState, fill: Fill) -> frames.TradeMessage:
    """Return a public trade from its taker's fill."""
    return frames.TradeMessage(
        trade_id=fill.trade_id,
        market_ticker=state.ticker,
        yes_price_dollars=price_to_dollars(fill.price),
        no_price_dollars=price_to_dollars(DOLLAR - fill.price),
        count_fp=count_to_text(fill.count),
        taker_side=outcome(fill.order.side),
        taker_outcome_side=outcome(fill.order.side),
        taker_book_side=book_side(fill.order.side),
        is_block_trade=False,
        ts=fill.time_ms // 1000,
        ts_ms=fill.time_ms,
    )


def ticker_message(state: MarketState, now_ms: int) -> frames.TickerMessage:
    """Return the top of a market as the ticker channel shows it."""
    bid, bid_size, ask, ask_size = _top(state.book)
    return frames.TickerMessage(
        market_id=state.ticker,
        market_ticker=state.ticker,
        price_dollars=price_to_dollars(state.last_price),
        yes_bid_dollars=price_to_dollars(bid),
        yes_ask_dollars=price_to_dollars(ask),
        volume_fp=count_to_text(state.volume),
        open_interest_fp=count_to_text(state.open_interest),
        dollar_volume=state.dollar_volume // 1_000_000,
        dollar_open_interest=state.open_interest // 100,
        yes_bid_size_fp=count_to_text(bid_size),
        yes_ask_size_fp=count_to_text(ask_size),
        last_trade_size_fp=count_to_text(state.last_count),
        ts=now_ms // 1000,
        ts_ms=now_ms,
        time=rfc3339(now_ms),
    )


def position(ticker: str, held: Position) -> messages.MarketPosition:
    """Return a position as GET /portfolio/positions shows it."""
    return messages.MarketPosition(
        ticker=ticker,
        exchange_index=0,
        total_traded_dollars=money_to_dollars(held.traded),
        position_fp=count_to_text(held.count),
        market_exposure_dollars=money_to_dollars(held.cost),
        realized_pnl_dollars=money_to_dollars(held.realized),
        fees_paid_dollars=money_to_dollars(held.fees),
        last_updated_ts=rfc3339(held.updated_ms),
    )


def position_message(
    account_id: int, subaccount: int, ticker: str, held: Position
) -> frames.MarketPositionMessage:
    """Return a position as the market_positions channel shows it."""
    return frames.MarketPositionMessage(
        user_id=str(account_id),
        market_ticker=ticker,
        position_fp=count_to_text(held.count),
        position_cost_dollars=money_to_dollars(held.cost),
        realized_pnl_dollars=money_to_dollars(held.realized),
        fees_paid_dollars=money_to_dollars(held.fees),
        position_fee_cost_dollars=money_to_dollars(held.fees),
        volume_fp=count_to_text(held.volume),
        subaccount=subaccount,
    )


def balance(account: Account, subaccount: int, worth: int, now_ms: int) -> messages.Balance:
    """Return a balance; `worth` is what the positions would sell for (money)."""
    cash = account.available(subaccount)
    return messages.Balance(
        balance=cash // CENT,
        balance_dollars=money_to_dollars(cash),
        portfolio_value=worth // CENT,
        updated_ts=now_ms // 1000,
        balance_breakdown=[messages.BalanceOfShard(exchange_index=0, balance=cash // CENT)],
    )
