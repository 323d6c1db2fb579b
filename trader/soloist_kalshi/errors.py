"""What can go wrong between Soloist and the venue.

    VenueError
    ├── VenueUnreachable          no usable reply: name, connection, TLS, time limit, dropped connection
    │   ├── VenueNotSent          nothing of the request left: no connection, no tokens, no attempts left
    │   └── VenueOutcomeUnknown   a write left, or may have, and no reply came: it happened, or it did not
    ├── VenueProtocolError        a reply or frame that is not the contract; `raw` holds what came
    ├── VenueClockSkew            this machine's clock is too far from the venue's: nothing is signed
    ├── VenueKeyError             a private or public key that cannot be used
    └── VenueRejected             the venue answered and said no: `status`, `code`, `message`, `details`
        ├── VenueUnauthorized     401: key unknown, deleted, wrong signature, stale timestamp
        ├── VenueForbidden        403: scope, tier or subaccount of the key
        ├── VenueNotFound         404
        ├── VenueConflict         409: duplicate client order id, or the venue is paused
        ├── VenueRateLimited      429
        └── VenueUnavailable      5xx: for a write the outcome is unknown

`NumberError` (numbers.py) is the one other error of this package: a ValueError for texts that are no numbers.
"""

import re
from typing import Any

import msgspec

__all__ = [
    "VenueClockSkew",
    "VenueConflict",
    "VenueError",
    "VenueForbidden",
    "VenueKeyError",
    "VenueNotFound",
    "VenueNotSent",
    "VenueOutcomeUnknown",
    "VenueProtocolError",
    "VenueRateLimited",
    "VenueRejected",
    "VenueUnauthorized",
    "VenueUnavailable",
    "VenueUnreachable",
    "parse_error_body",
]

_SHOWN_CHARACTERS = 300
_UNAUTHORIZED = 401
# What to do about a refused key, by the details or the code of the refusal (section 2).
_HINTS = {
    "NOT_FOUND": "this venue does not know the key id; is it a key of another environment, or deleted?",
    "INCORRECT_API_KEY_SIGNATURE": "the private key does not belong to this key id, or the base URL has another path",
    "header_timestamp_expired": "synchronise this machine's clock",
}


class VenueError(Exception):
    """Anything that went wrong between Soloist and the venue."""


class VenueUnreachable(VenueError):  # noqa: N818 - reads as what happened
    """No usable reply arrived; `why` says at which step and what to check."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class VenueNotSent(VenueUnreachable):
    """Nothing of the request left this machine: a write did not happen, and may be sent again."""


class VenueOutcomeUnknown(VenueUnreachable):
    """A write was sent, or may have been, and no reply came. Find out what became of it before anything is sent again."""


class VenueProtocolError(VenueError):
    """A reply or frame that does not follow the contract; `raw` is kept whole for the report."""

    def __init__(self, what: str, raw: bytes) -> None:
        super().__init__(f"{what}; received {raw[:_SHOWN_CHARACTERS]!r}")
        self.what = what
        self.raw = raw


class VenueClockSkew(VenueError):  # noqa: N818 - reads as what happened
    """The local clock differs too much from the venue's; requests would be refused, so none is signed."""

    def __init__(self, skew_ms: int, limit_ms: int) -> None:
        super().__init__(
            f"the local clock is {abs(skew_ms)} ms {'ahead of' if skew_ms > 0 else 'behind'} the venue's, "
            f"the limit is {limit_ms} ms: synchronise this machine's clock; nothing is signed until then"
        )
        self.skew_ms = skew_ms
        self.limit_ms = limit_ms


class VenueKeyError(VenueError):
    """A key that cannot be used; the message names what is wrong and never the key's bytes."""


class VenueRejected(VenueError):  # noqa: N818 - reads as what happened
    """The venue answered and refused. `code` may be dynamic (`user_not_found:_<uuid>`): match on its prefix."""

    def __init__(self, status: int, code: str, message: str, details: str = "") -> None:
        text = f"HTTP {status} {code}: {message}" if message != code else f"HTTP {status} {code}"
        text = f"{text} ({details})" if details else text
        hint = _HINTS.get(details) or _HINTS.get(code)
        super().__init__(f"{text}: {hint}" if hint and status == _UNAUTHORIZED else text)
        self.status = status
        self.code = code
        self.message = message
        self.details = details


class VenueUnauthorized(VenueRejected):
    """401: the key is unknown or deleted, the signature is wrong, or the timestamp is stale."""


class VenueForbidden(VenueRejected):
    """403: the key lacks a scope, the account's tier does not allow it, or the key is bound to a subaccount."""


class VenueNotFound(VenueRejected):
    """404; for an order it means canceled, executed or unknown alike."""


class VenueConflict(VenueRejected):
    """409: the client order id was used before, or the venue is paused."""


class VenueRateLimited(VenueRejected):
    """429: a token bucket is empty."""


class VenueUnavailable(VenueRejected):
    """5xx: the venue or its edge failed; a write may or may not have happened."""


_BY_STATUS: dict[int, type[VenueRejected]] = {
    401: VenueUnauthorized,
    403: VenueForbidden,
    404: VenueNotFound,
    409: VenueConflict,
    429: VenueRateLimited,
}
_SERVER_ERROR = 500


def parse_error_body(status: int, body: bytes) -> VenueRejected:
    """Return the exception for an error reply, whatever of the wire's shapes its body has (section 3.1).

    `{"error": {...}}`, `{"code", "message", "details"}`, `{"msg"}`, `{"error": "text"}`, HTML or plain text, empty.
    The code is "" only when the body carries none. Never raises.
    """
    kind = VenueUnavailable if status >= _SERVER_ERROR else _BY_STATUS.get(status, VenueRejected)
    code, message, details = _fields(body)
    return kind(status, code, message, details)


def _fields(body: bytes) -> tuple[str, str, str]:
    """Return code, message and details of an error body."""
    try:
        decoded: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _not_json(body)
    if not isinstance(decoded, dict):
        return "", _shown(decoded), ""
    error = decoded.get("error")
    if isinstance(error, str):
        return error.strip().replace(" ", "_"), error, ""
    if isinstance(error, dict):
        decoded = error
    elif isinstance(decoded.get("msg"), str):
        return "parameter_validation", decoded["msg"], ""
    code, message, details = (_shown(decoded.get(name, "")) for name in ("code", "message", "details"))
    return code, message or code, details


def _not_json(body: bytes) -> tuple[str, str, str]:
    text = body.decode("utf-8", "replace")
    if "<html" in text.lower() or "<!doctype" in text.lower():
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        shown = title[1].strip() if title else "no title"
        return "html", f"the edge answered an HTML page ({shown[:_SHOWN_CHARACTERS]}): check the base URL", ""
    return ("not_json", text.strip()[:_SHOWN_CHARACTERS], "") if text.strip() else ("empty", "empty body", "")


def _shown(value: Any) -> str:
    """Return a JSON value as short text; error bodies are not under contract."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text[:_SHOWN_CHARACTERS]
