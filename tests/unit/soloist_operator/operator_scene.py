"""A made-up cluster for pure decisions: objects as the API server would store them, and plans carried out on them."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

from soloist_fence.api import Verb
from soloist_operator import kinds
from soloist_operator.attempts import AttemptMemory
from soloist_operator.death import NodeSight, Sight
from soloist_operator.decide import decide
from soloist_operator.decommission import decide_deletion
from soloist_operator.heartbeat import EngineRecord, Heartbeat
from soloist_operator.holding import AttemptView, attempt_view
from soloist_operator.observe import Observed, Stray
from soloist_operator.plan import (
    AT_ONCE,
    Apply,
    Create,
    Delete,
    ForceDelete,
    Plan,
    ScaleToZero,
    SetFinalizer,
    SwapClaim,
    Trim,
)
from soloist_operator.relocation import Watch
from soloist_operator.road import Context
from soloist_operator.settings import Settings
from soloist_operator.specs.common import BotRef
from soloist_operator.specs.network import Address

NOW = "2026-01-02T03:04:05Z"
LATER = "2026-01-02T03:04:35Z"
EARLIER = "2026-01-02T03:03:05Z"
REF = BotRef("bots", "demo", "uid-of-demo")

SETTINGS = Settings.model_validate(
    {
        "images": {"trader": "registry:5000/trader:1", "fence": "operator:1"},
        "watchNamespaces": ["bots"],
        "venues": {
            "simulator": {
                "restUrl": "https://venue/rest",
                "websocketUrl": "wss://venue/ws",
                "caBundle": "PEM",
                "revocationBoundMs": 1000,
                "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
            }
        },
    }
)

BASE_SPEC: dict[str, Any] = {
    "venue": "simulator",
    "markets": {"tickers": ["SIM-A"]},
    "strategy": {"name": "threshold", "parameters": {"edge": 3}},
    "risk": {
        "maxOrderContracts": "100.00",
        "maxPositionContracts": "500.00",
        "maxExposureDollars": "1000.00",
        "maxOpenOrders": 20,
        "dailyLossDollars": "200.00",
    },
}
MANAGED = {"keyPolicy": "Managed", "managementKeySecretRef": {"name": "management"}}
STATIC = {"keyPolicy": "Static", "keySecretRef": {"name": "mine"}}


def paper(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(BASE_SPEC), **changes}


def live(**changes: Any) -> dict[str, Any]:
    return paper(**{"mode": "Live", "account": copy.deepcopy(MANAGED), **changes})


def pod(**parts: Any) -> dict[str, Any]:
    """A pod that its kubelet has ended in order: every clause of the proof of death holds."""
    ended = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    found: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "demo-0",
            "namespace": "bots",
            "uid": "pod-1",
            "resourceVersion": "5",
            "generation": 2,
            "deletionTimestamp": LATER,
            "finalizers": [kinds.FENCE_FINALIZER],
            "labels": {"controller-revision-hash": "demo-1"},
            "managedFields": [
                {"manager": "kubelet", "subresource": "status", "fieldsV1": {"f:status": {"f:phase": {}}}}
            ],
        },
        "spec": {
            "nodeName": "node-1",
            "initContainers": [{"name": "keys"}, {"name": "watchdog"}],
            "containers": [{"name": "engine", "image": "trader:1"}],
        },
        "status": {
            "phase": "Succeeded",
            "observedGeneration": 2,
            "initContainerStatuses": [{"name": "keys", "state": ended}, {"name": "watchdog", "state": ended}],
            "containerStatuses": [{"name": "engine", "state": ended}],
        },
    }
    return merged(found, parts)


def running_pod(**parts: Any) -> dict[str, Any]:
    found = pod()
    del found["metadata"]["deletionTimestamp"]
    going = {"running": {}}
    found["status"] = {
        "phase": "Running",
        "observedGeneration": 2,
        "initContainerStatuses": [{"name": "keys", "state": {"terminated": {"exitCode": 0}}}, {"name": "watchdog", "state": going}],
        "containerStatuses": [{"name": "engine", "state": going}],
    }  # fmt: skip
    return merged(found, parts)


def node(**parts: Any) -> dict[str, Any]:
    found = {
        "metadata": {"name": "node-1"},
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    return merged(found, parts)


def present(**parts: Any) -> NodeSight:
    return NodeSight(Sight.PRESENT, node(**parts))


def merged(target: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """A merge patch: None removes."""
    found = dict(target)
    for key, value in parts.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = merged(found[key], value)
        else:
            found[key] = value
    return found


def bot(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "demo",
            "namespace": "bots",
            "uid": "uid-of-demo",
            "generation": 1,
            "resourceVersion": "1",
            **metadata,
        },
        "spec": spec,
    }


def record(**changes: Any) -> EngineRecord:
    base = EngineRecord("pod-1", 1, "1f", "key-1", 1, "ACTIVE", ready=True, reason="Ready", message="")
    return dataclasses.replace(base, **changes)


def observed(spec: dict[str, Any], **changes: Any) -> Observed:
    empty = Observed(
        bot=bot(spec),
        ref=REF,
        stateful_set=None,
        volume_claims=(),
        service=None,
        disruption_budget=None,
        network_policy=None,
        lease=None,
        rotation=None,
        config_maps=(),
        jobs=(),
        pods=(),
        pod=None,
        node=NodeSight(Sight.UNASSIGNED),
        claim=None,
        api_server=(Address("10.0.0.1", 6443),),
        cluster_id="cluster-1",
    )
    return dataclasses.replace(empty, **changes)


_FIELD_OF = {
    kinds.STATEFUL_SET: "stateful_set",
    kinds.SERVICE: "service",
    kinds.DISRUPTION_BUDGET: "disruption_budget",
    kinds.NETWORK_POLICY: "network_policy",
    kinds.LEASE: "lease",
}


def _cron_job(body: dict[str, Any]) -> str:
    return "audit" if body["metadata"]["name"].endswith("-audit") else "rotation"


class Stage:
    """A bot whose plans are carried out in memory, with an obedient StatefulSet controller that the test calls."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.seen = observed(spec)
        self.settings = SETTINGS
        self.memory = AttemptMemory()
        self.heartbeat = Heartbeat()
        self.now_s = 0.0
        self.now = NOW
        self.after_restore = False
        self.watch = Watch()
        self.plans: list[Plan] = []
        self.shown_before: list[tuple[dict[str, Any], Plan]] = []
        self._versions = 100

    # ------------------------------------------------------------------------------------------ the loop

    def context(self) -> Context:
        views = {verb: self._view(verb) for verb in (Verb.IDENTIFY, Verb.TAKEOVER, Verb.RELEASE)}
        claim = self.seen.claim
        restored = (
            self.after_restore and claim is not None and not self.memory.renewed(claim["metadata"]["name"])
        )
        return Context(self.settings, self.now, self.heartbeat, views, restored=restored, watch=self.watch)

    def _view(self, verb: Verb) -> AttemptView:
        return attempt_view(self.memory, self.seen, verb, f"nonce{self._versions:08d}", self.now_s)

    def run(self) -> Plan:
        """One run: decide and carry out."""
        leaving = self.seen.bot["metadata"].get("deletionTimestamp")
        plan = (decide_deletion if leaving else decide)(self.seen, self.context())
        for action in plan.actions:
            self._carry_out(action)
        self.shown_before.append((self.seen.bot, plan))
        if plan.status is not None and plan.outcome != AT_ONCE:
            self.change(bot={**self.seen.bot, "status": plan.status})
        self.plans.append(plan)
        return plan

    def settle(self, limit: int = 12) -> Plan:
        """Run until a run writes nothing."""
        for _ in range(limit):
            plan = self.run()
            if not plan.actions:
                return plan
        raise AssertionError(f"still writing after {limit} runs: {plan.actions}")

    def change(self, **changes: Any) -> None:
        self.seen = dataclasses.replace(self.seen, **changes)

    def _stored(self, body: dict[str, Any]) -> dict[str, Any]:
        self._versions += 1
        found = copy.deepcopy(body)
        found["metadata"].setdefault("uid", f"uid-{self._versions}")
        found["metadata"]["resourceVersion"] = str(self._versions)
        return found

    def _carry_out(self, action: Any) -> None:
        match action:
            case Apply(kind, body):
                self._apply(kind, body)
            case Create(_, body, opens):
                self.change(jobs=(*self.seen.jobs, self._stored(body)))
                if opens is not None:
                    self.memory.open(opens, self.now_s)
            case SwapClaim(body):
                self._swap(action, body)
            case ForceDelete(target):
                over = {"deletionTimestamp": EARLIER, "deletionGracePeriodSeconds": 0}
                self.change(pod=merged(target, {"metadata": over}))
            case SetFinalizer():
                self._set_finalizer(action)
            case ScaleToZero(stateful_set):
                self.change(stateful_set=merged(stateful_set, {"spec": {"replicas": 0}}))
            case Delete(kind, target, _, failed):
                self._delete(kind, target)
                if failed is not None:
                    self.memory.close(failed, failed=True, now_s=self.now_s)
            case Trim():
                raise AssertionError("nobody adds to lists on this stage")

    def _apply(self, kind: kinds.Kind, body: dict[str, Any]) -> None:
        stored = self._stored(body)
        if kind == kinds.CONFIG_MAP:
            self.change(config_maps=(*self.seen.config_maps, stored))
            return
        if kind == kinds.VOLUME_CLAIM:
            name = body["metadata"]["name"]
            others = (c for c in self.seen.volume_claims if c["metadata"]["name"] != name)
            self.change(volume_claims=(*others, stored))
            return
        field = _cron_job(body) if kind == kinds.CRON_JOB else _FIELD_OF[kind]
        before = getattr(self.seen, field)
        if before is not None:
            stored["metadata"]["uid"] = before["metadata"]["uid"]
            stored["status"] = before.get("status", {})
        self.change(**{field: stored})

    def _delete(self, kind: kinds.Kind, target: dict[str, Any]) -> None:
        if any(target is stray.pod for stray in self.seen.strays):
            dead = pod(metadata={**target["metadata"], "deletionTimestamp": LATER})
            self.change(strays=(Stray(dead, self.seen.strays[0].node),))
        elif kind == kinds.POD:
            self.change(pod=merged(target, {"metadata": {"deletionTimestamp": LATER}}))
        elif kind == kinds.CRON_JOB:
            self.change(**{_cron_job(target): None})
        elif kind == kinds.JOB:
            self.change(jobs=tuple(job for job in self.seen.jobs if job is not target))
        else:
            self.change(config_maps=tuple(c for c in self.seen.config_maps if c is not target))

    def _swap(self, action: SwapClaim, body: dict[str, Any]) -> None:
        known = self.seen.claim
        if known is not None:
            assert body["metadata"]["resourceVersion"] == known["metadata"]["resourceVersion"]
        self.change(claim=self._stored(body))
        if action.closes is not None:
            self.memory.close(action.closes, failed=action.failed, now_s=self.now_s)
        if action.opens is not None:
            self.memory.open(action.opens, self.now_s)

    def _set_finalizer(self, action: SetFinalizer) -> None:
        if any(action.target is stray.pod for stray in self.seen.strays):
            self.change(strays=())
            return
        field = "bot" if action.kind == kinds.TRADING_BOT else "pod"
        target = getattr(self.seen, field)
        present_now = [f for f in target["metadata"].get("finalizers", []) if f != action.finalizer]
        wanted = [*present_now, action.finalizer] if action.present else present_now
        changed = merged(target, {"metadata": {"finalizers": wanted}})
        gone = not wanted and changed["metadata"].get("deletionTimestamp")
        self.change(**{field: None if gone and field == "pod" else changed})

    # ------------------------------------------------------------------------------------------ the others

    def job(self, part: str) -> dict[str, Any] | None:
        return next((job for job in self.seen.jobs if part in job["metadata"]["name"]), None)

    def end_job(self, part: str, message: str, *, exit_code: int = 0) -> None:
        job = self.job(part)
        assert job is not None, [j["metadata"]["name"] for j in self.seen.jobs]
        container = job["spec"]["template"]["spec"]["containers"][0]["name"]
        made = {
            "metadata": {
                "name": f"{job['metadata']['name']}-x",
                "ownerReferences": [{"controller": True, "uid": job["metadata"]["uid"]}],
            },
            "status": {
                "phase": "Failed" if exit_code else "Succeeded",
                "containerStatuses": [
                    {"name": container, "state": {"terminated": {"exitCode": exit_code, "message": message}}}
                ],
            },
        }
        self.change(pods=(*self.seen.pods, made))

    def evidence(self, outcome: str = "Published", reason: str = "Done", **more: Any) -> str:
        claim = self.seen.claim
        assert claim is not None
        epoch, nonce = claim["status"]["epoch"], claim["status"]["nonce"]
        return json.dumps(
            {
                "version": 1,
                "claim": claim["metadata"]["name"],
                "epoch": epoch,
                "nonce": nonce,
                "outcome": outcome,
                "reason": reason,
                "message": "told",
                "keyId": "key-1",
                "secretName": f"demo-key-e{epoch}-{nonce}",
                "counts": {},
                "durationsMs": {},
                **more,
            }
        )

    def identify(self, identity: str = "marker:m-1", **more: Any) -> None:
        """The venue says which account it is."""
        job = self.job("-identify")
        assert job is not None, [j["metadata"]["name"] for j in self.seen.jobs]
        told = {
            "version": 1,
            "claim": "",
            "epoch": 0,
            "nonce": job["metadata"]["annotations"]["soloist.trade/nonce"],
        }
        told |= {
            "outcome": "Identified",
            "reason": "Done",
            "message": "",
            "accountIdentity": identity,
            **({"markerId": identity.removeprefix("marker:")} if identity.startswith("marker:") else {}),
            **more,
        }
        self.end_job("-identify", json.dumps(told), exit_code=1 if told["outcome"] == "Failed" else 0)

    def identified(self) -> None:
        """Until the account is known and the claim held, with the check still at work."""
        self.settle()
        if self.seen.bot["spec"].get("account"):
            self.identify()
            self.run()
            self.settle()

    def make_pod(self) -> None:
        """The StatefulSet controller sees the StatefulSet and makes its pod."""
        stateful_set = self.seen.stateful_set
        assert stateful_set is not None
        generation = stateful_set["metadata"]["resourceVersion"]
        revision = f"demo-{generation}"
        stateful_set["metadata"]["generation"] = generation
        stateful_set["status"] = {"observedGeneration": generation, "updateRevision": revision, "replicas": 1}
        self._versions += 1
        made = running_pod(
            metadata={"uid": f"pod-{self._versions}", "labels": {"controller-revision-hash": revision}}
        )
        template = stateful_set["spec"]["template"]
        made["metadata"]["annotations"] = template["metadata"]["annotations"]
        made["spec"]["volumes"] = template["spec"]["volumes"]
        self.change(pod=made, node=present())

    def see_stateful_set(self) -> None:
        """The controller looks at a changed StatefulSet without touching the pod (OnDelete)."""
        stateful_set = self.seen.stateful_set
        assert stateful_set is not None
        generation = stateful_set["metadata"]["resourceVersion"]
        stateful_set["metadata"]["generation"] = generation
        replicas = stateful_set["spec"]["replicas"]
        stateful_set["status"] = {
            "observedGeneration": generation,
            "updateRevision": f"demo-{generation}",
            "replicas": replicas,
        }

    def edit(self, spec: dict[str, Any]) -> None:
        generation = self.seen.bot["metadata"]["generation"] + 1
        self.change(bot={**merged(self.seen.bot, {"metadata": {"generation": generation}}), "spec": spec})

    def condition(self, kind: str) -> dict[str, Any]:
        conditions = self.seen.bot["status"]["conditions"]
        return next(c for c in conditions if c["type"] == kind)

    def beat(self, **changes: Any) -> None:
        assert self.seen.pod is not None
        self.heartbeat = Heartbeat(
            record(**{"pod_uid": self.seen.pod["metadata"]["uid"], **changes}), silent=False
        )

    def bring_up(self) -> None:
        """Until the engine trades."""
        self.identified()
        self.end_job("-check-", "")
        self.settle()
        if (
            self.seen.bot["spec"].get("mode") == "Live"
            and "managementKeySecretRef" in self.seen.bot["spec"]["account"]
        ):
            self.end_job("-fence-", self.evidence())
            self.settle()
        if self.seen.claim is not None and self.seen.claim["status"]["phase"] == "Idle":
            self.identify()  # a Static key is looked at again before it is armed
            self.settle()
        self.make_pod()
        self.settle()
        self.beat(epoch=1 if self.seen.claim else 0)
        self.settle()


