"""What every REST call shares: the request, its checked parameters, bodies and pages (section 3)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from soloist_exchange.auth import Caller, require_subaccount
from soloist_exchange.errors import Refused
from soloist_exchange.exchange import Exchange
from soloist_exchange.store import Range

__all__ = [
    "SUBACCOUNTS",
    "Reply",
    "Request",
    "Route",
    "decode",
    "encode",
    "invalid",
    "not_found",
    "number",
    "page",
]

LARGEST_PAGE = 1000
PAGE = 100
SUBACCOUNTS = 64
LONGEST_NUMBER = 18  # digits: what SQLite and RFC 3339 can take, and no text that is slow to read

LATEST_MS = 10**15

Body = TypeVar("Body", bound=msgspec.Struct)
Reply = tuple[int, Any]


def number(text: str) -> int | None:
    """Return a text of decimal digits as an integer, None for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= LONGEST_NUMBER else None


def invalid(what: str) -> Refused:
    """Return the refusal of a query parameter."""
    return Refused(400, "bad_request", f"Parameter validation failed: {what}", shape="parameter")


def not_found() -> Refused:
    """Return the one 404 for everything that is not there, or not the caller's."""
    return Refused(404, "not_found", "not found")


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose sender is known (None on public calls)."""

    exchange: Exchange
    caller: Caller | None
    query: Mapping[str, str]
    match: Mapping[str, str]
    body: bytes
    on_key_deleted: Callable[[str], None]

    @property
    def sender(self) -> Caller:
        """The caller of a call that needs one."""
        assert self.caller is not None
        return self.caller

    def integer(self, name: str) -> int | None:
        """Return a query parameter as an integer. Raises Refused with the parameter shape."""
        text = self.query.get(name)
        if text is None:
            return None
        value = number(text)
        if value is None:
            raise invalid(f"{name} is no number")
        return value

    def choice(self, name: str, choices: frozenset[str]) -> str:
        """Return a query parameter that is one of a few words, "" when it is absent."""
        text = self.query.get(name, "")
        if text and text not in choices:
            raise invalid(f"{name} must be one of {', '.join(sorted(choices))}")
        return text

    def subaccount(self, default: int | None) -> int | None:
        """Return the subaccount asked for (section 7: what an omitted one means depends on the call)."""
        value = self.integer("subaccount")
        if value is None:
            value = default
        if value is not None and value >= SUBACCOUNTS:
            raise invalid(f"subaccount must be below {SUBACCOUNTS}")
        require_subaccount(self.sender, value)
        return value

    def limit(self) -> int:
        """Return the page size: 100 unless told, at most 1000, not clamped (section 3.4)."""
        limit = self.integer("limit") or PAGE
        if limit > LARGEST_PAGE:
            raise invalid(f"limit above {LARGEST_PAGE}")
        return limit

    def cursor(self) -> int | None:
        """Return the number that the page's cursor holds; a garbage cursor is page one, as on the wire."""
        return number(self.query.get("cursor", ""))

    def range(self, *, status: str = "") -> Range:
        """Return which rows of the caller's history are wanted: one more than the page, to know whether it is the last."""
        earliest, latest = self.integer("min_ts"), self.integer("max_ts")
        return Range(
            limit=self.limit() + 1,
            before=self.cursor(),
            subaccount=self.subaccount(None),
            ticker=self.query.get("ticker", ""),
            order_id=self.query.get("order_id", ""),
            status=status,
            from_ms=None if earliest is None else _milliseconds(earliest),
            to_ms=None if latest is None else _milliseconds(latest) + 999,
        )


@dataclass(frozen=True, slots=True)
class Route:
    """One call. `scope` None = public; `write` takes from the write bucket."""

    method: str
    path: str
    handle: Callable[[Request], Reply]
    scope: str | None = "read"
    write: bool = False


def encode(value: Any) -> bytes:
    """Return a reply's body."""
    return msgspec.json.encode(value)


def page(name: str, rows: Sequence[msgspec.Struct], cursor: int | None, **others: object) -> Reply:
    """Return one page. The last one's cursor is there and empty, as on the wire; structs would leave a default out."""
    return 200, {name: rows, **others, "cursor": "" if cursor is None else str(cursor)}


def decode(body: bytes, kind: type[Body]) -> Body:
    """Read a request body; a number where a text belongs is refused, as on the wire (section 5)."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise Refused(
            400, "bad_request", "bad request", f"json: cannot unmarshal: {error}", shape="flat"
        ) from None


def _milliseconds(seconds: int) -> int:
    return min(seconds * 1000, LATEST_MS)
