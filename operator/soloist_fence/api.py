"""What the operator and the fence tell each other: names, command lines, evidence, and one judgement.

Pure: standard library only, no clock, no randomness, no network. It is the only module of this package that the
operator may import (import contract). The texts are fixed in docs/interfaces.md, the reasons in the design of the
one-holder protocol.

What the fence reads of an AccountClaim (the operator writes it):

    spec.accountIdentity            the text that its name is hashed from; takeover and audit demand that the venue shows exactly
                                    this marker (IdentityAmbiguous otherwise). Absent: not checked
    spec.holder.uid                 owner of the epoch Secret
    status.epoch, nonce, nonces     which attempt may act, and which keys the claim ever issued
    status.phase, since             audit looks only while Active, at orders since then
    status.keyId, secretName        the last Active key
    status.orderGroups              [{"epoch": E, "id": ID}, …]: order groups that engines of this claim reported; a takeover deletes
                                    those of older epochs
    status.acknowledgedKeyIds       [ID, …]: recorded when the attempt was opened; the same as --acknowledged-key-id
    metadata.annotations[soloist.trade/revoke-key-ids]   a person's override: exactly these foreign keys may be deleted
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from soloist_fence.names import (
    FenceInterfaceError,
    KeyName,
    claim_hash,
    claim_name_of,
    epoch_secret_name,
    is_epoch_secret,
    key_identity,
    marker_identity,
    marker_key_name,
    marker_key_nonce,
    marker_of,
    nonce_from,
    order_epoch,
    parse_venue_key_name,
    valid_nonce,
    venue_key_name,
)

__all__ = [
    "ACKNOWLEDGED_KEYS_FIELD",
    "EVIDENCE_LIMIT_BYTES",
    "EVIDENCE_VERSION",
    "KEY_ID_ENTRY",
    "LEAST_SCOPES",
    "MANAGEMENT_KEY_FIELD",
    "MARKER_SCOPES",
    "PRIVATE_KEY_ENTRY",
    "REVOKE_KEY_IDS_ANNOTATION",
    "SHOWN_KEY_IDS",
    "STILL_ACCEPTED",
    "EpochSecret",
    "Evidence",
    "FenceArguments",
    "FenceInterfaceError",
    "IdentifyArguments",
    "KeyName",
    "Outcome",
    "Reason",
    "Slot",
    "VenueKey",
    "Verb",
    "claim_hash",
    "claim_name_of",
    "epoch_secret_name",
    "is_epoch_secret",
    "key_identity",
    "marker_identity",
    "marker_key_name",
    "marker_key_nonce",
    "marker_of",
    "nonce_from",
    "order_epoch",
    "parse_venue_key_name",
    "threatens",
    "trade_capable",
    "valid_nonce",
    "venue_key_name",
]

EVIDENCE_VERSION = 1
EVIDENCE_LIMIT_BYTES = 2048
"""The kubelet keeps 4096 bytes of a termination message per container and 12 KiB per pod; half of one is ours."""

REVOKE_KEY_IDS_ANNOTATION = "soloist.trade/revoke-key-ids"
"""On an AccountClaim, written by a person: the exact ids of foreign keys that the next takeover is to delete, separated by commas."""
STILL_ACCEPTED = "stillAcceptedMs"
"""A count of an evidence: how long the venue went on accepting a deleted key, where that was longer than D_rev."""
SHOWN_KEY_IDS = 5
"""How many key ids an evidence names."""

MANAGEMENT_KEY_FIELD = "spec.account.managementKeySecretRef"
ACKNOWLEDGED_KEYS_FIELD = "spec.account.acknowledgedKeyIds"

KEY_ID_ENTRY = "key-id"
PRIVATE_KEY_ENTRY = "private-key.pem"

_SLOT_ENTRY = re.compile(r"g(?P<generation>[1-9][0-9]{0,17})\.(?P<entry>key-id|private-key\.pem)")


class Verb(enum.StrEnum):
    """What a fence process is asked to do, once."""

    TAKEOVER = "takeover"
    """Make this attempt's epoch the only one whose key the venue accepts, and publish that key."""
    ROTATE = "rotate"
    """Replace the key of the running epoch by a new generation without an outage."""
    RELEASE = "release"
    """Delete every key and epoch Secret of this claim, because the bot is being deleted."""
    IDENTIFY = "identify"
    """Find out which account a key belongs to, by the venue's own word; before there is a claim."""
    AUDIT = "audit"
    """Look whether anybody but the claim's engine could trade or did; with `--reap`, delete stale keys of the claim."""

    @property
    def deadline_s(self) -> int:
        """Seconds after which the fence itself stops touching anything but its own key.

        Rotation has to outlast two propagations of a Secret to a pod (kubelet sync plus cache, up to 90 s each).
        """
        return {
            Verb.TAKEOVER: 120,
            Verb.ROTATE: 900,
            Verb.RELEASE: 120,
            Verb.IDENTIFY: 60,
            Verb.AUDIT: 120,
        }[self]

    @property
    def active_deadline_s(self) -> int:
        """`activeDeadlineSeconds` of the Job: later than the fence's own deadline, so that its evidence is written."""
        return self.deadline_s + 60


