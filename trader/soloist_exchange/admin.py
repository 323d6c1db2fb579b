"""The admin API, on loopback: the oracle of tests, and the faults. It has no authentication: who reaches it owns the exchange."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web
from soloist_kalshi.numbers import count_to_text, money_to_dollars

from soloist_exchange import wire
from soloist_exchange.exchange import Exchange
from soloist_exchange.faults import FAULT_KINDS, Fault, Faults
from soloist_exchange.feed import Feed
from soloist_exchange.rest_call import number

__all__ = ["application"]

Handler = Callable[[web.Request], Awaitable[web.Response]]


def application(exchange: Exchange, feed: Feed, faults: Faults) -> web.Application:
    """Return the admin application."""
    made = web.Application()
    for method, path, handler in (
        ("GET", "/admin/health", _health(exchange)),
        ("GET", "/admin/accepted-orders", _accepted(exchange)),
        ("GET", "/admin/events", _events(exchange)),
        ("GET", "/admin/accounts", _accounts(exchange, feed)),
        ("GET", "/admin/books/{ticker}", _book(exchange)),
        ("GET", "/admin/conservation", _conservation(exchange)),
        ("GET", "/admin/metrics", _metrics(exchange, feed)),
        ("POST", "/admin/faults", _set_faults(faults)),
        ("POST", "/admin/disconnect", _disconnect(feed)),
    ):
        made.router.add_route(method, path, handler)
    return made


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(content), content_type="application/json")


def _health(exchange: Exchange) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return _json(
            {"status": "serving", "time_ms": exchange.clock_ms(), "markets": len(exchange.venue.markets)}
        )

    return handle


def _accepted(exchange: Exchange) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return _json(
            {"orders": [item | {"outcome": "accepted"} for item in _log(exchange, request, "accepted")]}
        )

    return handle


def _events(exchange: Exchange) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return _json({"events": _log(exchange, request, request.query.get("kind", ""))})

    return handle


def _log(exchange: Exchange, request: web.Request, kind: str) -> list[dict[str, Any]]:
    exchange.commit()
    since = number(request.query.get("since", "")) or 0
    return exchange.store.events(request.query.get("account", ""), kind, since)


def _accounts(exchange: Exchange, feed: Feed) -> Handler:
    """Tell money, positions and connections of every account, exact to the last unit."""

    async def handle(_: web.Request) -> web.Response:
        accounts = [
            {
                "account": account.name,
                "cash": {str(sub): money_to_dollars(cash) for sub, cash in account.cash.items()},
                "reserved": {
                    str(sub): money_to_dollars(money) for sub, money in account.reserved.items() if money
                },
                "positions": [
                    {
                        "subaccount": sub,
                        "ticker": ticker,
                        "count": count_to_text(held.count),
                        "realized": money_to_dollars(held.realized),
                        "fees": money_to_dollars(held.fees),
                    }
                    for (sub, ticker), held in account.positions.items()
                ],
                "keys": [key.key_id for key in exchange.store.keys(account.account_id)],
                "connections": [
                    session.caller.key.key_id
                    for session in feed.sessions
                    if session.caller.account_id == account.account_id
                ],
            }
            for account in exchange.venue.ledger.accounts.values()
            if not account.internal
        ]
        return _json({"accounts": accounts})

    return handle


def _book(exchange: Exchange) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        state = exchange.venue.markets.get(request.match_info["ticker"])
        if state is None:
            return _json({"error": f"no market {request.match_info['ticker']}"}, 404)
        state.book.check()
        yes, no = wire.book_levels(state.book)
        return _json({"ticker": state.ticker, "yes_dollars": yes or [], "no_dollars": no or []})

    return handle


def _conservation(exchange: Exchange) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        ledger = exchange.venue.ledger
        return _json({"difference": ledger.difference(), "unpaired": ledger.unpaired()})

    return handle


def _metrics(exchange: Exchange, feed: Feed) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        venue = exchange.venue
        values = {
            "soloist_exchange_conservation_difference": venue.ledger.difference(),
            "soloist_exchange_orders": exchange.store.last_sequence(),
            "soloist_exchange_resting_orders": len(venue.orders),
            "soloist_exchange_fills": exchange.store.last_fill(),
            "soloist_exchange_connections": len(feed.sessions),
            "soloist_exchange_markets": len(venue.markets),
        }
        return web.Response(text="".join(f"{name} {value}\n" for name, value in values.items()))

    return handle


def _set_faults(faults: Faults) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        try:
            wanted = msgspec.json.decode(await request.read(), type=list[Fault])
        except msgspec.DecodeError as error:
            return _json({"error": f"a list of faults is wanted: {error}", "kinds": FAULT_KINDS}, 400)
        faults.set(wanted)
        return _json({"faults": wanted})

    return handle


def _disconnect(feed: Feed) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return _json({"disconnected": feed.disconnect(request.query.get("account", ""))})

    return handle
