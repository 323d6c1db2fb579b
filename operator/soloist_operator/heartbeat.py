"""What engines say about themselves through their Leases, and how long ago by our own clock.

The engine's `renewTime` is never compared with our time: only that it changed counts, and when we saw that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from soloist_operator.objects import Object, annotation, dig
from soloist_operator.queue import Key
from soloist_operator.sightings import SILENT_AFTER_S
from soloist_operator.specs.engine import (
    ANNOTATION_ADMITTED,
    ANNOTATION_ENGINE,
    ANNOTATION_EPOCH,
    ANNOTATION_STATE,
)

__all__ = ["SILENT_AFTER_S", "EngineRecord", "Heartbeat", "Heartbeats", "engine_record", "lasting"]

CROWD_MEMORY_S = 600.0
"""A bot that has been silent for longer is broken in its own way, and no witness against the API server."""


@dataclass(frozen=True)
class EngineRecord:
    """The engine's own account of itself (docs/interfaces.md "Lease")."""

    pod_uid: str
    epoch: int
    incarnation: str
    key_id: str
    generation: int
    state: str
    ready: bool
    reason: str
    message: str
    safety: Object | None = None
    """What a start without a journal may believe (docs/interfaces.md "Lease"); only a Live engine has one."""
    foreign_orders: int = 0
    """Orders of somebody else in our subaccount, by the watchdog's audits; 0 without a watchdog, or while it is silent."""
    other_epoch_orders: int = 0
    """Orders of our claim in another epoch than the engine's, by the same."""


@dataclass(frozen=True)
class Heartbeat:
    """What a decision may know: the last record, and whether it is still being renewed."""

    record: EngineRecord | None = None
    silent: bool = True
    silent_s: float | None = None
    """Since its last renewal, by our clock; None before the first."""


@dataclass
class _Beat:
    renewed_at: str
    seen_at_s: float
    record: EngineRecord | None
    told: tuple[str | None, ...]
    """What the operator tells the engine: if somebody else edits that, it is put back."""
    told_silent: bool = False
    node: str | None = None
    """Where its pod is, so that a silent node wakes its bots."""


def engine_record(lease: Object) -> EngineRecord | None:
    """Parse the engine's annotation; None when it is missing or not what was agreed."""
    text = annotation(lease, ANNOTATION_ENGINE)
    if text is None:
        return None
    try:
        document = json.loads(text)
        found = document.get("watchdog") if isinstance(document.get("watchdog"), dict) else {}
        return EngineRecord(
            pod_uid=str(document["podUid"]),
            epoch=int(document.get("epoch") or 0),
            incarnation=str(document["incarnation"]),
            key_id=str(document.get("keyId") or ""),
            generation=int(document.get("generation") or 0),
            state=str(document["state"]),
            ready=document["ready"] is True,
            reason=str(document.get("reason") or ""),
            message=str(document.get("message") or ""),
            safety=document.get("safety") if isinstance(document.get("safety"), dict) else None,
            foreign_orders=int(found.get("foreign") or 0),
            other_epoch_orders=int(found.get("otherEpoch") or 0),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # an engine that writes nonsense is as good as mute


class Heartbeats:
    """The table of all engines; fed by Lease events and by every read of a Lease. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._beats: dict[Key, _Beat] = {}

    def note(self, key: Key, lease: Object, now_s: float) -> bool:
        """Remember a sighting. True when something changed that a bot's status shows: then its key is due."""
        renewed_at = f"{dig(lease, 'spec', 'holderIdentity')} {dig(lease, 'spec', 'renewTime')}"
        record = engine_record(lease)
        told = tuple(
            annotation(lease, name) for name in (ANNOTATION_EPOCH, ANNOTATION_STATE, ANNOTATION_ADMITTED)
        )
        known = self._beats.get(key)
        if known is None:
            self._beats[key] = _Beat(renewed_at, now_s, record, told)
            return True
        admitted = annotation(lease, ANNOTATION_ADMITTED)
        if record is not None and admitted and record.pod_uid != admitted:
            # A thawed engine of an earlier pod writes into the same Lease: that is no sign of life of the admitted one.
            changed, known.told = told != known.told, told
            return changed
        changed = _shown(known.record) != _shown(record) or told != known.told
        if renewed_at != known.renewed_at:
            changed = changed or known.told_silent
            known.renewed_at, known.seen_at_s, known.told_silent = renewed_at, now_s, False
        known.record, known.told = record, told
        return changed

    def view(self, key: Key, now_s: float) -> Heartbeat:
        """What is known about an engine now."""
        known = self._beats.get(key)
        if known is None or known.record is None:
            return Heartbeat()
        silent_s = now_s - known.seen_at_s
        return Heartbeat(known.record, silent=silent_s >= SILENT_AFTER_S, silent_s=silent_s)

    def newly_silent(self, now_s: float) -> Iterator[Key]:
        """Engines that fell silent since the last call; each is told once."""
        for key, known in self._beats.items():
            if known.record is None or known.told_silent or now_s - known.seen_at_s < SILENT_AFTER_S:
                continue
            known.told_silent = True
            yield key

    def place(self, key: Key, node: str | None) -> None:
        """Remember where a bot's pod is."""
        known = self._beats.get(key)
        if known is not None:
            known.node = node

    def on_nodes(self, nodes: tuple[str, ...]) -> Iterator[Key]:
        """Bots whose pods are on these nodes."""
        return (key for key, known in self._beats.items() if known.node in nodes)

    def crowd(self, now_s: float) -> tuple[int, int]:
        """How many engines were heard within ten minutes, and how many of those are silent."""
        ages_s = [now_s - known.seen_at_s for known in self._beats.values() if known.record is not None]
        recent = [age for age in ages_s if age < CROWD_MEMORY_S]
        return len(recent), sum(age >= SILENT_AFTER_S for age in recent)

    def forget(self, key: Key) -> None:
        """The bot is gone."""
        self._beats.pop(key, None)


def _shown(record: EngineRecord | None) -> tuple[object, ...] | None:
    """The part of a record that decides; a message may change with every renewal, and so may counts."""
    if record is None:
        return None
    shown = (record.pod_uid, record.epoch, record.key_id, record.state, record.ready, record.reason)
    return (*shown, record.foreign_orders > 0, record.other_epoch_orders > 0, lasting(record.safety))


def lasting(safety: Object | None) -> tuple[object, ...]:
    """The part of a safety record that stands until something happens."""
    return tuple(dig(safety, name) for name in ("day", "latches", "groups"))