class Outcome(enum.StrEnum):
    """How a fence process ended."""

    PUBLISHED = "Published"
    """The takeover finished: the Secret named in the evidence holds the only accepted key."""
    RELEASED = "Released"
    """No key of the claim is accepted any more."""
    ROTATED = "Rotated"
    """The engine uses the new key, the old one gets 401."""
    SKIPPED = "Skipped"
    """Nothing was changed, for the reason given (no running engine, for example)."""
    IDENTIFIED = "Identified"
    """`accountIdentity` names the account; reason IdentityByKeyOnly when only the key itself could be named."""
    CLEAN = "Clean"
    """The audit found nothing, or reaped all that it found."""
    FOUND = "Found"
    """The audit found what its reason, counts and key ids say."""
    FAILED = "Failed"
    """The attempt is over; its own key is deleted unless the message says otherwise. An audit could not look."""

    @property
    def exit_code(self) -> int:
        """0 for every good end, 3 when an audit found something, 1 when it failed or could not look."""
        return {Outcome.FAILED: 1, Outcome.FOUND: 3}.get(self, 0)


class Reason(enum.StrEnum):
    """Why, in one CamelCase word; the message of the evidence adds what, where and what to do next."""

    DONE = "Done"
    """The verb did what it says."""
    MANAGEMENT_KEY_MISSING = "ManagementKeyMissing"
    """The Secret with the management key, or one of its two entries, does not exist."""
    MANAGEMENT_KEY_INVALID = "ManagementKeyInvalid"
    """An entry exists and cannot be read as a key id or as a PEM private key."""
    MANAGEMENT_KEY_REJECTED = "ManagementKeyRejected"
    """The venue answered 401 or 403 to the management key."""
    VENUE_UNREACHABLE = "VenueUnreachable"
    """The venue did not answer, or not in a way that proves anything."""
    CONFLICT = "Conflict"
    """A trade-capable key of another claim, cluster or person reaches this subaccount."""
    UNKNOWN_HISTORY = "UnknownHistory"
    """A key of this claim carries a nonce that the claim never issued: restored backup or cloned cluster."""
    HIGHER_EPOCH = "HigherEpoch"
    """A key or an order of this claim carries an epoch at or above this attempt's; `counts.highestEpoch` says which."""
    CLAIM_MOVED = "ClaimMoved"
    """The claim no longer names this attempt, so this attempt must not touch anything."""
    DEADLINE_PASSED = "DeadlinePassed"
    """The attempt's own deadline passed before it could finish; start a new one."""
    SECRET_EXISTS = "SecretExists"  # noqa: S105 - a word of the protocol, not a password
    """The epoch Secret is already there: a name must never come back."""
    SECRET_MOVED = "SecretMoved"  # noqa: S105 - as above
    """The epoch Secret changed or vanished during the rotation: another rotation or a takeover went first."""
    CLUSTER_UNREACHABLE = "ClusterUnreachable"
    """The Kubernetes API did not answer or refused the request."""
    NOT_CONFIRMED = "NotConfirmed"
    """The engine, or the venue, did not confirm by the deadline what has to be confirmed before going on."""
    NO_RUNNING_ENGINE = "NoRunningEngine"
    """No admitted engine renews the Lease, so nobody could confirm a new key."""
    IDENTITY_AMBIGUOUS = "IdentityAmbiguous"
    """The venue shows another marker than the one that names the account, two of them, or none. Arm nothing new."""
    IDENTITY_BY_KEY_ONLY = "IdentityByKeyOnly"
    """A Static key may not list or make keys: the account is named by that key, and an alias of it is not noticed."""
    STALE_KEYS = "StaleKeys"
    """The audit found keys of older epochs of this claim: `audit --reap` deletes them."""
    FOREIGN_ORDERS = "ForeignOrders"
    """The audit found orders of the running epoch's time that the claim's engine of this epoch did not send."""
    INTERNAL = "Internal"
    """A defect of the fence; the log of the Job's pod has the traceback."""


