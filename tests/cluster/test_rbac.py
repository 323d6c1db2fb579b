"""What each service account of the chart may do, asked of a real API server with the account's own token.

Everything that is not in these tables is denied: the API server's own list of an account's rights is compared with them as a whole.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.cluster.chart import apply_crds, render
from tests.cluster.identities import MERGE, Caller, administrator
from tests.cluster.test_chart_render import documented

ROLES = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount"}
COORDINATION, TRADE = "coordination.k8s.io", "soloist.trade"

Right = tuple[str, str, str]
"""API group, resource, verb."""


def operator_rights(where: str) -> frozenset[Right]:
    """RBAC.md: `W` in a bot namespace, `C` in the whole cluster. Rows of one object in one place are asked for on their own."""
    return frozenset(
        (g, r, v) for place, g, r, v in documented() if place == where and (place, r) not in PLACED
    )


PLACED = {("C", "leases"), ("C", "endpointslices")}

IN_ITS_NAMESPACE = {
    "operator": operator_rights("W") | operator_rights("C"),
    "soloist-fence": frozenset({
        ("", "secrets", "create"), ("", "secrets", "patch"), ("", "secrets", "delete"),
        (COORDINATION, "leases", "get"), (TRADE, "accountclaims", "get"),
    }),
    "soloist-engine": frozenset({(COORDINATION, "leases", "get"), (COORDINATION, "leases", "patch")}),
    "uninstall-guard": frozenset({(TRADE, "tradingbots", "list")}),
}  # fmt: skip
ELSEWHERE = {
    "operator": operator_rights("C"),
    "soloist-fence": frozenset({(TRADE, "accountclaims", "get")}),
    "soloist-engine": frozenset(),
    "uninstall-guard": frozenset(),
}
"""In a namespace that is not the chart's; policies keep the operator's writes out of it all the same (test_admission.py)."""

DANGEROUS = [
    ("", "secrets", "get"), ("", "secrets", "list"), ("", "secrets", "watch"), ("", "secrets", "update"),
    ("", "secrets", "deletecollection"), ("", "pods", "create"), ("", "pods", "deletecollection"),
    ("", "pods/exec", "create"), ("", "pods/exec", "get"), ("", "pods/attach", "create"), ("", "pods/portforward", "create"),
    ("", "pods/ephemeralcontainers", "patch"), ("", "pods/log", "get"), ("", "pods/eviction", "create"), ("", "pods/binding", "create"),
    ("", "nodes", "patch"), ("", "nodes", "delete"), ("", "nodes/proxy", "get"), ("", "namespaces", "delete"),
    ("", "namespaces", "patch"), ("", "serviceaccounts", "create"), ("", "serviceaccounts/token", "create"),
    ("", "serviceaccounts", "impersonate"), ("", "users", "impersonate"), ("", "groups", "impersonate"),
    ("", "persistentvolumes", "delete"), ("apps", "deployments", "create"), ("apps", "daemonsets", "create"),
    ("apps", "statefulsets", "delete"), ("rbac.authorization.k8s.io", "roles", "create"),
    ("rbac.authorization.k8s.io", "roles", "escalate"), ("rbac.authorization.k8s.io", "clusterroles", "bind"),
    ("rbac.authorization.k8s.io", "clusterroles", "escalate"), ("rbac.authorization.k8s.io", "rolebindings", "create"),
    ("rbac.authorization.k8s.io", "clusterrolebindings", "create"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", "delete"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings", "delete"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", "create"),
    ("apiextensions.k8s.io", "customresourcedefinitions", "patch"), ("certificates.k8s.io", "certificatesigningrequests", "create"),
    (COORDINATION, "leases", "delete"), (TRADE, "accountclaims", "patch"), (TRADE, "accountclaims", "delete"),
    (TRADE, "tradingbots", "create"), (TRADE, "tradingbots", "update"), (TRADE, "tradingbots", "delete"),
    ("*", "*", "*"), ("*", "*", "get"),
]  # fmt: skip
"""No account has any of these, anywhere."""


@dataclass(frozen=True)
class Accounts:
    """The chart's accounts for one namespace that is both the release's and the bots', the uninstall hook's too."""

    namespace: str
    release: str
    person: Caller
    callers: dict[str, Caller]
    common: frozenset[tuple[str, str, str, tuple[str, ...]]]
    """What every account of the cluster may do: ask what it may do."""


@pytest.fixture(scope="module")
def accounts(cluster) -> Iterator[Accounts]:
    apply_crds(cluster)
    release = f"rights-{uuid.uuid4().hex[:6]}"
    namespace = f"test-{release}"
    cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "nobody")
    objects = [
        found
        for found in render(
            {"botNamespaces": [{"name": namespace, "create": False}]}, release=release, namespace=namespace
        )
        if found["kind"] in ROLES
    ]
    cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(objects))
    outside = [found for found in objects if found["metadata"].get("namespace") != namespace]
    try:
        with administrator(cluster, namespace) as person:
            of_the_release = {name: f"{release}-{name}" for name in ("operator", "uninstall-guard")}
            names = {name: name for name in IN_ITS_NAMESPACE} | of_the_release
            callers = {name: person.acting_as(namespace, account) for name, account in names.items()}
            common = all_rights(person.acting_as(namespace, "nobody"), namespace)
            yield Accounts(namespace, release, person, callers, common)
    finally:
        cluster.kubectl("delete", "-f", "-", "--wait=false", input=yaml.safe_dump_all(outside))
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def all_rights(caller: Caller, namespace: str) -> frozenset[tuple[str, str, str, tuple[str, ...]]]:
    """Everything that the API server's authorizers grant in a namespace: (group, resource, verb, object names)."""
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    status = caller.do("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", body)["status"]
    return frozenset(
        (group, resource, verb, tuple(rule.get("resourceNames") or ()))
        for rule in status["resourceRules"]
        for group in rule.get("apiGroups") or ()
        for resource in rule.get("resources") or ()
        for verb in rule["verbs"]
    )


