"""What one run of a scenario did, judged by the exchange alone: it knows what was accepted, from which key, and when.

Pure: rows of the exchange's admin API in, figures out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

ORDERS_PATH = "/portfolio/events/orders"
TOMBSTONE_COUNT = 1
"""Hundredths of a contract (soloist_kalshi.tombstones)."""
_RESTS = "good_till_canceled"
ENGINE_AGENT = "soloist"
"""User-Agent of an engine and of its watchdog. The fence, which tries a deleted key to see it refused, has another: it is no zombie."""


@dataclass(frozen=True, order=True)
class Holder:
    """One engine process as the exchange saw it: `first_ms` to `last_ms` are its accepted orders."""

    first_ms: int
    last_ms: int
    epoch: int
    incarnation: str
    key_ids: frozenset[str]
    orders: int


@dataclass(frozen=True)
class Verdict:
    """The figures of one run."""

    double_holders: int
    """Pairs of engines whose accepted orders interleave, and pairs of epochs whose keys were usable at one time."""
    accepted_after_rearm: int
    """Orders accepted with a key after the venue deleted it, which comes before any arming, or after the next engine's first order."""
    zombie_requests_rejected: int
    """Requests of engines and watchdogs with a key after its deletion that the exchange refused."""
    zombie_orders_rejected: int
    """New orders among them."""
    recovery_ms: int | None
    """From the last accepted order of the engine that traded at the fault to the first of the next one; of several subaccounts the
    longest, and None when one of them has none."""
    holders: int
    without_expiry: int = 0
    """Accepted orders that could rest and have no expiry: nothing would end them if every process of ours died."""

    def is_safe(self) -> bool:
        """Whether nobody traded beside or after anybody."""
        return self.double_holders == 0 and self.accepted_after_rearm == 0 and self.without_expiry == 0


def identity(client_order_id: str) -> tuple[int, str]:
    """Epoch and incarnation of `s<claim>-<epoch>-<incarnation>-<sequence>` (docs/interfaces.md)."""
    _, epoch, incarnation, _ = client_order_id.split("-")
    return int(epoch, 36), incarnation


def holders(accepted: Iterable[Row]) -> list[Holder]:
    """Who had orders accepted, by their first one."""
    rows: dict[tuple[int, str], list[Row]] = {}
    for row in accepted:
        rows.setdefault(identity(row["client_order_id"]), []).append(row)
    return sorted(
        Holder(
            min(row["time_ms"] for row in found),
            max(row["time_ms"] for row in found),
            epoch,
            incarnation,
            frozenset(row["key_id"] for row in found),
            len(found),
        )
        for (epoch, incarnation), found in rows.items()
    )


def judge(
    accepted: list[Row],
    keys: list[Row],
    unauthorized: list[Row],
    *,
    fault_ms: int,
    revocation_delay_ms: int = 0,
) -> Verdict:
    """Judge one account. `accepted`, `keys` and `unauthorized` are the exchange's rows.

    What is held is a subaccount: engines are rivals by where their orders were accepted, whatever claim they speak of.
    `revocation_delay_ms` is how long the exchange goes on accepting a deleted key (its switch, not the bound).
    """
    without_expiry = sum(row["time_in_force"] == _RESTS and not row["expiration_ms"] for row in accepted)
    parts = _by_subaccount([row for row in accepted if not _buries(row, _ends(keys))])
    each = [(rows, holders(rows)) for rows in parts]
    recoveries = [_recovery_ms(found, rows, fault_ms) for rows, found in each]
    known = [recovery for recovery in recoveries if recovery is not None]
    return Verdict(
        double_holders=sum(
            _interleaved(found) + _keys_at_one_time(found, keys, revocation_delay_ms) for _, found in each
        ),
        accepted_after_rearm=sum(
            _accepted_late(rows, found, keys, revocation_delay_ms) for rows, found in each
        ),
        zombie_requests_rejected=len(late := _late_requests(keys, unauthorized)),
        zombie_orders_rejected=sum(
            row["method"] == "POST" and row["path"].endswith(ORDERS_PATH) for row in late
        ),
        recovery_ms=max(known) if known and len(known) == len(recoveries) else None,
        holders=sum(len(found) for _, found in each),
        without_expiry=without_expiry,
    )