# --------------------------------------------------------------------------------------------------- keys


@dataclass(frozen=True)
class VenueKey:
    """One row of the venue's key list. `subaccount` None means every subaccount; empty `scopes` mean read and write."""

    key_id: str
    name: str
    scopes: frozenset[str]
    subaccount: int | None = None


MARKER_SCOPES = ("read::portfolio_balance",)
"""The smallest scope there is: a marker is looked at, never used."""

LEAST_SCOPES = ("read", "write::trade")
"""What an engine needs: reads, and orders. The key is bound to the bot's subaccount besides."""

_WRITES_THAT_PLACE_NO_ORDER = frozenset({"write::transfer", "write::fcm_risk"})


def trade_capable(scopes: Iterable[str]) -> bool:
    """Whether a key with these scopes can place an order. A scope nobody told us about counts as trade-capable."""
    known = frozenset(scopes)
    if not known:
        return True  # the venue's default is read and write
    return any(
        not (scope == "read" or scope.startswith("read::") or scope in _WRITES_THAT_PLACE_NO_ORDER)
        for scope in known
    )


def threatens(
    key: VenueKey,
    *,
    subaccount: int | None,
    authenticating_key_id: str,
    acknowledged_key_ids: Iterable[str] = (),
) -> bool:
    """Whether a key could trade the account of a claim behind our back: the one judgement used everywhere.

    True when its scope is trade-capable **and** its subaccount overlaps **and** nobody vouched for it: neither is it the
    key that made this listing, nor one that the user acknowledged. `subaccount` None asks for the whole account.
    """
    overlaps = key.subaccount is None or subaccount is None or key.subaccount == subaccount
    vouched_for = key.key_id == authenticating_key_id or key.key_id in frozenset(acknowledged_key_ids)
    return trade_capable(key.scopes) and overlaps and not vouched_for


# --------------------------------------------------------------------------------------------------- Secrets


@dataclass(frozen=True)
class Slot:
    """One key inside an epoch Secret. The private key never appears in a repr."""

    generation: int
    key_id: str
    private_key_pem: str = dataclasses.field(repr=False)

    def data(self) -> dict[str, str]:
        """The entries of this slot, as plain text."""
        return {
            f"g{self.generation}.{KEY_ID_ENTRY}": self.key_id,
            f"g{self.generation}.{PRIVATE_KEY_ENTRY}": self.private_key_pem,
        }


@dataclass(frozen=True)
class EpochSecret:
    """Content of an epoch Secret: one slot, or two while a rotation is under way, oldest first."""

    epoch: int
    generation: int
    slots: tuple[Slot, ...]

    def data(self) -> dict[str, str]:
        """The Secret's entries, as plain text (`stringData`)."""
        entries = {"epoch": str(self.epoch), "generation": str(self.generation)}
        for slot in self.slots:
            entries |= slot.data()
        return entries

    @staticmethod
    def parse(entries: Mapping[str, str]) -> EpochSecret:
        """Read the entries of an epoch Secret (from a mounted directory, for example).

        Raises FenceInterfaceError when an entry is missing or half a slot is there.
        """
        numbers = {}
        for name in ("epoch", "generation"):
            text = entries.get(name, "").strip()
            if not text.isdecimal():
                raise FenceInterfaceError(
                    f"entry {name!r} of the epoch Secret is {text!r}: expected a decimal number"
                )
            numbers[name] = int(text)
        halves: dict[int, dict[str, str]] = {}
        for name, text in entries.items():
            match = _SLOT_ENTRY.fullmatch(name)
            if match is not None:
                halves.setdefault(int(match["generation"]), {})[match["entry"]] = text
        slots = []
        for generation, half in sorted(halves.items()):
            if set(half) != {KEY_ID_ENTRY, PRIVATE_KEY_ENTRY}:
                raise FenceInterfaceError(
                    f"slot g{generation} of the epoch Secret is incomplete: it has only {sorted(half)}"
                )
            slots.append(Slot(generation, half[KEY_ID_ENTRY].strip(), half[PRIVATE_KEY_ENTRY]))
        return EpochSecret(numbers["epoch"], numbers["generation"], tuple(slots))


