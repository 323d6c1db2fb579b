"""What the chart's admission policies refuse, and that the same request succeeds where they are switched off.

Two releases of the chart, each with a namespace of its own: one with its policies, one with `admission.enabled: false`. Both hold the same
objects, made by the identities that make them in life. Most requests are dry runs: those pass admission like any other.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from tests.cluster.chart import apply_crds, render
from tests.cluster.identities import MERGE, Caller, administrator
from tests.cluster.operator_bench import NOWHERE, spec
from tests.support import eventually

FENCE, BOT = "soloist.trade/fence", "soloist.trade/bot"
ENGINE = {"soloist.trade/component": "engine", "soloist.trade/bot": "demo"}
POLICIES = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
ROLES = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount"}
TRADE = "/apis/soloist.trade/v1alpha1"
IN_FORCE_S = 30
"""A new policy reaches the API server's own cache within a second or so; a busy machine takes longer."""


# ---------------------------------------------------------------------------------------------- objects


def pod(name: str, *, labels: dict[str, str], finalizers: list[str]) -> dict[str, Any]:
    """A pod that no node takes."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, "finalizers": finalizers},
        "spec": {
            "serviceAccountName": "soloist-engine",
            "automountServiceAccountToken": False,
            "nodeSelector": dict(NOWHERE),
            "containers": [{"name": "engine", "image": "engine:none"}],
        },
    }


def stateful_set(name: str, finalizers: list[str]) -> dict[str, Any]:
    """None of its own pods is among those of the test: its controller would delete them, and their tokens with them."""
    labels = {**ENGINE, "soloist.trade/bot": name}
    template = pod(name, labels=labels, finalizers=finalizers)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 0,
            "serviceName": name,
            "selector": {"matchLabels": labels},
            "template": {"metadata": template["metadata"] | {"name": ""}, "spec": template["spec"]},
        },
    }


def secret(name: str, **metadata: Any) -> dict[str, Any]:
    data = {"generation": "1"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, **metadata},
        "stringData": data,
    }


def lease(name: str, *, labels: dict[str, str], admitted: str = "", **metadata: Any) -> dict[str, Any]:
    annotations = {
        "soloist.trade/admitted-pod-uid": admitted,
        "soloist.trade/epoch": "1",
        "soloist.trade/desired-state": "Running",
    }
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "labels": labels, "annotations": annotations, **metadata},
        "spec": {"holderIdentity": "nobody"},
    }


def claim(name: str, namespace: str | None) -> dict[str, Any]:
    """A claim at epoch 3 that a bot of `namespace` holds."""
    line = {
        "epoch": 3,
        "time": "2026-01-01T00:00:00Z",
        "outcome": "Active",
        "reason": "FirstArm",
        "holder": f"{namespace}/demo",
    }
    body: dict[str, Any] = {
        "apiVersion": "soloist.trade/v1alpha1",
        "kind": "AccountClaim",
        "metadata": {"name": name},
        "spec": {"venue": "simulator", "subaccount": 0, "accountIdentity": f"marker:{name}"},
        "status": {"phase": "Active", "epoch": 3, "since": "2026-01-01T00:00:00Z", "history": [line]},
    }
    if namespace is not None:
        body["spec"]["holder"] = {"namespace": namespace, "name": "demo", "uid": "1"}
    return body


def trading_bot(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "soloist.trade/v1alpha1",
        "kind": "TradingBot",
        "metadata": {"name": name},
        "spec": spec(),
    }


# ---------------------------------------------------------------------------------------------- two releases


@dataclass
class Room:
    """One release: its bot namespace, who acts there, and the names of what is in it."""

    namespace: str
    person: Caller
    operator: Caller
    fence: Caller
    engine: Caller
    """With a token of the pod that the operator admitted."""
    stranger: Caller
    """An engine's token of another pod."""
    podless: Caller
    """An engine's token of no pod."""
    empty: str
    """A bot namespace without TradingBots."""
    claim: str
    free_claim: str
    elsewhere: list[str] = field(default_factory=list)
    """The other release's namespace."""

    def core(self, kind: str, name: str = "") -> str:
        return f"/api/v1/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

    def leases(self, name: str = "") -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases" + (
            f"/{name}" if name else ""
        )

    def sets(self, name: str = "") -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/statefulsets" + (f"/{name}" if name else "")

    def bots(self, name: str = "") -> str:
        return f"{TRADE}/namespaces/{self.namespace}/tradingbots" + (f"/{name}" if name else "")

    def claims(self, name: str = "") -> str:
        return f"{TRADE}/accountclaims" + (f"/{name}" if name else "")