def _buries(row: Row, ends: Mapping[str, int]) -> bool:
    """A tombstone: the engine of a later epoch uses up an order id of its predecessor, with a key that is valid."""
    return row["count"] == TOMBSTONE_COUNT and row["time_ms"] < ends.get(row["key_id"], row["time_ms"] + 1)


def _by_subaccount(accepted: list[Row]) -> list[list[Row]]:
    parts: dict[int, list[Row]] = {}
    for row in accepted:
        parts.setdefault(row["subaccount"], []).append(row)
    return list(parts.values())


def _interleaved(found: list[Holder]) -> int:
    return sum(
        later.first_ms <= earlier.last_ms
        for place, earlier in enumerate(found)
        for later in found[place + 1 :]
    )


def _keys_at_one_time(found: list[Holder], keys: list[Row], revocation_delay_ms: int) -> int:
    """Pairs of epochs of which the later one traded while the earlier one's key could still be used."""
    ends = {row["key_id"]: row["deleted_ms"] for row in keys}
    pairs = set()
    for later in found:
        for earlier in found:
            if earlier.epoch >= later.epoch:
                continue
            for key_id in earlier.key_ids - later.key_ids:
                end_ms = ends[key_id]
                if end_ms is None or end_ms + revocation_delay_ms > later.first_ms:
                    pairs.add((earlier.epoch, later.epoch))
    return len(pairs)


def _accepted_late(
    accepted: list[Row], found: list[Holder], keys: list[Row], revocation_delay_ms: int
) -> int:
    """Orders with a key that was deleted, orders of an earlier engine after a later one's first, and of an epoch below one already seen."""
    ends = _ends(keys)
    late = 0
    for row in accepted:
        epoch, incarnation = identity(row["client_order_id"])
        mine = next(h for h in found if (h.epoch, h.incarnation) == (epoch, incarnation))
        followed = any(mine.first_ms < h.first_ms <= row["time_ms"] for h in found)
        went_down = any(h.epoch > epoch and h.first_ms <= row["time_ms"] for h in found)
        end_ms = ends.get(row["key_id"])
        revoked = end_ms is not None and row["time_ms"] >= end_ms + revocation_delay_ms
        late += followed or went_down or revoked
    return late


def _ends(keys: list[Row]) -> dict[str, int]:
    return {row["key_id"]: row["deleted_ms"] for row in keys if row["deleted_ms"] is not None}


def _late_requests(keys: list[Row], unauthorized: list[Row]) -> list[Row]:
    ends = _ends(keys)
    return [
        row
        for row in unauthorized
        if row["user_agent"] == ENGINE_AGENT
        and row["key_id"] in ends
        and row["time_ms"] >= ends[row["key_id"]]
    ]


def _recovery_ms(found: list[Holder], accepted: list[Row], fault_ms: int) -> int | None:
    """Last accepted order of the engine at the fault to the next engine's first; None when one of them is missing."""
    before = [row for row in accepted if row["time_ms"] <= fault_ms]
    if not before:
        return None
    incumbent = identity(max(before, key=lambda row: row["time_ms"])["client_order_id"])
    mine = next(h for h in found if (h.epoch, h.incarnation) == incumbent)
    following = [h.first_ms for h in found if h.first_ms > mine.first_ms]
    return min(following) - mine.last_ms if following else None


def time_without_a_key_ms(keys: Iterable[Row], start_ms: int, end_ms: int) -> int:
    """How long inside [start, end] not one of these keys was accepted by the venue."""
    covered_ms, missing = start_ms, 0
    spans = sorted(
        (row["created_ms"], end_ms if row["deleted_ms"] is None else row["deleted_ms"]) for row in keys
    )
    for begins_ms, ends_ms in spans:
        missing += max(0, min(begins_ms, end_ms) - covered_ms)
        covered_ms = max(covered_ms, min(ends_ms, end_ms))
    return missing + max(0, end_ms - covered_ms)