# --------------------------------------------------------------------------------------------------- command line


@dataclass(frozen=True)
class FenceArguments:
    """The command line of takeover, rotate, release and audit; the operator writes it, `soloist-fence` reads it.

    `secret_name` is the epoch Secret: made by a takeover, changed by a rotation. `slots_dir` is where a rotation finds
    that Secret mounted; a takeover may find the last Active epoch's there (an optional volume), to prove that its key ended.
    `revocation_bound_ms` is the venue profile's D_rev. `key_type` is `ed25519` or `rsa`.
    """

    claim: str
    bot: str
    """`namespace/name` of the TradingBot."""
    epoch: int
    nonce: str
    cluster_id: str
    secret_name: str
    revocation_bound_ms: int
    key_type: str = "ed25519"
    acknowledged_key_ids: tuple[str, ...] = ()
    config: str = "/etc/soloist/config.yaml"
    management_key_dir: str = "/var/run/soloist/management-key"
    slots_dir: str = "/var/run/soloist/secret"
    key_list_lag_ms: int = 0
    """How far the venue's key list may be behind (venue profile): waited between a create and the listing that judges it."""
    reap: bool = False
    """Audit only: delete this claim's keys below the epoch whose nonce is in the claim's history."""
    orders: bool = False
    """Release only: take back the orders of an engine that nobody could prove dead."""

    def to_args(self, verb: Verb) -> list[str]:
        """The arguments after the program's name, ready for a container's `args`."""
        arguments = [
            verb.value,
            f"--claim={self.claim}",
            f"--bot={self.bot}",
            f"--epoch={self.epoch}",
            f"--nonce={self.nonce}",
            f"--cluster-id={self.cluster_id}",
            f"--secret-name={self.secret_name}",
            f"--revocation-bound-ms={self.revocation_bound_ms}",
            f"--key-type={self.key_type}",
            f"--config={self.config}",
            f"--management-key-dir={self.management_key_dir}",
        ]
        if self.key_list_lag_ms:
            arguments.append(f"--key-list-lag-ms={self.key_list_lag_ms}")
        if verb in {Verb.ROTATE, Verb.TAKEOVER, Verb.RELEASE}:
            arguments.append(f"--slots-dir={self.slots_dir}")
        if verb is Verb.AUDIT and self.reap:
            arguments.append("--reap")
        if verb is Verb.RELEASE and self.orders:
            arguments.append("--orders")
        arguments.extend(f"--acknowledged-key-id={key_id}" for key_id in self.acknowledged_key_ids)
        return arguments


@dataclass(frozen=True)
class IdentifyArguments:
    """The command line of `identify`, which runs before there is a claim.

    The evidence carries claim "", epoch 0 and this nonce. `bound` is the `accountIdentity` that claim and TradingBot are
    bound to already: then nothing is made, and anything but exactly that marker is `IdentityAmbiguous`. `static` is for
    accounts whose own trading key is mounted in `management_key_dir`: it may fall back to `IdentityByKeyOnly`. A Managed
    key never does.
    """

    nonce: str
    static: bool = False
    bound: str | None = None
    config: str = "/etc/soloist/config.yaml"
    """Only `venue.rest_url` and `venue.ca_file` of it are read, and `account.subaccount`."""
    management_key_dir: str = "/var/run/soloist/management-key"
    key_list_lag_ms: int = 0

    def to_args(self) -> list[str]:
        """The arguments after the program's name, ready for a container's `args`."""
        arguments = [
            Verb.IDENTIFY.value,
            f"--nonce={self.nonce}",
            f"--config={self.config}",
            f"--management-key-dir={self.management_key_dir}",
        ]
        if self.key_list_lag_ms:
            arguments.append(f"--key-list-lag-ms={self.key_list_lag_ms}")
        if self.static:
            arguments.append("--static")
        if self.bound is not None:
            arguments.append(f"--bound={self.bound}")
        return arguments


# --------------------------------------------------------------------------------------------------- evidence


