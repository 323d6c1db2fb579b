"""From the exchange's integers to WebSocket messages (section 13.4): structs for what is rare, bytes for what goes out to everybody.

A book change, a tick or a trade is encoded once, however many connections hear of it: what differs between them is the sid, the
sequence number, NO prices or YES prices, and the two fields that only the owner of the order sees.
"""

import uuid
from datetime import UTC, datetime
from functools import lru_cache

import msgspec
from soloist_kalshi import frames
from soloist_kalshi.messages import PriceRange
from soloist_kalshi.numbers import count_to_text, money_to_dollars, price_to_dollars

from soloist_exchange.ledger import DOLLAR, Position
from soloist_exchange.listener import Fill
from soloist_exchange.markets import EventState, MarketState
from soloist_exchange.matching import LevelChange
from soloist_exchange.orders import BID, Order
from soloist_exchange.wire import book_levels, book_side, outcome, top

__all__ = [
    "Delta",
    "encode",
    "event_lifecycle",
    "fill",
    "lifecycle",
    "market_id",
    "position",
    "snapshot",
    "ticker",
    "timestamp",
    "trade",
    "user_order",
]

_NAMESPACE = uuid.UUID("6f3c1b52-5d0e-4c53-9a57-0d6f1f0b8c11")
_KINDS = 1 << 16  # of prices, counts and markets whose texts are remembered

encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=_KINDS)
def market_id(name: str) -> str:
    """Return a market's UUID: the same one for the same ticker, whenever and wherever."""
    return str(uuid.uuid5(_NAMESPACE, name))


