"""The admin API, on loopback: the oracle of tests, the faults and the clock. It has no authentication: who reaches it owns the exchange."""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from soloist_exchange import admin_commands as commands
from soloist_exchange import admin_views as views
from soloist_exchange import switches
from soloist_exchange.control import Control
from soloist_exchange.errors import ExchangeError, Refused
from soloist_exchange.faults import FAULT_KINDS, parse
from soloist_exchange.gateway import Wire
from soloist_exchange.http import Connection, Connections, HttpRequest, Slot
from soloist_exchange.metrics import CONTENT_TYPE
from soloist_exchange.router import Router

__all__ = ["Admin"]

Body = TypeVar("Body")
Content = Any
_HOWS: Final = frozenset({"with_frame", "without_frame"})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """One admin call."""

    query: Mapping[str, str]
    match: Mapping[str, str]
    body: bytes

    def read(self, kind: type[Body]) -> Body:
        """Return the body, an empty one as `{}`. Raises Refused naming the field."""
        try:
            return msgspec.json.decode(self.body or b"{}", type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refused(400, "bad_request", str(error)) from None


Handler = Callable[[Call], Content | Awaitable[Content]]


class Admin:
    """The application of the admin port (see http.Application). A handler returns JSON content; text goes out as it is."""

    def __init__(self, control: Control, server: Wire) -> None:
        self._control = control
        self._server = server
        self._exchange = control.exchange
        self.connections = Connections()
        self._tasks: set[asyncio.Task[None]] = set()
        market, account = "/admin/markets/{ticker}", "/admin/accounts/{account}"
        routes: tuple[tuple[str, str, Handler], ...] = (
            ("GET", "/admin/health", self._health),
            ("GET", "/admin/accepted-orders", self._accepted),
            ("GET", "/admin/events", self._events),
            ("GET", "/admin/accounts", self._accounts),
            ("GET", "/admin/keys", self._keys),
            ("GET", "/admin/books/{ticker}", self._book),
            ("GET", "/admin/conservation", self._conservation),
            ("GET", "/admin/oracle", lambda _: views.oracle(self._exchange, server)),
            ("GET", "/admin/metrics", self._metrics),
            ("GET", "/admin/faults", self._faults),
            ("POST", "/admin/faults", self._set_faults),
            ("PATCH", "/admin/faults", self._add_faults),
            ("DELETE", "/admin/faults", self._remove_faults),
            ("POST", "/admin/disconnect", self._disconnect),
            ("GET", "/admin/switches", self._switches),
            ("PATCH", "/admin/switches", self._set_switches),
            ("POST", "/admin/clock", self._advance),
            ("POST", "/admin/pause", lambda call: commands.pause(self._exchange, call.read(commands.Pause))),
            ("POST", f"{market}/activate", self._on_market(commands.activate)),
            ("POST", f"{market}/deactivate", self._on_market(commands.deactivate)),
            ("POST", f"{market}/close", self._on_market(commands.close)),
            ("POST", f"{market}/settle", self._on_market(commands.settle)),
            ("POST", f"{market}/determine", self._with_market(commands.Determine, commands.determine)),
            (
                "POST",
                f"{market}/price-ranges",
                self._with_market(commands.PriceRanges, commands.price_ranges),
            ),
            ("POST", f"{market}/close-time", self._with_market(commands.CloseTime, commands.close_time)),
            ("POST", f"{account}/tier", self._with_account(commands.Tier, commands.tier)),
            ("POST", f"{account}/deposit", self._with_account(commands.Deposit, commands.deposit)),
        )
        self._router = Router(routes)

    # ---------------------------------------------------------------- http.Application

    def opened(self, connection: Connection) -> None:
        """Note a connection."""
        self.connections.add(connection)

    def lost(self, connection: Connection) -> None:
        """Forget it."""
        self.connections.discard(connection)

    def replied(self, slot: Slot) -> None:
        """Admin calls are not counted."""

    def upgrade(self, request: HttpRequest, slot: Slot) -> None:
        """Answer as if no upgrade had been asked for: there is none here."""
        self.request(request, slot)

    async def stop(self, within_s: float) -> None:
        """End every connection after the replies that are due; then cut off what is left."""
        await self.connections.stop(within_s)

    def request(self, request: HttpRequest, slot: Slot) -> None:
        """Answer one call."""
        found = self._router.find(request.method, request.path)
        if found is None:
            slot.reply(404, _error(f"no call {request.method} {request.path}"))
            return
        handler, match = found
        call = Call(request.query, match, request.body)
        task = asyncio.get_running_loop().create_task(self._answer(handler, call, slot))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, handler: Handler, call: Call, slot: Slot) -> None:
        try:
            content = handler(call)
            if isinstance(content, Awaitable):
                content = await content
        except Refused as refusal:
            slot.reply(refusal.status, _error(refusal.details or refusal.message))
        except (ExchangeError, sqlite3.Error) as error:
            self._exchange.fail(error)
            slot.reply(503, _error(str(error)))
        except Exception as error:
            _log.exception("a bug in the admin API")
            slot.reply(500, _error(f"a bug: {error!r}"))
            raise
        else:
            if isinstance(content, str):
                slot.reply(200, content.encode(), CONTENT_TYPE)
            else:
                slot.reply(200, msgspec.json.encode(content))

    # ---------------------------------------------------------------- the oracle

    def _health(self, _: Call) -> Content:
        return {
            "status": "serving",
            "time_ms": self._exchange.clock_ms(),
            "markets": len(self._exchange.venue.markets),
        }

    def _accepted(self, call: Call) -> Content:
        return {"orders": [item | {"outcome": "accepted"} for item in self._log(call, "accepted")]}

    def _events(self, call: Call) -> Content:
        return {"events": self._log(call, call.query.get("kind", ""))}

    def _log(self, call: Call, kind: str) -> list[dict[str, Any]]:
        self._exchange.commit()
        since = call.query.get("since", "0")
        if not since.isdecimal():
            raise Refused(400, "bad_request", "since is the number of an event")
        return self._exchange.store.events(call.query.get("account", ""), kind, int(since))

    def _accounts(self, call: Call) -> Content:
        name = call.query.get("account", "")
        accounts = (
            [views.account(self._exchange, name)]
            if name
            else [found for found in self._exchange.venue.ledger.accounts.values() if not found.internal]
        )
        return {
            "accounts": [views.account_summary(self._exchange, self._server, found) for found in accounts]
        }

    def _book(self, call: Call) -> Content:
        return views.book(views.market(self._exchange, call.match["ticker"]))

    def _conservation(self, _: Call) -> Content:
        ledger = self._exchange.venue.ledger
        return {"difference": ledger.difference(), "unpaired": ledger.unpaired()}

    def _metrics(self, _: Call) -> Content:
        faults = self._control.faults
        return views.metrics_text(self._exchange, self._server, faults.reports(), faults.totals)

    # ---------------------------------------------------------------- faults and switches

    def _faults(self, _: Call) -> Content:
        return {"faults": self._control.faults.reports(), "kinds": FAULT_KINDS}

    def _set_faults(self, call: Call) -> Content:
        wanted = _known(lambda: parse(call.read(list[Any])))
        self._control.faults.set(wanted)
        return {"faults": wanted}

    def _add_faults(self, call: Call) -> Content:
        wanted = _known(lambda: parse(call.read(list[Any])))
        self._control.faults.add(wanted)
        return {"faults": [report.fault for report in self._control.faults.reports()]}

    def _remove_faults(self, call: Call) -> Content:
        self._control.faults.remove(call.query.get("name", ""))
        return {"faults": [report.fault for report in self._control.faults.reports()]}

    def _disconnect(self, call: Call) -> Content:
        how = call.query.get("how", "with_frame")
        if how not in _HOWS:
            raise Refused(400, "bad_request", f"how is one of {', '.join(sorted(_HOWS))}")
        account = call.query.get("account", "")
        ended = self._server.disconnect(account, "with_frame" if how == "with_frame" else "without_frame")
        return {"disconnected": ended}

    def _switches(self, _: Call) -> Content:
        return msgspec.structs.asdict(self._exchange.venue.switches)

    def _set_switches(self, call: Call) -> Content:
        wanted = call.read(dict[str, bool | int | str])
        assignments = [f"{name}={switches.value_text(value)}" for name, value in wanted.items()]
        venue = self._exchange.venue
        venue.switches = _known(lambda: switches.parse(assignments, venue.switches))
        return msgspec.structs.asdict(venue.switches)

    async def _advance(self, call: Call) -> Content:
        return {"time_ms": await self._control.advance(call.read(commands.Advance).advance_ms)}

    def _keys(self, call: Call) -> Content:
        found = views.account(self._exchange, call.query.get("account", ""))
        return {"keys": [views.key(row) for row in self._exchange.store.all_keys(found.account_id)]}

    # ---------------------------------------------------------------- markets and accounts

    def _on_market(self, act: Callable[[Any, str], Content]) -> Handler:
        return lambda call: act(self._exchange, call.match["ticker"])

    def _with_market(self, kind: type[Body], act: Callable[[Any, str, Body], Content]) -> Handler:
        return lambda call: act(self._exchange, call.match["ticker"], call.read(kind))

    def _with_account(self, kind: type[Body], act: Callable[[Any, Any, Body], Content]) -> Handler:
        return lambda call: act(
            self._exchange, views.account(self._exchange, call.match["account"]), call.read(kind)
        )


def _known(read: Callable[[], Body]) -> Body:
    """Return what was asked for; what the exchange does not know is the caller's mistake here, not its own failure."""
    try:
        return read()
    except Refused:
        raise
    except ExchangeError as error:
        raise Refused(400, "bad_request", str(error)) from None


def _error(text: str) -> bytes:
    return msgspec.json.encode({"error": text})