@dataclass(frozen=True)
class Evidence:
    """What a fence process did and how it ended: its termination message. Counts, not lists; never a secret."""

    claim: str
    epoch: int
    nonce: str
    outcome: Outcome
    reason: Reason
    message: str = ""
    field: str | None = None
    """The field of the TradingBot that a person has to change, if that is the fix."""
    key_id: str | None = None
    secret_name: str | None = None
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    durations_ms: Mapping[str, int] = dataclasses.field(default_factory=dict)
    account_identity: str | None = None
    """Identify: the text that `claim_name_of` hashes. Bind it into the claim's `spec.accountIdentity`."""
    marker_id: str | None = None
    """Identify: the marker's key id, when the account is named by one."""
    key_ids: tuple[str, ...] = ()
    """At most SHOWN_KEY_IDS keys that the reason is about (Conflict, UnknownHistory, StaleKeys)."""
    key_may_exist: bool = True
    """Takeover: False only when no key of this attempt's nonce can exist, so that the nonce need not be remembered."""

    def to_json(self) -> str:
        """One line of JSON below EVIDENCE_LIMIT_BYTES; a message that is too long is cut, nothing else ever is."""
        message = self.message
        text = self._dump(message)
        while message and len(text.encode()) >= EVIDENCE_LIMIT_BYTES:
            message = message[:-16]
            text = self._dump(message + "…")
        assert len(text.encode()) < EVIDENCE_LIMIT_BYTES, "evidence is too large without its message"
        return text

    def _dump(self, message: str) -> str:
        document: dict[str, object] = {
            "version": EVIDENCE_VERSION,
            "claim": self.claim,
            "epoch": self.epoch,
            "nonce": self.nonce,
            "outcome": self.outcome.value,
            "reason": self.reason.value,
            "message": message,
        }
        optional = {
            "field": self.field,
            "keyId": self.key_id,
            "secretName": self.secret_name,
            "accountIdentity": self.account_identity,
            "markerId": self.marker_id,
        }
        document |= {name: value for name, value in optional.items() if value is not None}
        if self.key_ids:
            document["keyIds"] = list(self.key_ids[:SHOWN_KEY_IDS])
        document["keyMayExist"] = self.key_may_exist
        document["counts"] = dict(self.counts)
        document["durationsMs"] = dict(self.durations_ms)
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    @staticmethod
    def parse(text: str) -> Evidence:
        """Read a termination message. Raises FenceInterfaceError when it is no evidence of this version."""
        try:
            document = json.loads(text)
        except ValueError as error:
            raise FenceInterfaceError(f"the termination message is no JSON: {text[:80]!r}") from error
        if not isinstance(document, dict) or document.get("version") != EVIDENCE_VERSION:
            raise FenceInterfaceError(
                f"the termination message is no evidence of version {EVIDENCE_VERSION}: {text[:80]!r}"
            )
        try:
            return Evidence(
                claim=_text(document, "claim"),
                epoch=_number(document, "epoch"),
                nonce=_text(document, "nonce"),
                outcome=Outcome(_text(document, "outcome")),
                reason=Reason(_text(document, "reason")),
                message=_text(document, "message"),
                field=_optional_text(document, "field"),
                key_id=_optional_text(document, "keyId"),
                secret_name=_optional_text(document, "secretName"),
                counts=_numbers(document, "counts"),
                durations_ms=_numbers(document, "durationsMs"),
                account_identity=_optional_text(document, "accountIdentity"),
                marker_id=_optional_text(document, "markerId"),
                key_ids=_texts(document, "keyIds"),
                key_may_exist=document.get("keyMayExist") is not False,
            )
        except (ValueError, KeyError) as error:
            raise FenceInterfaceError(f"the evidence is malformed: {error}") from error


def _text(document: Mapping[str, object], name: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise FenceInterfaceError(f"{name} is no text")
    return value


def _optional_text(document: Mapping[str, object], name: str) -> str | None:
    return _text(document, name) if name in document else None


def _texts(document: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise FenceInterfaceError(f"{name} is no list of texts")
    return tuple(value)


def _number(document: Mapping[str, object], name: str) -> int:
    value = document[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise FenceInterfaceError(f"{name} is no whole number")
    return value


def _numbers(document: Mapping[str, object], name: str) -> dict[str, int]:
    value = document.get(name, {})
    if not isinstance(value, dict):
        raise FenceInterfaceError(f"{name} is no object")
    return {str(key): _number(value, key) for key in value}
