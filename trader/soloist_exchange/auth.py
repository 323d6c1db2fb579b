"""Who sends a request: signature, time, scope and subaccount (section 2)."""

import time
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from soloist_kalshi.signing import HEADER_KEY, HEADER_SIGNATURE, HEADER_TIMESTAMP, Verifier, signed_text

from soloist_exchange.errors import Refused
from soloist_exchange.exchange import Exchange
from soloist_exchange.store import KeyRow
from soloist_exchange.switches import Switches

__all__ = [
    "Caller",
    "authenticate",
    "clock_skew",
    "require_scope",
    "require_subaccount",
    "restricted",
    "wall_clock_ms",
]

LONGEST_TIMESTAMP: Final = 15
_KEY, _TIMESTAMP, _SIGNATURE = HEADER_KEY.lower(), HEADER_TIMESTAMP.lower(), HEADER_SIGNATURE.lower()
_SHA256: Final = hashes.SHA256()
_ANY_SALT: Final = padding.PSS(mgf=padding.MGF1(_SHA256), salt_length=padding.PSS.AUTO)


@dataclass(frozen=True, slots=True)
class Caller:
    """The key that signed, and the name of its account."""

    key: KeyRow
    account: str

    @property
    def account_id(self) -> int:
        """The account."""
        return self.key.account_id


def wall_clock_ms() -> int:
    """Return the time that signatures are judged by: a virtual clock moves the venue, not its clients."""
    return time.time_ns() // 1_000_000


def authenticate(
    exchange: Exchange,
    headers: Mapping[str, str],
    method: str,
    path: str,
    now_ms: Callable[[], int] = wall_clock_ms,
) -> Caller:
    """Return who signed the request. Header names are in lower case. Raises Refused with the bodies of section 2."""
    signature = headers.get(_SIGNATURE, "")
    if not signature:
        raise Refused(401, "signature_is_missing_from_headers", "signature is missing from headers")
    key = exchange.key(headers.get(_KEY, ""))
    if key is None:
        raise Refused(401, "authentication_error", details="NOT_FOUND")
    switches, timestamp = exchange.venue.switches, headers.get(_TIMESTAMP, "")
    if not _is_in_window(timestamp, now_ms(), switches):
        raise clock_skew()
    text = signed_text(timestamp, method, path)
    if not key.verifier.verify(text, signature) and not (
        switches.pss_salt == "any" and _verifies_with_any_salt(key.verifier, text, signature)
    ):
        raise Refused(401, "authentication_error", details="INCORRECT_API_KEY_SIGNATURE")
    return Caller(key, exchange.account(key.account_id).name)


def _is_in_window(timestamp: str, now_ms: int, switches: Switches) -> bool:
    if not timestamp.isascii() or not timestamp.isdecimal() or len(timestamp) > LONGEST_TIMESTAMP:
        return False
    return -switches.clock_past_ms <= int(timestamp) - now_ms <= switches.clock_future_ms


def _verifies_with_any_salt(verifier: Verifier, text: bytes, signature: str) -> bool:
    """Whether an RSA signature is right whatever its salt is long (question 2 of section 16)."""
    key = verifier._key  # noqa: SLF001 - the client's verifier is strict on purpose, and only this switch is not
    if not isinstance(key, rsa.RSAPublicKey):
        return False
    try:
        key.verify(b64decode(signature, validate=True), text, _ANY_SALT, _SHA256)
    except (InvalidSignature, Base64Error, ValueError):
        return False
    return True


def clock_skew() -> Refused:
    """Return the refusal of a timestamp that is out of the window."""
    return Refused(401, "header_timestamp_expired", "header timestamp expired")


def restricted() -> Refused:
    """Return the refusal of a key that is bound to one subaccount."""
    return Refused(
        403,
        "subaccount_restricted",
        "this API key is restricted to a single sub-account and cannot access this endpoint",
    )


def require_scope(caller: Caller, wanted: str) -> None:
    """Refuse with 403 unless the key has the scope: `write` includes `write::trade`, `read` is its own."""
    if wanted in caller.key.scopes or wanted.partition("::")[0] in caller.key.scopes:
        return
    raise Refused(403, "insufficient_scope", f"this API key does not have the scope {wanted}")


def require_subaccount(caller: Caller, subaccount: int | None) -> None:
    """Refuse with 403 when a key that is restricted to one subaccount reaches for another, or for all."""
    bound = caller.key.subaccount
    if bound is not None and subaccount != bound:
        raise restricted()
