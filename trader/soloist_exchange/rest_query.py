"""Query parameters, checked as the venue checks them: a bad one is HTTP 400 with the `{"msg": ...}` body (sections 3.1 and 3.4)."""

from soloist_exchange.auth import require_subaccount
from soloist_exchange.errors import Refused
from soloist_exchange.rest_call import OPERATION, SUBACCOUNTS, Request, invalid, number

__all__ = [
    "boolean",
    "choice",
    "cursor",
    "exchange_index",
    "failed",
    "from_ms",
    "integer",
    "limit",
    "permitted",
    "require_unrestricted",
    "required_integer",
    "subaccount",
    "text",
    "texts",
    "to_ms",
]

PAGE = 100
LARGEST_PAGE = 1000
LATEST_MS = 10**15
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def failed(name: str, tag: str) -> Refused:
    """Return the refusal of a parameter that breaks a rule, in the words that the venue's validator was seen to use."""
    field = "".join(part.capitalize() for part in name.split("_"))
    return invalid(
        f"Key: '{OPERATION}Params.{field}' Error:Field validation for '{field}' failed on the '{tag}' tag"
    )


def text(request: Request, name: str) -> str:
    """Return a parameter, "" when it is absent."""
    return request.query.get(name, "")


def texts(request: Request, name: str, *, most: int, repeated: bool = False) -> tuple[str, ...]:
    """Return the parts of a comma-separated parameter, or of one that is given several times (`repeated`)."""
    given = [request.query.get(name, "")]
    if repeated and (all_of := getattr(request.query, "getall", None)) is not None:
        given = all_of(name, [])
    found = tuple(part for item in given for part in item.split(",") if part)
    if len(found) > most:
        raise failed(name, "max")
    return found


def integer(request: Request, name: str, *, least: int = 0, most: int | None = None) -> int | None:
    """Return a parameter as an integer between `least` and `most`."""
    given = request.query.get(name)
    if not given:
        return None
    negative = given.startswith("-")
    value = number(given[1:] if negative else given)
    if value is None:
        raise invalid(f"{name} is not an integer")
    value = -value if negative else value
    if value < least:
        raise failed(name, "gte")
    if most is not None and value > most:
        raise failed(name, "lte")
    return value


def required_integer(request: Request, name: str) -> int:
    """Return a parameter that must be there, as an integer."""
    value = integer(request, name)
    if value is None:
        raise failed(name, "required")
    return value


def choice(request: Request, name: str, choices: frozenset[str]) -> str:
    """Return a parameter that is one of a few words, "" when it is absent."""
    given = request.query.get(name, "")
    if given and given not in choices:
        raise failed(name, "oneof")
    return given


def boolean(request: Request, name: str) -> bool | None:
    """Return a parameter as a truth value, None when it is absent."""
    given = request.query.get(name, "")
    if not given:
        return None
    if given in _TRUE:
        return True
    if given in _FALSE:
        return False
    raise invalid(f"{name} must be true or false")


def limit(request: Request, *, most: int = LARGEST_PAGE, default: int = PAGE) -> int:
    """Return the page size; 0 and nothing are the default, too much is refused and not cut (section 3.4)."""
    return integer(request, "limit", most=most) or default


def cursor(request: Request) -> int | None:
    """Return the number that the page's cursor holds; a garbage cursor is page one, as on the wire."""
    return number(request.query.get("cursor", ""))


def from_ms(request: Request, name: str) -> int | None:
    """Return a Unix second of the query as its first millisecond."""
    seconds = integer(request, name)
    return None if seconds is None else min(seconds * 1000, LATEST_MS)


def to_ms(request: Request, name: str) -> int | None:
    """Return a Unix second of the query as its last millisecond."""
    seconds = integer(request, name)
    return None if seconds is None else min(seconds * 1000, LATEST_MS) + 999


def exchange_index(request: Request, *, least: int = 0) -> int | None:
    """Return the shard asked for; -1, where it is allowed, asks for routing by ticker."""
    return integer(request, "exchange_index", least=least)


def subaccount(request: Request, default: int | None) -> int | None:
    """Return the subaccount asked for. What an omitted one means depends on the call (section 7): `default`, None = all of them.

    A key that is restricted to one subaccount means that one when it names none, and is refused with 403 when it names another.
    """
    return permitted(request, integer(request, "subaccount", most=SUBACCOUNTS - 1), default)


def require_unrestricted(request: Request) -> None:
    """Refuse with 403 a key that is restricted to one subaccount: the call is outside its set (section 2)."""
    require_subaccount(request.sender, None)


def permitted(request: Request, named: int | None, default: int | None) -> int | None:
    """Return the subaccount that a call means by the one it names, or by naming none. Raises Refused (403)."""
    own = request.sender.key.subaccount
    if own is None:
        return default if named is None else named
    if named is not None:
        require_subaccount(request.sender, named)
    return own
