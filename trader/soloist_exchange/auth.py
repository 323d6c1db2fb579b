"""Who sends a request: signature, time, scope and subaccount (section 2)."""

from collections.abc import Mapping
from dataclasses import dataclass

from soloist_kalshi.signing import HEADER_KEY, HEADER_SIGNATURE, HEADER_TIMESTAMP, signed_text

from soloist_exchange.errors import Refused
from soloist_exchange.exchange import Exchange
from soloist_exchange.store import KeyRow

__all__ = ["Caller", "authenticate", "require_scope", "require_subaccount"]

WINDOW_MS = 20_000
LONGEST_TIMESTAMP = 15


@dataclass(frozen=True, slots=True)
class Caller:
    """The key that signed, and the name of its account."""

    key: KeyRow
    account: str

    @property
    def account_id(self) -> int:
        """The account."""
        return self.key.account_id


def authenticate(exchange: Exchange, headers: Mapping[str, str], method: str, path: str) -> Caller:
    """Return who signed the request. Raises Refused with the four bodies of section 2."""
    key_id, timestamp = headers.get(HEADER_KEY, ""), headers.get(HEADER_TIMESTAMP, "")
    signature = headers.get(HEADER_SIGNATURE, "")
    if not signature:
        raise Refused(401, "signature_is_missing_from_headers", "signature is missing from headers")
    key = exchange.key(key_id)
    if key is None:
        raise Refused(401, "authentication_error", details="NOT_FOUND")
    if not _is_time(timestamp) or abs(exchange.clock_ms() - int(timestamp)) > WINDOW_MS:
        raise Refused(401, "header_timestamp_expired", "header timestamp expired")
    if not key.verifier.verify(signed_text(timestamp, method, path), signature):
        raise Refused(401, "authentication_error", details="INCORRECT_API_KEY_SIGNATURE")
    return Caller(key, exchange.account(key.account_id).name)


def _is_time(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= LONGEST_TIMESTAMP


def require_scope(caller: Caller, wanted: str) -> None:
    """Refuse with 403 unless the key has the scope: `write` includes `write::trade`, `read` is its own."""
    parent = wanted.partition("::")[0]
    if not {wanted, parent} & set(caller.key.scopes):
        raise Refused(403, "insufficient_scope", f"this API key does not have the scope {wanted}")


def require_subaccount(caller: Caller, subaccount: int | None) -> None:
    """Refuse with 403 when a key that is restricted to one subaccount reaches for another, or for all."""
    restricted = caller.key.subaccount
    if restricted is not None and subaccount != restricted:
        raise Refused(
            403,
            "subaccount_restricted",
            "this API key is restricted to a single sub-account and cannot access this endpoint",
        )
