"""Is what has our names ours? A stranger's object is never adopted: server-side apply would take it over field by field.

Ours is what this very TradingBot controls, by uid; and what carries our label and was applied by us, if nobody controls it (a
person took the owner off). Retained state volumes are found by their label and belong to the bot's name: they outlive the bot on purpose.
"""

from __future__ import annotations

from soloist_operator import kinds
from soloist_operator.conditions import Verdict, no
from soloist_operator.kinds import FIELD_MANAGER, LABEL_BOT, LABEL_MANAGED_BY, Kind
from soloist_operator.objects import Object, controlled_by, label, name_of
from soloist_operator.observe import Observed
from soloist_operator.specs.common import BotRef

NAME_TAKEN = "NameTaken"


def stateful_set(observed: Observed) -> Verdict | None:
    """Whether somebody else's StatefulSet has the engine's name: then its pods are not ours to guard either."""
    return _judge(observed, kinds.STATEFUL_SET, observed.stateful_set)


def surroundings(observed: Observed) -> Verdict | None:
    """Whether any other child's name is taken; the first that is."""
    children = (
        (kinds.NETWORK_POLICY, observed.network_policy),
        (kinds.SERVICE, observed.service),
        (kinds.DISRUPTION_BUDGET, observed.disruption_budget),
        (kinds.LEASE, observed.lease),
        (kinds.CRON_JOB, observed.rotation),
        (kinds.CRON_JOB, observed.audit),
    )
    for kind, live in children:
        verdict = _judge(observed, kind, live)
        if verdict is not None:
            return verdict
    volume = observed.volume_claim
    if volume is None or _bears_our_label(observed, volume):
        return None
    return _taken(kinds.VOLUME_CLAIM, volume, f"it has not the label {LABEL_BOT}={observed.ref.name}")


def created(ref: BotRef, kind: Kind, live: Object | None) -> Verdict | None:
    """Whether what already has the name of something that we create is somebody else's; nobody applies it."""
    if live is None or controlled_by(live, ref.uid):
        return None
    return _strangers(ref, kind, live)


def _judge(observed: Observed, kind: Kind, live: Object | None) -> Verdict | None:
    if live is None or controlled_by(live, observed.ref.uid):
        return None
    if not _controllers(live) and _made_by_us(observed, live):
        return None
    return _strangers(observed.ref, kind, live)


def _controllers(live: Object) -> list[Object]:
    return [o for o in live["metadata"].get("ownerReferences") or [] if o.get("controller")]


def _strangers(ref: BotRef, kind: Kind, live: Object) -> Verdict:
    owners = _controllers(live)
    if not owners:
        return _taken(kind, live, "nothing controls it")
    owner = owners[0]
    if owner.get("kind") == kinds.TRADING_BOT.kind and owner.get("name") == ref.name:
        return _taken(kind, live, "it belongs to an earlier TradingBot of this name and is being collected")
    return _taken(kind, live, f"{owner.get('kind')} {owner.get('name')} controls it")


def _made_by_us(observed: Observed, live: Object) -> bool:
    managers = live["metadata"].get("managedFields") or []
    applied = any(m.get("manager") == FIELD_MANAGER and m.get("operation") == "Apply" for m in managers)
    return applied and _bears_our_label(observed, live)


def _bears_our_label(observed: Observed, live: Object) -> bool:
    return label(live, LABEL_BOT) == observed.ref.name and label(live, LABEL_MANAGED_BY) == "soloist"


def _taken(kind: Kind, live: Object, why: str) -> Verdict:
    return no(
        NAME_TAKEN,
        f"{kind.kind} {name_of(live)} exists and is not this bot's: {why}. It is left alone, and nothing is started. Remove it, "
        "or give the TradingBot another name",
    )
