"""The engine's safety record outside its volume: mirrored from the Lease into the status, given back when the Lease is gone.

Pure. What changes with every renewal (times, the day's profit, the sequence) is mirrored as of the last change of what
matters (latches, order groups, the day), so that a quiet bot is never written.
"""

from __future__ import annotations

import json

from soloist_operator.heartbeat import Heartbeat, engine_record, lasting
from soloist_operator.objects import Object, dig, uid_of
from soloist_operator.observe import Observed


def remembered(observed: Observed, heartbeat: Heartbeat) -> Object | None:
    """`status.safety`: what the admitted engine last said, or what is remembered already. None where nothing was ever said."""
    known: Object | None = dig(observed.bot, "status", "safety")
    record, pod = heartbeat.record, observed.pod
    if record is None or pod is None or record.pod_uid != uid_of(pod) or record.safety is None:
        return known
    if known is not None and known.get("epoch") == record.epoch and lasting(known) == lasting(record.safety):
        return known
    return {"epoch": record.epoch, **record.safety}


def given_back(observed: Observed) -> str | None:
    """The engine's annotation for a Lease that has none (somebody deleted it), until an engine writes its own."""
    known: Object | None = dig(observed.bot, "status", "safety")
    if known is None:
        return None
    live = None if observed.lease is None else engine_record(observed.lease)
    if live is not None and live.pod_uid:
        return None
    record = {name: value for name, value in known.items() if name != "epoch"}
    report = {"podUid": "", "epoch": known.get("epoch", 0), "incarnation": "", "state": "", "ready": False}
    return json.dumps({**report, "safety": record}, separators=(",", ":"), sort_keys=True)
