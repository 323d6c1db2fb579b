"""The names by which claims, keys, Secrets and orders are told apart: made and read back, pure.

Part of the interface: `api` hands them on, and everybody outside of this package imports them from there.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_BASE_36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_CLAIM_HASH_LENGTH = 12
_ORDER_HASH_LENGTH = 6
_CLAIM_PREFIX = "claim-"
_MARKER_PREFIX = "soloist-account/"
_MARKER_TIME_LENGTH = 9
_MARKER_NONCE_LENGTH = 20
_NONCE = re.compile(r"[a-z0-9]{6,32}")
_KEY_NAME = re.compile(
    r"soloist/(?P<cluster>[0-9a-zA-Z.-]+)/(?P<claim>claim-[0-9a-z]{12})"
    r"/e(?P<epoch>[1-9][0-9]{0,17})/g(?P<generation>[1-9][0-9]{0,17})/(?P<nonce>[a-z0-9]{6,32})"
)
_ORDER_ID = re.compile(
    r"s(?P<hash>[0-9a-z]{6})-(?P<epoch>[0-9a-z]+)-(?P<incarnation>[0-9a-z]+)-(?P<sequence>[0-9a-z]+)"
)


class FenceInterfaceError(ValueError):
    """A text that should follow docs/interfaces.md does not; the message says which part."""


def valid_nonce(text: str) -> bool:
    """Whether a text can be a nonce (it is part of a Secret's name and of a key's name)."""
    return _NONCE.fullmatch(text) is not None


def _base_36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _BASE_36[digit] + digits
    return digits or "0"


def marker_identity(marker_id: str) -> str:
    """The `accountIdentity` of an account that is named by its marker key."""
    return f"marker:{marker_id}"


def key_identity(key_id: str) -> str:
    """The `accountIdentity` of an account that can only be named by the Static key that trades it."""
    return f"key:{key_id}"


def marker_of(identity: str) -> str | None:
    """The marker's key id in an `accountIdentity`; None when the account is named by a key only."""
    kind, _, key_id = identity.partition(":")
    return key_id if kind == "marker" and key_id else None


def claim_name_of(identity: str, subaccount: int) -> str:
    """Name of the AccountClaim of one account and subaccount; `identity` is the evidence's `accountIdentity`."""
    digest = int.from_bytes(hashlib.sha256(f"{identity}|{subaccount}".encode()).digest(), "big")
    return _CLAIM_PREFIX + _base_36(digest).rjust(50, "0")[-_CLAIM_HASH_LENGTH:]


def claim_hash(claim: str) -> str:
    """The six characters by which order ids name their claim. Raises FenceInterfaceError for another kind of name."""
    suffix = claim.removeprefix(_CLAIM_PREFIX)
    if suffix == claim or len(suffix) != _CLAIM_HASH_LENGTH:
        raise FenceInterfaceError(
            f"{claim!r} is no claim name: expected {_CLAIM_PREFIX}<{_CLAIM_HASH_LENGTH} characters>"
        )
    return suffix[:_ORDER_HASH_LENGTH]


def nonce_from(entropy: bytes) -> str:
    """Text of a takeover attempt's nonce from random bytes (8 bytes give 13 characters)."""
    return _base_36(int.from_bytes(entropy, "big")).rjust(13, "0")[-13:]


def epoch_secret_name(bot: str, epoch: int, nonce: str) -> str:
    """Name of the Secret with the keys of one epoch; the nonce keeps it from ever coming back."""
    return f"{bot}-key-e{epoch}-{nonce}"


def is_epoch_secret(name: str, bot: str) -> bool:
    """Whether a Secret's name is one that `epoch_secret_name` gives for this bot."""
    return re.fullmatch(rf"{re.escape(bot)}-key-e[1-9][0-9]*-[0-9a-z]+", name) is not None


@dataclass(frozen=True)
class KeyName:
    """What the name of one of our keys at the venue says about it."""

    cluster_id: str
    claim: str
    epoch: int
    generation: int
    nonce: str

    def __str__(self) -> str:
        """The name as the venue stores it."""
        return venue_key_name(self.cluster_id, self.claim, self.epoch, self.generation, self.nonce)


def venue_key_name(cluster_id: str, claim: str, epoch: int, generation: int, nonce: str) -> str:
    """Name of a key at the venue: `soloist/<cluster id>/<claim>/e<E>/g<G>/<nonce>`."""
    return f"soloist/{cluster_id}/{claim}/e{epoch}/g{generation}/{nonce}"


def parse_venue_key_name(name: str) -> KeyName | None:
    """Read a key's name; None when it is not one of ours (a person's key, or a look-alike)."""
    match = _KEY_NAME.fullmatch(name)
    if match is None:
        return None
    return KeyName(
        cluster_id=match["cluster"],
        claim=match["claim"],
        epoch=int(match["epoch"]),
        generation=int(match["generation"]),
        nonce=match["nonce"],
    )


def marker_key_name(nonce: str) -> str:
    """Name of the key by which an account is told from every other: `soloist-account/<nonce>`."""
    return f"{_MARKER_PREFIX}{nonce}"


def marker_nonce(made_ms: int, nonce: str) -> str:
    """A nonce for a marker that begins with the time of its making (venue's clock, Unix ms)."""
    return _base_36(made_ms).rjust(_MARKER_TIME_LENGTH, "0") + nonce[:_MARKER_NONCE_LENGTH]


def marker_made_ms(nonce: str) -> int:
    """When a marker says that it was made (Unix ms); any number for one that says nothing of the kind."""
    return int(nonce[:_MARKER_TIME_LENGTH], 36)


def marker_key_nonce(name: str) -> str | None:
    """The nonce in a marker's name; None for every other key."""
    nonce = name.removeprefix(_MARKER_PREFIX)
    return nonce if nonce != name and valid_nonce(nonce) else None


def order_epoch(client_order_id: str, claim: str) -> int | None:
    """The epoch that an order of this claim was sent in; None when the order is not of this claim."""
    match = _ORDER_ID.fullmatch(client_order_id)
    if match is None or match["hash"] != claim_hash(claim):
        return None
    return int(match["epoch"], 36)
