"""What every REST call shares: the request, its route, bodies and pages (section 3). Query parameters are checked in `rest_query`."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from soloist_exchange.auth import Caller
from soloist_exchange.errors import Refused
from soloist_exchange.exchange import Exchange

__all__ = [
    "DEFAULT_COST",
    "OPERATION",
    "SUBACCOUNTS",
    "Reply",
    "Request",
    "Route",
    "bad_request",
    "call",
    "decode",
    "encode",
    "invalid",
    "message_of",
    "not_found",
    "number",
    "page",
]

DEFAULT_COST = 10  # tokens (section 4)
SUBACCOUNTS = 64
OPERATION = "{operation}"  # in the text of a refusal: the name that its route has in the specification
LONGEST_NUMBER = 18  # digits: what SQLite and RFC 3339 can take, and no text that is slow to read

Body = TypeVar("Body", bound=msgspec.Struct)
Reply = tuple[int, Any]


def number(text: str) -> int | None:
    """Return a text of decimal digits as an integer, None for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= LONGEST_NUMBER else None


def invalid(what: str) -> Refused:
    """Return the refusal of a query parameter; the route puts its operation's name in front of the text."""
    return Refused(400, "bad_request", what, shape="parameter")


def bad_request(details: str) -> Refused:
    """Return the refusal of a body, in the shape that decoding failures have on the wire (section 3.1)."""
    return Refused(400, "bad_request", "bad request", details, shape="flat")


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


Handle = Callable[[Request], "Reply | Awaitable[Reply]"]


@dataclass(frozen=True, slots=True)
class Route:
    """One call.

    `scope` None = public; what is `write` takes from the Write bucket, everything else from Read (section 4). `cost` is in tokens, and
    a function of the request where a body holds several orders or another bucket pays: called once a request, it may raise Refused
    (429). `listed_cost` is what /account/endpoint_costs says. `handle` returns the reply, or an awaitable of it where a key is made.
    """

    method: str
    path: str
    handle: Handle
    scope: str | None = "read"
    write: bool = False
    cost: int | Callable[[Request], int] = DEFAULT_COST
    is_order_book: bool = False
    listed_cost: int = DEFAULT_COST

    def scope_of(self, exchange: Exchange) -> str | None:
        """Return the scope that the caller's key needs now, None when nobody has to sign."""
        if self.is_order_book and exchange.venue.switches.orderbook_auth == "required":
            return "read"
        return self.scope


def call(
    method: str,
    path: str,
    operation: str,
    handle: Handle,
    *,
    scope: str | None = "read",
    write: bool = False,
    cost: int | Callable[[Request], int] = DEFAULT_COST,
    is_order_book: bool = False,
    listed_cost: int | None = None,
) -> Route:
    """Return the route of a call whose refused query parameters name the operation, as on the wire (section 3.1)."""

    def named(request: Request) -> Reply | Awaitable[Reply]:
        try:
            return handle(request)
        except Refused as refusal:
            raise _worded(refusal, operation) from None

    if listed_cost is None:
        assert isinstance(cost, int), "a cost that depends on the request needs one for the list"
        listed_cost = cost
    return Route(method, path, named, scope, write, cost, is_order_book, listed_cost)


def _worded(refusal: Refused, operation: str) -> Refused:
    """Return a refusal in the words of the wire, which names the operation of what it could not read."""
    if refusal.shape == "parameter":
        what = refusal.message.replace(OPERATION, operation)
        text = f"Parameter validation failed for {operation}: {what}"
        return Refused(refusal.status, refusal.code, text, shape="parameter")
    details = refusal.details.replace(OPERATION, operation)
    return Refused(refusal.status, refusal.code, message_of(refusal), details, refusal.shape)


def message_of(refusal: Refused) -> str:
    """Return the message of a refusal: where none was given it is the code with blanks."""
    return refusal.code.replace("_", " ") if refusal.message == refusal.code else refusal.message


def encode(value: Any) -> bytes:
    """Return a reply's body."""
    return _encoder.encode(value)


def page(
    request: Request, name: str, rows: Sequence[msgspec.Struct], cursor: int | None, **others: object
) -> Reply:
    """Return one page; how the last one says so is the switch `last_cursor` (section 3.4)."""
    content: dict[str, object] = {name: rows, **others}
    if cursor is not None:
        content["cursor"] = str(cursor)
    else:
        end = request.exchange.venue.switches.last_cursor
        if end != "absent":
            content["cursor"] = "" if end == "empty" else None
    return 200, content


def decode(body: bytes, kind: type[Body]) -> Body:
    """Read a request body; a number where a text belongs is refused, as on the wire (section 5)."""
    try:
        decoder: msgspec.json.Decoder[Body] = _decoder(kind)
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(_unreadable(str(error))) from None


def _unreadable(problem: str) -> str:
    """Return the decoder's problem in the words that were recorded for a number where a text belongs."""
    found = _WRONG_TYPE.match(problem)
    if found is None:
        return f"json: cannot unmarshal: {problem}"
    wanted, got, field = found.groups()
    return (
        f"json: cannot unmarshal {_GO_WORDS.get(got, got)} into Go struct field {OPERATION}Request.{field} "
        f"of type {_GO_WORDS.get(wanted, wanted)}"
    )


_WRONG_TYPE = re.compile(r"Expected `(\w+)(?: \| null)?`, got `(\w+)` - at `\$\.([^`]+)`")
# The decoder's names of JSON types, and the ones on the wire; a number is one whatever its digits.
_GO_WORDS = {"str": "string", "int": "number", "float": "number", "array": "array", "object": "object"}


@lru_cache(maxsize=64)
def _decoder(kind: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind)


_encoder = msgspec.json.Encoder()