@dataclass(frozen=True)
class Rooms:
    guarded: Room
    open: Room


@pytest.fixture(scope="module")
def rooms(cluster) -> Iterator[Rooms]:
    apply_crds(cluster)
    mark = uuid.uuid4().hex[:6]
    with (
        furnished(cluster, f"guarded-{mark}", enabled=True) as guarded,
        furnished(cluster, f"open-{mark}", enabled=False) as unguarded,
    ):
        guarded.elsewhere.append(unguarded.namespace)
        unguarded.elsewhere.append(guarded.namespace)
        yield Rooms(guarded, unguarded)


@contextmanager
def furnished(cluster: Any, release: str, *, enabled: bool) -> Iterator[Room]:
    """A release's roles and policies, and a bot with everything that belongs to it."""
    namespace, empty = f"test-{release}", f"test-{release}-empty"
    for name in (namespace, empty):
        cluster.kubectl("create", "namespace", name)
    values = {
        "botNamespaces": [{"name": name, "create": False} for name in (namespace, empty)],
        "admission": {"enabled": enabled},
    }
    objects = [
        found
        for found in render(values, release=release, namespace=namespace)
        if found["kind"] in ROLES | POLICIES
        and "helm.sh/hook" not in found["metadata"].get("annotations", {})
    ]
    assert any(found["kind"] in POLICIES for found in objects) is enabled
    outside = [found for found in objects if found["metadata"].get("namespace") not in {namespace, empty}]
    cluster.kubectl("apply", "--validate=strict", "-f", "-", input=yaml.safe_dump_all(objects))
    with administrator(cluster, namespace) as person:
        room = furnish(person, namespace, empty, release)
        try:
            yield room
        finally:
            # The policies first: then everything may go.
            cluster.kubectl("delete", "-f", "-", "--ignore-not-found", input=yaml.safe_dump_all(outside))
            clear(room)
            cluster.kubectl("delete", "namespace", namespace, empty, "--wait=false")


def furnish(person: Caller, namespace: str, empty: str, release: str) -> Room:
    """Every object is made by the identity that makes it in life: so none of them is hindered."""
    suffix = uuid.uuid4().hex[:11]
    operator = person.acting_as(namespace, f"{release}-operator")
    room = Room(
        namespace, person, operator, person.acting_as(namespace, "soloist-fence"), person, person,
        person.acting_as(namespace, "soloist-engine"), empty, f"claim-h{suffix}", f"claim-f{suffix}",
    )  # fmt: skip
    bot = person.do("POST", room.bots(), trading_bot("demo"))
    operator.do(
        "PATCH",
        room.bots("demo"),
        [{"op": "add", "path": "/metadata/finalizers", "value": [BOT]}],
        content_type="application/json-patch+json",
    )
    operator.do("POST", room.sets(), stateful_set("spare", [FENCE]))
    first = person.do("POST", room.core("pods"), pod("demo-0", labels=ENGINE, finalizers=[FENCE]))
    other = person.do("POST", room.core("pods"), pod("other", labels={}, finalizers=[]))
    room.engine = person.acting_as(namespace, "soloist-engine", first)
    room.stranger = person.acting_as(namespace, "soloist-engine", other)
    admitted = first["metadata"]["uid"]
    operator.do("POST", room.leases(), lease("demo-0", labels=ENGINE, admitted=admitted))
    person.do("POST", room.leases(), lease("others", labels={}, admitted=bot["metadata"]["uid"]))
    room.fence.do("POST", room.core("secrets"), secret("demo-key-e3-abc123"))
    person.do("POST", room.core("secrets"), secret("mine"))
    operator.do("POST", room.claims(), claim(room.claim, namespace))
    made = operator.do("POST", room.claims(), claim(room.free_claim, namespace))
    del made["spec"]["holder"]
    operator.do("PUT", room.claims(room.free_claim), made)
    return room