def writes(plan) -> list[str]:
    """What a plan writes, in order."""
    found = []
    for action in plan.actions:
        match action:
            case Apply(kind, body) | Create(kind, body):
                found.append(f"{type(action).__name__} {kind.kind} {body['metadata']['name']}")
            case SwapClaim(body):
                found.append(f"Swap {body['status']['phase']} {body['status']['epoch']}")
            case SetFinalizer(kind, _, _, there):
                found.append(f"{'Add' if there else 'Remove'} finalizer {kind.kind}")
            case Delete(kind, target):
                found.append(f"Delete {kind.kind} {target['metadata']['name']}")
            case ForceDelete(target):
                found.append(f"ForceDelete Pod {target['metadata']['name']}")
            case ScaleToZero():
                found.append("ScaleToZero")
    return found


def ended(made: dict) -> dict:
    """A pod as its kubelet leaves it."""
    dead = pod(metadata={"uid": made["metadata"]["uid"], "labels": made["metadata"]["labels"]})
    dead["metadata"]["deletionTimestamp"] = made["metadata"].get("deletionTimestamp", LATER)
    dead["metadata"]["annotations"] = made["metadata"].get("annotations", {})
    dead["spec"]["volumes"] = made["spec"].get("volumes", [])
    return dead


def fenced_until_evidence() -> Stage:
    stage = Stage(live())
    stage.identified()
    stage.end_job("-check-", "")
    stage.settle()
    return stage


ROOT = Path(__file__).resolve().parents[3]
