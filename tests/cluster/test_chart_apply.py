"""The rendered chart and the examples against a real API server: strict, in `restricted` namespaces, with the real roles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid

import pytest
import yaml

from tests.cluster.chart import CHART, api_server, apply_crds, render
from tests.cluster.errors import CommandError
from tests.cluster.paths import REPOSITORY

EXAMPLES = sorted((REPOSITORY / "examples").glob("*.yaml"))
ROLES = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount"}


@pytest.fixture(scope="module")
def crds(cluster):
    apply_crds(cluster)


@pytest.fixture
def accounts(cluster, crds, namespace):
    """The chart's service accounts and roles, for one namespace that is both the release's and the bots'."""
    release = f"test-{uuid.uuid4().hex[:6]}"
    values = {"botNamespaces": [{"name": namespace, "create": False}]}
    objects = [
        found
        for found in render(values, release=release, namespace=namespace)
        if found["kind"] in ROLES and "helm.sh/hook" not in found["metadata"].get("annotations", {})
    ]
    cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(objects))
    yield Accounts(cluster, namespace, release)
    outside = [found for found in objects if found["metadata"].get("namespace") != namespace]
    cluster.kubectl("delete", "-f", "-", "--wait=false", input=yaml.safe_dump_all(outside))


class Accounts:
    def __init__(self, cluster, namespace, release):
        self.cluster = cluster
        self.namespace = namespace
        self.operator = f"{release}-operator"

    def may(self, account, verb, resource, *, namespace=None, name=None):
        """What the API server itself says that a service account may do."""
        kind, _, subresource = resource.partition("/")
        target = f"{kind}/{name}" if name else kind
        answer = self.cluster.kubectl(
            "auth", "can-i", verb, target, "--namespace", namespace or self.namespace,
            f"--as=system:serviceaccount:{self.namespace}:{account}",
            *([f"--subresource={subresource}"] if subresource else []),
            check=False,
        )  # fmt: skip
        return answer.strip().startswith("yes")


@pytest.mark.parametrize("exchange", [False, True], ids=["plain", "exchange"])
def test_the_api_server_accepts_every_object_strictly(cluster, crds, namespace, exchange):
    values = {"botNamespaces": [{"name": namespace, "create": False}], "exchange": {"enabled": exchange}}
    objects = [
        found
        for found in render(values, release="dry", namespace=namespace)
        if found["kind"] != "CustomResourceDefinition"
    ]
    printed = cluster.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", "-",
        input=yaml.safe_dump_all(objects),
    )  # fmt: skip
    assert printed.count("server dry run") == len(objects)


def test_the_pods_are_admitted_in_a_restricted_namespace(cluster, crds, namespace):
    values = {"botNamespaces": [{"name": namespace, "create": False}], "exchange": {"enabled": True}}
    cluster.kubectl("create", "serviceaccount", "pods", "-n", namespace)
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"pod-{index}", "namespace": namespace},
            "spec": found["spec"]["template"]["spec"] | {"serviceAccountName": "pods"},
        }
        for index, found in enumerate(render(values, release="dry", namespace=namespace))
        if found["kind"] in {"Deployment", "Job"}
    ]
    assert len(pods) == 3
    cluster.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "-f", "-", input=yaml.safe_dump_all(pods)
    )
    loose = pods[0] | {"spec": pods[0]["spec"] | {"hostNetwork": True}}
    with pytest.raises(CommandError, match="restricted"):
        cluster.kubectl("apply", "--dry-run=server", "-f", "-", input=yaml.safe_dump(loose))


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_every_example_is_accepted_strictly(cluster, crds, namespace, example):
    documents = list(yaml.safe_load_all(example.read_text()))
    assert documents
    for document in documents:
        document["metadata"]["namespace"] = namespace
    cluster.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "-f", "-", input=yaml.safe_dump_all(documents)
    )


# ---------------------------------------------------------------------------------------------- roles

ALL_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")


def test_the_operator_has_no_secret_verb_anywhere(accounts):
    for verb in ALL_VERBS:
        assert not accounts.may(accounts.operator, verb, "secrets"), verb
        assert not accounts.may(accounts.operator, verb, "secrets", namespace="kube-system"), verb