def clear(room: Room) -> None:
    """Take down what a namespace's end would wait for or leave behind."""
    unguarded = {"metadata": {"finalizers": None}}
    for path in (room.core("pods", "demo-0"), room.bots("demo")):
        eventually(
            lambda: room.person.send("PATCH", path, unguarded, content_type=MERGE).is_success,  # noqa: B023
            IN_FORCE_S,
            f"{path} keeps its finalizer although the policies are gone",
        )
    for name in (room.claim, room.free_claim):
        room.person.send("DELETE", room.claims(name))


# ---------------------------------------------------------------------------------------------- refused


@dataclass(frozen=True)
class Request:
    """Who asks for what; every one is a dry run."""

    who: Callable[[Room], Caller]
    method: str
    path: Callable[[Room], str]
    body: Any = None

    def send(self, room: Room) -> tuple[int, str]:
        body = self.body(room) if callable(self.body) else self.body
        content_type = MERGE if self.method == "PATCH" else "application/json"
        reply = self.who(room).send(
            self.method, self.path(room), body, content_type=content_type, dry_run=True
        )
        return reply.status_code, str(reply.json().get("message", ""))


def person(room: Room) -> Caller:
    return room.person


def operator(room: Room) -> Caller:
    return room.operator


def fence(room: Room) -> Caller:
    return room.fence


def engine(room: Room) -> Caller:
    return room.engine


def user(name: str) -> Callable[[Room], Caller]:
    return lambda room: room.person.as_user(name)


def held(room: Room) -> str:
    return room.claims(room.claim)


def free(room: Room) -> str:
    return room.claims(room.free_claim)


def lease_of_demo(room: Room) -> str:
    return room.leases("demo-0")


def epoch_secret(room: Room) -> str:
    return room.core("secrets", "demo-key-e3-abc123")


def annotated(**annotations: str) -> dict[str, Any]:
    return {
        "metadata": {
            "annotations": {f"soloist.trade/{k.replace('_', '-')}": v for k, v in annotations.items()}
        }
    }


NO_FINALIZERS = {"metadata": {"finalizers": None}}
RENEWAL = {**annotated(engine="{}"), "spec": {"holderIdentity": "demo/1"}}
OTHER_DATA = {"stringData": {"generation": "2"}}

