"""An exchange in a temporary directory, called as the gateway calls it, without a socket and without a wall clock."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from typing import Any

import msgspec
from multidict import MultiDict
from soloist_exchange import rest
from soloist_exchange.auth import Caller, require_scope
from soloist_exchange.errors import Refused
from soloist_exchange.exchange import Exchange, create_account
from soloist_exchange.rest_call import Request, encode
from soloist_exchange.router import Router
from soloist_exchange.scenario import Scenario
from soloist_exchange.switches import Switches

from tests.unit.soloist_exchange.bare_venues import START_MS, Clock

DOLLAR = 1_000_000
ORDERS = "/portfolio/events/orders"
SCENARIO = {
    "name": "rest",
    "series": [{"ticker": "SER", "title": "Series", "category": "Weather", "tags": ["rain", "wind"]}],
    "events": [
        {"ticker": "EV-A", "series": "SER", "title": "Event A", "mutually_exclusive": True},
        {"ticker": "EV-B", "series": "SER", "title": "Event B", "exchange_index": 2},
    ],
    "markets": [
        {"ticker": "M1", "event": "EV-A", "step_ms": 0, "levels": 0},
        {"ticker": "M2", "event": "EV-A", "step_ms": 0, "levels": 0},
        {"ticker": "M3", "event": "EV-B", "exchange_index": 2, "step_ms": 0, "levels": 0},
    ],
}
Reply = tuple[int, Any]


class RestWorld:
    """An exchange with three markets in which nobody trades by himself, and the callers that a test makes."""

    def __init__(self, directory: Any, scenario: dict[str, Any] | None = None) -> None:
        self.clock = Clock()
        self.exchange = Exchange(
            directory,
            Scenario.model_validate(scenario or SCENARIO),
            1,
            self.clock,
            lambda: self.clock.now_ms * 1000,
        )
        self.venue = self.exchange.venue
        self.deleted_keys: list[str] = []
        self._router = Router((route.method, route.path, route) for route in rest.ROUTES)
        self._ids = itertools.count(1)
        self.me = self.caller("me")

    def close(self) -> None:
        """Let go of the state directory."""
        self.exchange.close()

    def caller(self, name: str, dollars: int = 1_000, tier: str = "basic", subaccounts: int = 0) -> Caller:
        """Open an account and return who signs for it."""
        store = self.exchange.store
        self.exchange.commit()
        row, key_id, _ = create_account(
            store, name, dollars * DOLLAR, "ed25519", self.clock(), tier=tier, subaccounts=subaccounts
        )
        key = self.exchange.key(key_id)
        assert key is not None
        return Caller(key, row.name)

    def key(self, caller: Caller, *scopes: str, subaccount: int | None = None) -> Caller:
        """Make another key for a caller's account."""
        body = {"name": "another", "key_type": "ed25519", "subaccount": subaccount}
        if scopes:
            body["scopes"] = list(scopes)
        _, made = self.call("POST", "/api_keys/generate", body, caller=caller)
        key = self.exchange.key(made["api_key_id"])
        assert key is not None
        return Caller(key, caller.account)

    def switch(self, **values: Any) -> None:
        """Turn switches."""
        self.venue.switches = msgspec.structs.replace(self.venue.switches, **values)

    def wait(self, milliseconds: int) -> None:
        """Let time pass, and the exchange notice."""
        self.clock.now_ms += milliseconds
        self.venue.tick()
        self.exchange.commit()

    # ------------------------------------------------------------------ calls

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        caller: Caller | None = None,
        pays: bool = False,
        **query: Any,
    ) -> Reply:
        """Carry out a call of `me`, or of another caller, and return status and decoded body. Raises Refused."""
        found = self._router.find(method, path)
        if found is None:
            raise Refused(404, "not_found", "no such call")
        route, match = found
        sender = caller or self.me
        scope = route.scope_of(self.exchange)
        if scope is not None:
            require_scope(sender, scope)
        raw = body if isinstance(body, bytes) else b"" if body is None else encode(body)
        parameters: MultiDict[str] = MultiDict()
        for name, value in query.items():
            for item in value if isinstance(value, list) else [value]:
                parameters.add(name, str(item))
        request = Request(
            self.exchange,
            sender if scope is not None else None,
            parameters,
            match,
            raw,
            self.deleted_keys.append,
        )
        if pays:
            self._take(sender, route, request)
        reply = route.handle(request)
        if inspect.isawaitable(reply):
            reply = asyncio.run(_waited(reply))
        self.exchange.commit()
        status, content = reply
        return status, None if content is None else msgspec.json.decode(encode(content))

    def _take(self, sender: Caller, route: Any, request: Request) -> None:
        buckets = self.exchange.buckets(sender.account_id)
        cost = route.cost if isinstance(route.cost, int) else route.cost(request)
        if not (buckets.write if route.write else buckets.read).try_take(cost):
            raise Refused(429, "too many requests", shape="text")

    def get(self, path: str, **query: Any) -> Any:
        """Return the body of a GET that succeeds."""
        status, body = self.call("GET", path, **query)
        assert status == 200
        return body

    def refused(self, method: str, path: str, body: Any = None, **query: Any) -> Refused:
        """Return the refusal of a call that must be refused."""
        try:
            reply = self.call(method, path, body, **query)
        except Refused as refusal:
            return refusal
        raise AssertionError(f"{method} {path} was not refused: {reply}")

    # ------------------------------------------------------------------ orders

    def body(self, **fields: Any) -> dict[str, Any]:
        """Return the body of an order: a bid for one contract of M1 at 0.40 that rests, unless told otherwise."""
        return {
            "ticker": "M1",
            "side": "bid",
            "count": "1.00",
            "price": "0.4000",
            "time_in_force": "good_till_canceled",
            "self_trade_prevention_type": "taker_at_cross",
            "client_order_id": f"c-{next(self._ids)}",
        } | fields

    def order(self, *, caller: Caller | None = None, **fields: Any) -> dict[str, Any]:
        """Send an order that is accepted and return the reply."""
        status, made = self.call("POST", ORDERS, self.body(**fields), caller=caller)
        assert status == 201
        return made


async def _waited(reply: Any) -> Any:
    return await reply


__all__ = ["DOLLAR", "ORDERS", "START_MS", "RestWorld", "Switches"]