OPERATOR_DENIED = [
    ("create", "roles", None),
    ("create", "rolebindings", None),
    ("create", "pods", None),
    ("create", "pods/exec", None),
    ("create", "serviceaccounts/token", None),
    ("patch", "accountclaims", None),
    ("delete", "accountclaims", None),
    ("delete", "tradingbots", None),
    ("update", "tradingbots", None),
    ("delete", "persistentvolumes", None),
    ("delete", "nodes", None),
    ("get", "configmaps", "kube-system"),
]


@pytest.mark.parametrize(("verb", "resource", "where"), OPERATOR_DENIED)
def test_the_operator_is_denied(accounts, verb, resource, where):
    assert not accounts.may(accounts.operator, verb, resource, namespace=where)


def test_the_operator_may_do_its_work(accounts):
    for verb, resource in (
        ("watch", "tradingbots"),
        ("patch", "tradingbots/status"),
        ("create", "statefulsets"),
        ("create", "jobs"),
        ("patch", "pods"),
        ("update", "accountclaims"),
        ("get", "nodes"),
    ):
        assert accounts.may(accounts.operator, verb, resource), (verb, resource)
    assert accounts.may(accounts.operator, "patch", "pods", namespace="default"), "finalizers outlive Roles"
    assert accounts.may(accounts.operator, "get", "namespaces", name="kube-system")
    assert accounts.may(
        accounts.operator, "get", "endpointslices.discovery.k8s.io", namespace="default", name="kubernetes"
    )
    assert not accounts.may(
        accounts.operator, "get", "endpointslices.discovery.k8s.io", namespace="default", name="other"
    )


def test_the_fence_may_write_secrets_and_never_read_one(accounts):
    allowed = {verb for verb in ALL_VERBS if accounts.may("soloist-fence", verb, "secrets")}
    assert allowed == {"create", "patch", "delete"}
    assert not accounts.may("soloist-fence", "create", "secrets", namespace="default")
    assert {verb for verb in ALL_VERBS if accounts.may("soloist-fence", verb, "accountclaims")} == {"get"}
    assert {verb for verb in ALL_VERBS if accounts.may("soloist-fence", verb, "leases")} == {"get"}
    assert not accounts.may("soloist-fence", "create", "pods")


def test_the_engine_has_its_lease_and_nothing_else(accounts):
    assert {verb for verb in ALL_VERBS if accounts.may("soloist-engine", verb, "leases")} == {"get", "patch"}
    for resource in ("secrets", "configmaps", "pods", "tradingbots", "accountclaims"):
        for verb in ALL_VERBS:
            assert not accounts.may("soloist-engine", verb, resource), (verb, resource)


# ---------------------------------------------------------------------------------------------- uninstall


def guard(cluster, namespace, accounts, tmp_path):
    """Run the script of the pre-delete hook as its Job does, with a real token; returns (exit status, output)."""
    url, authority = api_server(cluster)
    (tmp_path / "ca.crt").write_text(authority)
    (tmp_path / "token").write_text(cluster.kubectl("create", "token", accounts.operator, "-n", namespace))
    done = subprocess.run(
        [sys.executable, "-c", (CHART / "files" / "refuse-uninstall.py").read_text(), namespace],
        env={**os.environ, "SERVICE_ACCOUNT_DIR": str(tmp_path), "API_SERVER": url},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_uninstall_is_refused_while_a_bot_exists(cluster, accounts, namespace, tmp_path):
    assert guard(cluster, namespace, accounts, tmp_path) == (0, "no TradingBot is left\n")
    bot = yaml.safe_load((REPOSITORY / "examples" / "paper.yaml").read_text())
    bot["metadata"] = {"name": "left", "namespace": namespace}
    cluster.kubectl("create", "-f", "-", input=json.dumps(bot))
    status, said = guard(cluster, namespace, accounts, tmp_path)
    assert status == 1
    assert f"{namespace}/left" in said
    assert "Delete them first" in said
    cluster.kubectl("delete", "tradingbot", "left", "-n", namespace, "--wait=false")