REFUSED: dict[str, tuple[Request, list[str]]] = {
    "the fence off a pod": (
        Request(person, "PATCH", lambda r: r.core("pods", "demo-0"), NO_FINALIZERS),
        ["metadata.finalizers: soloist.trade/fence", "operator only", "Delete the pod and wait"],
    ),
    "the fence off a pod through its status": (
        Request(person, "PATCH", lambda r: r.core("pods", "demo-0/status"), NO_FINALIZERS),
        ["metadata.finalizers (through status): soloist.trade/fence"],
    ),
    "the fence off a pod by PodGC": (
        Request(
            user("system:serviceaccount:kube-system:pod-garbage-collector"),
            "PATCH",
            lambda r: r.core("pods", "demo-0/status"),
            NO_FINALIZERS,
        ),
        ["soloist.trade/fence"],
    ),
    "an engine's pod without the fence": (
        Request(person, "POST", lambda r: r.core("pods"), pod("demo-7", labels=ENGINE, finalizers=[])),
        ["metadata.finalizers: soloist.trade/fence is missing", "Add it"],
    ),
    "a StatefulSet of unfenced engines": (
        Request(operator, "POST", lambda r: r.sets(), stateful_set("more", ["example.org/other"])),
        ["spec.template.metadata.finalizers: soloist.trade/fence is missing"],
    ),
    "the fence off a StatefulSet's template": (
        Request(
            person,
            "PATCH",
            lambda r: r.sets("spare"),
            {"spec": {"template": {"metadata": {"finalizers": None}}}},
        ),
        ["spec.template.metadata.finalizers: soloist.trade/fence is missing"],
    ),
    "the finalizer off a TradingBot": (
        Request(person, "PATCH", lambda r: r.bots("demo"), NO_FINALIZERS),
        ["metadata.finalizers: soloist.trade/bot", "soloist.trade/abandon=<reason>"],
    ),
    "a claim's epoch": (
        Request(person, "PATCH", held, {"status": {"epoch": 2}}),
        ["spec and status", "operator only", "Change the TradingBot"],
    ),
    "a claim's holder": (
        Request(person, "PATCH", held, {"spec": {"holder": {"name": "other"}}}),
        ["spec and status", "operator only"],
    ),
    "a claim's holder to another namespace": (
        Request(person, "PATCH", held, {"spec": {"holder": {"namespace": "elsewhere"}}}),
        ["spec and status", "operator only"],
    ),
    "a claim made by hand": (
        Request(person, "POST", lambda r: r.claims(), lambda r: claim("claim-000000000000", r.namespace)),
        ["spec and status", "operator only"],
    ),
    "a claim deleted": (Request(person, "DELETE", held), ["never deleted", "Delete its TradingBot instead"]),
    "a free claim deleted": (Request(person, "DELETE", free), ["never deleted"]),
    "a free claim's epoch": (Request(person, "PATCH", free, {"status": {"epoch": 1}}), ["operator only"]),
    "an epoch Secret made by hand": (
        Request(person, "POST", lambda r: r.core("secrets"), secret("demo-key-e4-abc123")),
        [
            "data: an epoch Secret",
            "made and changed by the fence only",
            "Give a Secret of your own another name",
        ],
    ),
    "an epoch Secret with a generated name": (
        Request(
            person,
            "POST",
            lambda r: r.core("secrets"),
            {**secret(""), "metadata": {"generateName": "demo-key-e4-"}},
        ),
        ["made and changed by the fence only"],
    ),
    "an epoch Secret's content": (
        Request(person, "PATCH", epoch_secret, OTHER_DATA),
        ["made and changed by the fence only", "delete the Secret"],
    ),
    "an epoch Secret frozen": (
        Request(person, "PATCH", epoch_secret, {"immutable": True}),
        ["made and changed by the fence only"],
    ),
    "another Secret made by the fence": (
        Request(fence, "POST", lambda r: r.core("secrets"), secret("other")),
        ["metadata.name: the fence writes epoch Secrets"],
    ),
    "another Secret changed by the fence": (
        Request(fence, "PATCH", lambda r: r.core("secrets", "mine"), OTHER_DATA),
        ["metadata.name: the fence writes epoch Secrets"],
    ),
    "another Secret deleted by the fence": (
        Request(fence, "DELETE", lambda r: r.core("secrets", "mine")),
        ["metadata.name: the fence writes epoch Secrets"],
    ),
    "a Lease renewed by another pod": (
        Request(lambda r: r.stranger, "PATCH", lease_of_demo, RENEWAL),
        ["metadata.annotations[soloist.trade/admitted-pod-uid]", "has admitted pod", "and this is pod"],
    ),
    "a Lease renewed with a token of no pod": (
        Request(lambda r: r.podless, "PATCH", lease_of_demo, RENEWAL),
        ["a token of no pod"],
    ),
    "an engine that writes somebody else's Lease": (
        Request(engine, "PATCH", lambda r: r.leases("others"), RENEWAL),
        ["has admitted pod"],
    ),
    "an engine that admits itself": (
        Request(engine, "PATCH", lease_of_demo, annotated(admitted_pod_uid="another")),
        ["the operator's word"],
    ),
    "an engine that raises its epoch": (
        Request(engine, "PATCH", lease_of_demo, annotated(epoch="4")),
        ["the operator's word"],
    ),
    "a Lease edited": (
        Request(person, "PATCH", lease_of_demo, annotated(desired_state="Halted")),
        ["an engine's Lease is written by the operator", "Change spec.state of the TradingBot"],
    ),
    "a Lease deleted": (
        Request(person, "DELETE", lease_of_demo),
        ["an engine's Lease is written by the operator"],
    ),
    "a Lease made by hand": (
        Request(person, "POST", lambda r: r.leases(), lease("demo-9", labels=ENGINE)),
        ["an engine's Lease is written by the operator"],
    ),
    "a namespace with a TradingBot": (
        Request(person, "DELETE", lambda r: f"/api/v1/namespaces/{r.namespace}"),
        ["metadata.name", "holds TradingBot demo", "Delete the TradingBots first"],
    ),
    "the operator in a namespace that is not its own": (
        Request(operator, "DELETE", lambda r: f"/api/v1/namespaces/{r.elsewhere[0]}/pods/other"),
        ["metadata.namespace", "none of the chart's botNamespaces"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_a_policy_and_by_nothing_else(rooms, case):
    request, words = REFUSED[case]
    status, said = request.send(rooms.open)
    assert status < 300, f"refused where the policies are off, so it shows nothing: {said}"
    eventually(
        lambda: request.send(rooms.guarded)[0] == 403,
        IN_FORCE_S,
        lambda: f"the API server says {request.send(rooms.guarded)}",
    )
    _, said = request.send(rooms.guarded)
    for word in ("ValidatingAdmissionPolicy", *words):
        assert word in said


# ---------------------------------------------------------------------------------------------- allowed

ALLOWED: dict[str, Request] = {
    "the operator releases a pod": Request(
        operator, "PATCH", lambda r: r.core("pods", "demo-0"), NO_FINALIZERS
    ),
    "the operator releases a TradingBot": Request(operator, "PATCH", lambda r: r.bots("demo"), NO_FINALIZERS),
    "PodGC marks a pod": Request(
        user("system:serviceaccount:kube-system:pod-garbage-collector"),
        "PATCH",
        lambda r: r.core("pods", "demo-0/status"),
        {"status": {"phase": "Failed"}},
    ),
    "somebody annotates the engine's pod": Request(
        person, "PATCH", lambda r: r.core("pods", "demo-0"), annotated(note="x")
    ),
    "somebody deletes the engine's pod": Request(person, "DELETE", lambda r: r.core("pods", "demo-0")),
    "a pod that is no engine": Request(
        person, "POST", lambda r: r.core("pods"), pod("job", labels={}, finalizers=[])
    ),
    "the operator scales": Request(operator, "PATCH", lambda r: r.sets("spare"), {"spec": {"replicas": 1}}),
    "the operator opens an epoch": Request(
        operator,
        "PUT",
        held,
        lambda r: (
            (found := r.operator.do("GET", held(r)))
            | {"status": found["status"] | {"epoch": 4, "phase": "Fencing"}}
        ),
    ),
    "a person names keys to revoke": Request(person, "PATCH", held, annotated(revoke_key_ids="key-1")),
    "the fence rotates": Request(fence, "PATCH", epoch_secret, OTHER_DATA),
    "the fence sweeps": Request(fence, "DELETE", epoch_secret),
    "the fence publishes": Request(
        fence, "POST", lambda r: r.core("secrets"), secret("demo-key-e4-0000000000abc")
    ),
    "a person deletes an epoch Secret": Request(person, "DELETE", epoch_secret),
    "a person annotates an epoch Secret": Request(person, "PATCH", epoch_secret, annotated(note="x")),
    "a person's own Secret": Request(
        person, "POST", lambda r: r.core("secrets"), secret("demo-management-key")
    ),
    "the admitted engine renews": Request(engine, "PATCH", lease_of_demo, RENEWAL),
    "the operator admits another pod": Request(
        operator, "PATCH", lease_of_demo, annotated(admitted_pod_uid="another", epoch="4")
    ),
    "the namespace's end takes a Lease": Request(
        user("system:serviceaccount:kube-system:namespace-controller"), "DELETE", lease_of_demo
    ),
    "another application's Lease": Request(person, "DELETE", lambda r: r.leases("others")),
    "a bot namespace without bots": Request(person, "DELETE", lambda r: f"/api/v1/namespaces/{r.empty}"),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_the_work_needs_passes(rooms, case):
    status, said = ALLOWED[case].send(rooms.guarded)
    assert status < 300, said


def test_another_release_may_adopt_a_free_claim_and_not_a_held_one(rooms):
    """Its operator is nobody to this release's policies; only claims of this release's bots are theirs to guard."""
    guarded, other = rooms.guarded, rooms.open
    for path, expected in ((free(guarded), 200), (held(guarded), 403)):
        body = other.operator.do("GET", path)
        body["spec"]["holder"] = {"namespace": other.namespace, "name": "demo", "uid": "2"}
        assert other.operator.send("PUT", path, body, dry_run=True).status_code == expected


@pytest.mark.parametrize("who", [person, operator])
def test_a_claim_is_made_with_a_holder_wherever_it_is_made(rooms, who):
    """Nobody could say whose it is: so it is refused in the whole cluster, and to the operator itself."""
    for room in (rooms.guarded, rooms.open):
        request = Request(who, "POST", lambda r: r.claims(), claim("claim-000000000000", None))
        eventually(
            lambda: request.send(room)[0] == 403,  # noqa: B023
            IN_FORCE_S,
            lambda: f"the API server says {request.send(room)}",  # noqa: B023
        )
        _, said = request.send(room)
        for word in ("ValidatingAdmissionPolicy", "spec.holder", "Create the TradingBot instead"):
            assert word in said


def test_what_a_bot_leaves_is_collected(rooms):
    """The garbage collector's own requests, not a dry run: the policies must not keep what nobody owns any more."""
    room = rooms.guarded
    bot = room.person.do("POST", room.bots(), trading_bot("gone"))
    owners = [
        {
            "apiVersion": bot["apiVersion"],
            "kind": bot["kind"],
            "name": "gone",
            "uid": bot["metadata"]["uid"],
            "controller": True,
        }
    ]
    room.operator.do("POST", room.leases(), lease("gone-0", labels=ENGINE, ownerReferences=owners))
    room.fence.do("POST", room.core("secrets"), secret("gone-key-e1-abc123", ownerReferences=owners))
    room.person.do("DELETE", room.bots("gone"))
    for path in (room.leases("gone-0"), room.core("secrets", "gone-key-e1-abc123")):
        eventually(
            lambda: room.person.send("GET", path).status_code == 404,  # noqa: B023
            60,
            f"{path} is still there although its TradingBot is gone",
        )


def test_the_api_server_finds_nothing_wrong_with_the_expressions(rooms, cluster):
    policies = yaml.safe_load(cluster.kubectl("get", "validatingadmissionpolicies", "-o", "yaml"))["items"]
    release = rooms.guarded.namespace.removeprefix("test-")
    ours = [p for p in policies if p["metadata"]["labels"].get("app.kubernetes.io/instance") == release]
    assert len(ours) == 7
    for policy in ours:
        assert policy["status"].get("typeChecking") == {}, policy["metadata"]["name"]
        assert policy["spec"]["failurePolicy"] == "Fail"
