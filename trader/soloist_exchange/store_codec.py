"""How orders, positions and markets become bytes: the values in a fixed order of their fields, in MessagePack.

What is written here is read by the next start. Adding a field to `Order`, `Position` or `MarketState` changes the bytes, so it needs a
new `store_file.VERSION`; a test holds the fields of this version.
"""

from dataclasses import fields
from enum import Enum
from functools import cache
from operator import attrgetter
from typing import Any, Final

import msgspec
from soloist_kalshi.numbers import PriceGrid

from soloist_exchange.groups import Group
from soloist_exchange.ledger import Position
from soloist_exchange.markets import FeeTerms, MarketState
from soloist_exchange.orders import Order, SelfTrade, Status, TimeInForce, UpdateReason

__all__ = [
    "MARKET_FIELDS",
    "ORDER_FIELDS",
    "POSITION_FIELDS",
    "STATISTICS_FIELDS",
    "decode",
    "decode_market",
    "decode_order",
    "decode_position",
    "decode_statistics",
    "encode",
    "encode_group",
    "encode_market",
    "encode_order",
    "encode_position",
    "encode_statistics",
]

# The place in the book and the collateral's count are found anew when the order is put back.
_PLACE: Final = {"level", "ahead", "behind", "backed"}
ORDER_FIELDS: Final = tuple(name for name in sorted(Order.__slots__) if name not in _PLACE)
POSITION_FIELDS: Final = tuple(item.name for item in fields(Position))
# What trades change is written apart from what the market is.
STATISTICS_FIELDS: Final = (
    "last_price",
    "last_count",
    "volume",
    "dollar_volume",
    "open_interest",
    "previous_price",
    "previous_bid",
    "previous_ask",
)
_MADE_AGAIN: Final = {"grid", "book"}
MARKET_FIELDS: Final = tuple(
    item.name
    for item in fields(MarketState)
    if item.name not in _MADE_AGAIN and item.name not in STATISTICS_FIELDS
)
_ENUMS: Final[dict[str, type[Enum]]] = {
    "time_in_force": TimeInForce,
    "self_trade": SelfTrade,
    "status": Status,
    "reason": UpdateReason,
}

_order_values = attrgetter(*ORDER_FIELDS)
_position_values = attrgetter(*POSITION_FIELDS)
_market_values = attrgetter(*MARKET_FIELDS)
_statistics_values = attrgetter(*STATISTICS_FIELDS)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()

encode = _encoder.encode
decode = _decoder.decode


def encode_order(order: Order) -> bytes:
    """Return an order's state."""
    return encode(_order_values(order))


def decode_order(encoded: bytes) -> Order:
    """Return an order as it was when it was encoded: an object of its own."""
    order = Order.__new__(Order)
    for name, value in zip(ORDER_FIELDS, decode(encoded), strict=True):
        kind = _ENUMS.get(name)
        setattr(order, name, value if kind is None else kind(value))
    order.level = order.ahead = order.behind = None
    order.backed = 0
    return order


def encode_position(position: Position) -> bytes:
    """Return a position's state."""
    return encode(_position_values(position))


def decode_position(encoded: bytes) -> Position:
    """Return a position as it was when it was encoded: an object of its own."""
    return Position(*decode(encoded))


def encode_market(market: MarketState) -> bytes:
    """Return what a market is, without its book and its statistics."""
    return encode(dict(zip(MARKET_FIELDS, _market_values(market), strict=True)))


def decode_market(encoded: bytes, statistics: bytes | None) -> MarketState:
    """Return a market with an empty book, and with its statistics when there are any."""
    values: dict[str, Any] = decode(encoded)
    values["fee"] = FeeTerms(**values["fee"])
    if statistics is not None:
        values |= zip(STATISTICS_FIELDS, decode_statistics(statistics)[0], strict=True)
    return MarketState(grid=_grid(encode(values["ranges"])), **values)


@cache
def _grid(encoded_ranges: bytes) -> PriceGrid:
    """Return a price grid; markets have few different ones, and share them."""
    return PriceGrid.from_ranges(decode(encoded_ranges))


def encode_statistics(market: MarketState, held: list[tuple[int, int]]) -> bytes:
    """Return what trades made of a market, and the accounts and counts that the exchange's own participants hold in it."""
    return encode((_statistics_values(market), held))


def decode_statistics(encoded: bytes) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the values of STATISTICS_FIELDS, and accounts and counts of the exchange's own participants."""
    values, held = decode(encoded)
    return values, held


def encode_group(group: Group) -> bytes:
    """Return an order group's state: what `Groups.restore` takes, in its order."""
    return encode(
        (
            group.group_id,
            group.account_id,
            group.subaccount,
            group.exchange_index,
            group.limit,
            group.triggered,
            group.window,
        )
    )
