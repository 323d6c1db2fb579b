"""A node is being emptied: does the bot move, and where to? Pure.

The budget stays at zero, so an eviction is never what ends the engine. With policy Handover the operator moves the bot as soon
as another node can take it: the ordinary stop, the proof of death, the next pod elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from soloist_operator.api.tradingbot import DisruptionPolicy, TradingBotSpec, WhenUnreachable
from soloist_operator.conditions import Verdict, yes
from soloist_operator.death import Sight
from soloist_operator.objects import Object, deleting, dig, name_of
from soloist_operator.observe import Observed
from soloist_operator.specs.engine import state_claim

WAITING = "DrainWaiting"
LOOK_S = 15.0
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


@dataclass(frozen=True)
class Move:
    """The bot goes elsewhere now; `fresh`: its volume cannot go with it, so the next engine reads its account from the venue."""

    why: str
    fresh: bool = False


def judge(observed: Observed, spec: TradingBotSpec, silent_nodes: tuple[str, ...]) -> Move | Verdict | None:
    """What a cordoned node means for the bot. A Verdict, of condition Protected, says what a drain waits for."""
    pod, node = observed.pod, observed.node
    if pod is None or deleting(pod) or node.sight is not Sight.PRESENT or node.node is None:
        return None
    if not cordoned(node.node) or spec.disruption.policy is DisruptionPolicy.ALLOW:
        return None
    home = name_of(node.node)
    if spec.disruption.policy is DisruptionPolicy.BLOCK:
        return _waits(
            home, "disruption.policy is Block: set spec.state to Stopped, or the policy to Handover"
        )
    tolerations = [
        t.model_dump(mode="json", by_alias=True, exclude_none=True) for t in spec.tolerations or ()
    ]
    if _tolerated(_UNSCHEDULABLE, tolerations):
        return _waits(home, "the bot tolerates cordoned nodes, so it might come back to this one")
    seen = observed.elsewhere
    if seen is None or seen.why:
        return _waits(
            home, f"could not look where else it might run: {seen.why if seen else 'nobody looked'}"
        )
    able = [
        other
        for other in seen.nodes
        if name_of(other) != home and name_of(other) not in silent_nodes and _takes(other, spec, tolerations)
    ]
    if not able:
        return _waits(
            home, "no other node is Ready, schedulable, and as nodeSelector, affinity and tolerations ask"
        )
    why = f"node {home} is cordoned, so the bot moves"
    bound: Object | None = dig(seen.volume, "spec", "nodeAffinity", "required")
    if bound is None or any(matches(bound, other) for other in able):
        return Move(why)
    if spec.storage.when_unreachable is WhenUnreachable.START_FRESH:
        return Move(f"{why}; volume {state_claim(pod['spec'])} stays", fresh=True)
    return _waits(
        home,
        "the volume is bound to the node, and storage.whenUnreachable is Wait: set spec.state to Stopped",
    )


def _waits(node: str, why: str) -> Verdict:
    return yes(WAITING, f"node {node} is cordoned and the bot stays: {why}")


def cordoned(node: Object) -> bool:
    """Whether nothing new is to be scheduled there by a person's word."""
    return bool(dig(node, "spec", "unschedulable"))


def _takes(node: Object, spec: TradingBotSpec, tolerations: list[Object]) -> bool:
    """Whether the bot may run there. Whether it has room is the scheduler's to say: nobody else counts that well."""
    ready: Object = next((c for c in dig(node, "status", "conditions") or [] if c.get("type") == "Ready"), {})
    if ready.get("status") != "True" or cordoned(node) or deleting(node):
        return False
    taints: Iterable[Object] = dig(node, "spec", "taints") or []
    if any(t.get("effect") in {"NoSchedule", "NoExecute"} and not _tolerated(t, tolerations) for t in taints):
        return False
    labels: Object = dig(node, "metadata", "labels") or {}
    if any(labels.get(key) != value for key, value in (spec.node_selector or {}).items()):
        return False
    required: Object | None = dig(spec.affinity, "nodeAffinity", _REQUIRED)
    return required is None or matches(required, node)


def _tolerated(taint: Object, tolerations: Iterable[Object]) -> bool:
    return any(
        (not t.get("effect") or t["effect"] == taint.get("effect"))
        and (t.get("key") == taint.get("key") if t.get("key") else t.get("operator") == "Exists")
        and (t.get("operator") == "Exists" or (t.get("value") or "") == (taint.get("value") or ""))
        for t in tolerations
    )


def matches(selector: Object, node: Object) -> bool:
    """A Kubernetes NodeSelector: any one of its terms, and of that term everything."""
    terms: Iterable[Object] = selector.get("nodeSelectorTerms") or []
    return any(_term(term, node) for term in terms)


def _term(term: Object, node: Object) -> bool:
    by_label: list[Object] = term.get("matchExpressions") or []
    by_field: list[Object] = term.get("matchFields") or []
    labels: Object = dig(node, "metadata", "labels") or {}
    fields = {"metadata.name": name_of(node)}
    return bool(by_label or by_field) and all(
        _requirement(wanted, known)
        for part, known in ((by_label, labels), (by_field, fields))
        for wanted in part
    )


def _requirement(wanted: Object, known: Object) -> bool:
    value, values = known.get(wanted["key"]), wanted.get("values") or []
    match wanted["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            try:
                left, right = int(str(value)), int(str(values[0]))
            except (ValueError, IndexError):
                return False
            return left > right if operator == "Gt" else left < right
        case _:
            return False
