"""What the admin API shows: the oracle of tests, and the metrics."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from soloist_kalshi.numbers import count_to_text, money_to_dollars, price_to_dollars

from soloist_exchange import metrics, wire
from soloist_exchange.errors import Refused, StateError
from soloist_exchange.exchange import Exchange
from soloist_exchange.faults import FaultReport
from soloist_exchange.gateway import Wire
from soloist_exchange.ledger import Account
from soloist_exchange.markets import MarketState
from soloist_exchange.metrics import Family
from soloist_exchange.orders import BID, Order
from soloist_exchange.store_rows import KeyRow

__all__ = ["account", "account_summary", "book", "key", "market", "metrics_text", "oracle"]

_PREFIX: Final = "soloist_exchange_"


def account_summary(exchange: Exchange, server: Wire, found: Account) -> dict[str, Any]:
    """Return money, positions, keys and connections of an account, exact to the last unit."""
    return {
        "account": found.name,
        "account_id": found.account_id,
        "tier": exchange.tier(found.account_id),
        "cash": _by_subaccount(found.cash, found.cash),
        "reserved": _by_subaccount(
            found.reserved, [place for place, money in found.reserved.items() if money]
        ),
        "money": [
            {
                "subaccount": subaccount,
                "exchange_index": shard,
                "cash": money_to_dollars(cash),
                "reserved": money_to_dollars(found.reserved.get((subaccount, shard), 0)),
            }
            for (subaccount, shard), cash in sorted(found.cash.items())
        ],
        "positions": [
            {
                "subaccount": subaccount,
                "ticker": ticker,
                "count": count_to_text(held.count),
                "realized": money_to_dollars(held.realized),
                "fees": money_to_dollars(held.fees),
            }
            for (subaccount, ticker), held in found.positions.items()
        ],
        "keys": [key.key_id for key in exchange.store.keys(found.account_id)],
        "connections": server.keys_of_websockets(found.account_id),
        "concurrent": server.usage.of(found.name),
    }


def key(row: KeyRow) -> dict[str, Any]:
    """Return a key's life, from when to when it was listed; `deleted_ms` is None while it is."""
    return {
        "key_id": row.key_id,
        "name": row.name,
        "scopes": list(row.scopes),
        "subaccount": row.subaccount,
        "created_ms": row.created_ms,
        "deleted_ms": row.deleted_ms,
    }


def _by_subaccount(money: dict[tuple[int, int], int], places: Iterable[tuple[int, int]]) -> dict[str, str]:
    """Return money per subaccount, all its shards together."""
    sums: dict[int, int] = {}
    for place in places:
        sums[place[0]] = sums.get(place[0], 0) + money[place]
    return {str(subaccount): money_to_dollars(value) for subaccount, value in sorted(sums.items())}


def account(exchange: Exchange, name: str) -> Account:
    """Return an account by its name. Raises Refused (404)."""
    try:
        return exchange.account(exchange.account_id(name))
    except StateError as error:
        raise Refused(404, "not_found", str(error)) from None


def market(exchange: Exchange, ticker: str) -> MarketState:
    """Return a market. Raises Refused (404)."""
    found = exchange.venue.markets.get(ticker)
    if found is None:
        raise Refused(404, "not_found", f"no market {ticker}")
    return found


def book(state: MarketState) -> dict[str, Any]:
    """Return a market's book, checked."""
    state.book.check()
    yes, no = wire.book_levels(state.book)
    return {"ticker": state.ticker, "yes_dollars": yes or [], "no_dollars": no or []}


def oracle(exchange: Exchange, server: Wire) -> dict[str, Any]:
    """Return everything that is true at this moment: markets with their books, accounts with their orders, groups, and conservation."""
    venue = exchange.venue
    accounts = [
        account_summary(exchange, server, found)
        | {
            "orders": [_order(order) for order in venue.resting(found.account_id)],
            "groups": [
                {
                    "order_group_id": group.group_id,
                    "subaccount": group.subaccount,
                    "exchange_index": group.exchange_index,
                    "contracts_limit": count_to_text(group.limit),
                    "matched": count_to_text(group.matched),
                    "triggered": group.triggered,
                    "orders": [order.order_id for order in group.orders],
                }
                for group in venue.groups.of(found.account_id, None)
            ],
        }
        for found in venue.ledger.accounts.values()
        if not found.internal
    ]
    return {
        "time_ms": exchange.clock_ms(),
        "exchange_active": venue.exchange_active,
        "trading_active": venue.trading_active,
        "markets": [
            book(state)
            | {
                "status": str(state.status),
                "result": state.result,
                "last_price_dollars": price_to_dollars(state.last_price),
                "volume": count_to_text(state.volume),
                "open_interest": count_to_text(state.open_interest),
            }
            for state in venue.markets.values()
        ],
        "accounts": accounts,
        "conservation": {"difference": venue.ledger.difference(), "unpaired": venue.ledger.unpaired()},
    }


def _order(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "ticker": order.ticker,
        "side": "bid" if order.side == BID else "ask",
        "price_dollars": price_to_dollars(order.price),
        "remaining": count_to_text(order.remaining),
        "filled": count_to_text(order.filled),
        "subaccount": order.subaccount,
        "order_group_id": order.group_id,
    }


def metrics_text(exchange: Exchange, server: Wire, reports: list[FaultReport], totals: dict[str, int]) -> str:
    """Return the metrics as Prometheus reads them."""
    venue = exchange.venue
    unpaired = venue.ledger.unpaired()
    gauges: tuple[tuple[str, str, Callable[[], int]], ...] = (
        ("conservation_difference", "Money that appeared (+) or vanished (-), in 1/1 000 000 dollar; always 0.", venue.ledger.difference),
        ("conservation_unpaired", "Markets whose YES and NO contracts differ; always 0.", lambda: len(unpaired)),
        ("resting_orders", "Orders of accounts that rest.", lambda: len(venue.orders)),
        ("connections", "Open WebSocket connections.", server.count_websockets),
        ("http_connections", "Open HTTP connections.", lambda: len(server.connections)),
        ("markets", "Markets.", lambda: len(venue.markets)),
        ("faults_in_force", "Faults that are set.", lambda: len(reports)),
        ("clock_seconds", "Time of the venue's clock, Unix seconds.", lambda: exchange.clock_ms() // 1000),
    )  # fmt: skip
    families = [Family.single(_PREFIX + name, "gauge", text, value()) for name, text, value in gauges]
    families += [
        Family.single(_PREFIX + "steps_total", "counter", "Steps after which money and contracts were checked and right.", venue.steps),
        Family.single(_PREFIX + "orders_total", "counter", "Orders accepted, scenario's included.", exchange.store.last_sequence()),
        Family.single(_PREFIX + "fills_total", "counter", "Fills of accounts.", exchange.store.last_fill()),
        Family(
            _PREFIX + "fault_hits_total",
            "counter",
            "Faults that happened, by kind.",
            [("", {"kind": kind}, hits) for kind, hits in sorted(totals.items())],
        ),
    ]  # fmt: skip
    return metrics.render([*families, *server.times.families(), *server.usage.families()])