@lru_cache(maxsize=64)
def _second(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def timestamp(time_ms: int) -> str:
    """Return a time as the venue prints it, with microseconds (`wire.rfc3339`, which remembers no second)."""
    return f"{_second(time_ms // 1000)}.{time_ms % 1000:03d}000Z"


# ---------------------------------------------------------------------- books, ticks and trades: encoded once


@lru_cache(maxsize=_KINDS)
def _market_fields(name: str) -> bytes:
    """Return the fields that name a market, and the key of the price that follows them."""
    return b'{"market_ticker":%b,"market_id":%b,"price_dollars":"' % (encode(name), encode(market_id(name)))


@lru_cache(maxsize=_KINDS)
def _price(price: int) -> bytes:
    return price_to_dollars(price).encode()


@lru_cache(maxsize=_KINDS)
def _count(count: int) -> bytes:
    return count_to_text(count).encode()


class Delta:
    """The body of one changed level in up to four versions, each made when the first connection needs it."""

    __slots__ = ("_bodies", "_change", "_market", "_rest")

    def __init__(self, market: str, change: LevelChange, moment: bytes) -> None:
        self._market = _market_fields(market)
        self._change = change
        self._rest = b'","delta_fp":"%b","side":"%b",%b' % (
            _count(change.delta),
            b"yes" if change.side == BID else b"no",
            moment,
        )
        self._bodies: dict[tuple[bool, bool], bytes] = {}

    @staticmethod
    def moment(time_ms: int) -> bytes:
        """Return the two time fields that the changes of one step share."""
        return b'"ts":"%b","ts_ms":%d' % (timestamp(time_ms).encode(), time_ms)

    def body(self, *, yes_prices: bool, own: bool) -> bytes:
        """Return the message; NO levels are in NO prices unless `yes_prices`, and `own` adds what only the order's owner sees."""
        change = self._change
        version = (yes_prices or change.side == BID, own)
        found = self._bodies.get(version)
        if found is None:
            price = change.price if version[0] else DOLLAR - change.price
            found = self._bodies[version] = b"%b%b%b%b}" % (
                self._market,
                _price(price),
                self._rest,
                _own_fields(change.order) if own else b"",
            )
        return found


def _own_fields(order: Order) -> bytes:
    named = b',"client_order_id":%b' % encode(order.client_order_id) if order.client_order_id else b""
    return b'%b,"subaccount":%d' % (named, order.subaccount)


def snapshot(market: MarketState, *, yes_prices: bool) -> bytes:
    """Return the whole book; an empty side is absent."""
    yes, no = book_levels(market.book, yes_prices=yes_prices)
    name = market.ticker
    return encode(
        frames.OrderbookSnapshotMessage(
            market_ticker=name, market_id=market_id(name), yes_dollars_fp=yes, no_dollars_fp=no
        )
    )


def ticker(market: MarketState, now_ms: int) -> bytes:
    """Return the top of a market and its statistics."""
    bid, bid_size, ask, ask_size = top(market.book)
    return encode(
        frames.TickerMessage(
            market_id=market_id(market.ticker),
            market_ticker=market.ticker,
            price_dollars=price_to_dollars(market.last_price),
            yes_bid_dollars=price_to_dollars(bid),
            yes_ask_dollars=price_to_dollars(ask),
            volume_fp=count_to_text(market.volume),
            open_interest_fp=count_to_text(market.open_interest),
            dollar_volume=market.dollar_volume // 1_000_000,
            dollar_open_interest=market.open_interest // 100,
            yes_bid_size_fp=count_to_text(bid_size),
            yes_ask_size_fp=count_to_text(ask_size),
            last_trade_size_fp=count_to_text(market.last_count),
            ts=now_ms // 1000,
            ts_ms=now_ms,
            time=timestamp(now_ms),
        )
    )


def trade(taken: Fill) -> bytes:
    """Return a public trade from its taker's fill."""
    side = taken.order.side
    return encode(
        frames.TradeMessage(
            trade_id=taken.trade_id,
            market_ticker=taken.order.ticker,
            yes_price_dollars=price_to_dollars(taken.price),
            no_price_dollars=price_to_dollars(DOLLAR - taken.price),
            count_fp=count_to_text(taken.count),
            taker_side=outcome(side),
            taker_outcome_side=outcome(side),
            taker_book_side=book_side(side),
            is_block_trade=False,
            ts=taken.time_ms // 1000,
            ts_ms=taken.time_ms,
        )
    )


# ---------------------------------------------------------------------- private channels


def fill(made: Fill) -> bytes:
    """Return a fill for its owner. Of the deprecated fields `side` is the outcome that was acquired, so `action` is always buy."""
    order = made.order
    acquired = outcome(order.side)
    return encode(
        frames.FillMessage(
            trade_id=made.trade_id,
            order_id=order.order_id,
            client_order_id=order.client_order_id or None,
            market_ticker=order.ticker,
            exchange_index=order.exchange_index,
            is_taker=made.is_taker,
            side=acquired,
            yes_price_dollars=price_to_dollars(made.price),
            count_fp=count_to_text(made.count),
            fee_cost=money_to_dollars(made.fee),
            action="buy",
            ts=made.time_ms // 1000,
            ts_ms=made.time_ms,
            post_position_fp=count_to_text(made.position_after),
            purchased_side=acquired,
            outcome_side=acquired,
            book_side=book_side(order.side),
            subaccount=order.subaccount,
        )
    )


def position(account_id: int, subaccount: int, name: str, held: Position) -> bytes:
    """Return a position after it changed."""
    return encode(
        frames.MarketPositionMessage(
            user_id=str(account_id),
            market_ticker=name,
            position_fp=count_to_text(held.count),
            position_cost_dollars=money_to_dollars(held.cost),
            realized_pnl_dollars=money_to_dollars(held.realized),
            fees_paid_dollars=money_to_dollars(held.fees),
            position_fee_cost_dollars=money_to_dollars(held.fees),
            volume_fp=count_to_text(held.volume),
            subaccount=subaccount,
        )
    )


def user_order(order: Order) -> bytes:
    """Return an order's state for its owner."""
    expires_ms = order.expiration_ms
    return encode(
        frames.UserOrderMessage(
            order_id=order.order_id,
            user_id=str(order.account_id),
            ticker=order.ticker,
            exchange_index=order.exchange_index,
            status=order.status.value,
            side=outcome(order.side),
            is_yes=order.side == BID,
            outcome_side=outcome(order.side),
            book_side=book_side(order.side),
            yes_price_dollars=price_to_dollars(order.price),
            fill_count_fp=count_to_text(order.filled),
            remaining_count_fp=count_to_text(order.remaining),
            initial_count_fp=count_to_text(order.initial),
            taker_fill_cost_dollars=money_to_dollars(order.taker_cost),
            maker_fill_cost_dollars=money_to_dollars(order.maker_cost),
            taker_fees_dollars=money_to_dollars(order.taker_fees),
            maker_fees_dollars=money_to_dollars(order.maker_fees),
            client_order_id=order.client_order_id,
            order_group_id=order.group_id or None,
            self_trade_prevention_type=order.self_trade.value,
            created_time=timestamp(order.created_ms),
            created_ts_ms=order.created_ms,
            last_update_time=timestamp(order.updated_ms),
            last_update_ts_ms=order.updated_ms,
            expiration_time=timestamp(expires_ms) if expires_ms else None,
            expiration_ts_ms=expires_ms or None,
            last_update_reason=order.reason.value or None,
            subaccount_number=order.subaccount,
        )
    )


# ---------------------------------------------------------------------- lifecycle


def lifecycle(market: MarketState, event_type: str) -> bytes:
    """Return a market's change with the fields that belong to it."""
    message = frames.MarketLifecycleMessage(market_ticker=market.ticker, event_type=event_type)
    changes: dict[str, object] = {}
    if event_type == "created":
        changes = {
            "exchange_index": market.exchange_index,
            "open_ts": market.open_ms // 1000,
            "close_ts": market.close_ms // 1000,
            "additional_metadata": _metadata(market),
        }
    elif event_type in {"activated", "deactivated"}:
        changes = {"is_deactivated": event_type == "deactivated"}
    elif event_type == "close_date_updated":
        changes = {"close_ts": market.close_ms // 1000}
    elif event_type == "determined":
        value = market.settlement_value
        changes = {
            "result": market.result,
            "settlement_value": None if value is None else price_to_dollars(value),
            "determination_ts": market.determined_ms // 1000,
        }
    elif event_type == "settled":
        changes = {"settled_ts": market.settled_ms // 1000}
    elif event_type == "metadata_updated":
        changes = {"yes_sub_title": market.title}  # the one text that can change here
    if event_type in {"created", "price_level_structure_updated"}:
        changes["price_level_structure"] = market.label
        changes["price_ranges"] = [PriceRange(**item) for item in market.ranges]
    return encode(msgspec.structs.replace(message, **changes))


def _metadata(market: MarketState) -> frames.LifecycleMetadata:
    return frames.LifecycleMetadata(
        name=market.title,
        title=market.title,
        yes_sub_title="Yes",
        no_sub_title="No",
        rules_primary="A simulated market of the local exchange.",
        rules_secondary="",
        can_close_early=market.can_close_early,
        event_ticker=market.event_ticker,
        expected_expiration_ts=market.close_ms // 1000,
    )


def event_lifecycle(event: EventState) -> bytes:
    """Return a new event."""
    return encode(
        frames.EventLifecycleMessage(
            event_ticker=event.ticker,
            exchange_index=event.exchange_index,
            title=event.title,
            subtitle="",
            collateral_return_type="MECNET" if event.mutually_exclusive else "",
            series_ticker=event.series_ticker,
        )
    )