def may(caller: Caller, namespace: str, right: Right, name: str = "") -> bool:
    """What the API server says to the account's own question."""
    group, resource, verb = right
    resource, _, subresource = resource.partition("/")
    attributes = {
        "namespace": namespace,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "verb": verb,
        "name": name,
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    reply = caller.do("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    return bool(reply["status"]["allowed"])


@pytest.mark.parametrize("account", IN_ITS_NAMESPACE)
def test_an_account_has_the_rights_of_the_table_and_no_other(accounts, account):
    for namespace, expected in ((accounts.namespace, IN_ITS_NAMESPACE), ("kube-public", ELSEWHERE)):
        granted = all_rights(accounts.callers[account], namespace) - accounts.common
        assert granted == {(*right, ()) for right in expected[account]}, namespace


@pytest.mark.parametrize("account", IN_ITS_NAMESPACE)
def test_every_right_of_the_table_is_granted(accounts, account):
    caller = accounts.callers[account]
    refused = [r for r in IN_ITS_NAMESPACE[account] if not may(caller, accounts.namespace, r)]
    assert not refused


@pytest.mark.parametrize("account", IN_ITS_NAMESPACE)
def test_nothing_dangerous_is_granted(accounts, account):
    caller = accounts.callers[account]
    rights = [right for right in DANGEROUS if right not in IN_ITS_NAMESPACE[account]]
    assert len(rights) >= len(DANGEROUS) - 1
    granted = [right for right in rights if may(caller, accounts.namespace, right)]
    assert not granted


def test_the_operator_reads_kubelet_heartbeats_and_one_endpoint_slice(accounts):
    caller = accounts.callers["operator"]
    granted = {
        namespace: all_rights(caller, namespace)
        - accounts.common
        - {(*right, ()) for right in ELSEWHERE["operator"]}
        for namespace in ("kube-node-lease", "default")
    }
    assert granted == {
        "kube-node-lease": {(COORDINATION, "leases", verb, ()) for verb in ("get", "list")},
        "default": {("discovery.k8s.io", "endpointslices", "get", ("kubernetes",))},
    }


# ---------------------------------------------------------------------------------------------- the requests themselves

SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "demo-key-e1-abc"},
    "stringData": {"a": "b"},
}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "x"},
    "spec": {"containers": [{"name": "x", "image": "x"}]},
}
BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "soloist-test-never"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [],
}
REQUESTS: dict[str, tuple[str, str, Any]] = {
    "read a Secret": ("GET", "/api/v1/namespaces/{namespace}/secrets/other", None),
    "list Secrets": ("GET", "/api/v1/namespaces/{namespace}/secrets", None),
    "list the cluster's Secrets": ("GET", "/api/v1/secrets", None),
    "watch Secrets": ("GET", "/api/v1/namespaces/{namespace}/secrets?watch=true", None),
    "delete all Secrets": ("DELETE", "/api/v1/namespaces/{namespace}/secrets", None),
    "make a pod": ("POST", "/api/v1/namespaces/{namespace}/pods", POD),
    "run a command in a pod": ("GET", "/api/v1/namespaces/{namespace}/pods/demo-0/exec?command=id", None),
    "take another identity": (
        "POST",
        "/api/v1/namespaces/{namespace}/serviceaccounts/soloist-fence/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    ),
    "raise itself": ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", BINDING),
    "delete the namespace": ("DELETE", "/api/v1/namespaces/{namespace}", None),
    "delete a claim": ("DELETE", "/apis/soloist.trade/v1alpha1/accountclaims/claim-000000000000", None),
    "patch a claim": (
        "PATCH",
        "/apis/soloist.trade/v1alpha1/accountclaims/claim-000000000000",
        {"status": {"epoch": 9}},
    ),
}


@pytest.mark.parametrize("account", IN_ITS_NAMESPACE)
def test_dangerous_requests_are_refused(accounts, account):
    for what, (method, path, body) in REQUESTS.items():
        reply = accounts.callers[account].send(
            method,
            path.format(namespace=accounts.namespace),
            body,
            content_type=MERGE if method == "PATCH" else "application/json",
        )
        assert reply.status_code == 403, f"{what}: {reply.status_code} {reply.text}"


def test_the_fence_cannot_read_back_what_it_wrote(accounts):
    fence = accounts.callers["soloist-fence"]
    path = f"/api/v1/namespaces/{accounts.namespace}/secrets"
    fence.do("POST", path, SECRET)
    assert fence.send("GET", f"{path}/demo-key-e1-abc").status_code == 403
    fence.do("PATCH", f"{path}/demo-key-e1-abc", {"stringData": {"a": "c"}}, content_type=MERGE)
    fence.do("DELETE", f"{path}/demo-key-e1-abc")
    for other in ("operator", "soloist-engine"):
        assert accounts.callers[other].send("POST", path, SECRET).status_code == 403
