"""The chart without a cluster: what it renders, what its schema refuses, and that it says the same as its sources."""

from __future__ import annotations

import base64
import re
import ssl
from pathlib import Path

import pytest
import yaml
from soloist_operator.settings import Settings

from tests.cluster import versions
from tests.cluster.chart import CHART, NAMESPACE, helm_refuses, render
from tests.cluster.command import run
from tests.cluster.paths import REPOSITORY, binary

pytestmark = pytest.mark.usefixtures("cluster")  # brings helm

WITH_EXCHANGE = {"exchange": {"enabled": True}}
TWO_NAMESPACES = {"botNamespaces": [{"name": "bots", "create": True}, {"name": "more", "create": False}]}


def of_kind(objects, kind):
    return [found for found in objects if found["kind"] == kind]


def named(objects, kind, name, namespace=None):
    return next(
        found
        for found in of_kind(objects, kind)
        if found["metadata"]["name"] == name and namespace in {None, found["metadata"].get("namespace")}
    )


def settings_of(objects):
    text = named(objects, "ConfigMap", "soloist-operator-settings")["data"]["settings.yaml"]
    return Settings.model_validate(yaml.safe_load(text))


def test_lint_is_clean():
    run(binary("helm"), "lint", CHART, "--strict", "--kube-version", versions.KUBERNETES)


@pytest.mark.parametrize("values", [{}, WITH_EXCHANGE], ids=["plain", "exchange"])
def test_every_object_says_whose_it_is(values):
    objects = render(values)
    assert len(objects) > 15
    for found in objects:
        assert found["metadata"]["labels"]["app.kubernetes.io/part-of"] == "soloist", found["metadata"][
            "name"
        ]
        assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == "soloist"


def test_the_crds_are_the_generated_ones():
    generated = {path.name: path.read_bytes() for path in (REPOSITORY / "crds").glob("*.yaml")}
    packed = {path.name: path.read_bytes() for path in (CHART / "files" / "crds").glob("*.yaml")}
    assert packed == generated, (
        "copy them: python -m soloist_operator.api.generate --directory charts/soloist/files/crds"
    )


def test_crds_are_kept_unless_told_otherwise():
    for definition in of_kind(render({}), "CustomResourceDefinition"):
        assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for definition in of_kind(render({"crds": {"keep": False}}), "CustomResourceDefinition"):
        assert "helm.sh/resource-policy" not in definition["metadata"].get("annotations", {})
    assert of_kind(render({"crds": {"enabled": False}}), "CustomResourceDefinition") == []


def test_the_operator_can_read_its_settings():
    settings = settings_of(render(WITH_EXCHANGE | TWO_NAMESPACES))
    assert settings.watch_namespaces == ("bots", "more")
    assert set(settings.venues) == {"kalshi", "kalshi-demo", "simulator"}
    simulator = settings.venues["simulator"]
    assert simulator.rest_url == f"https://soloist-exchange.{NAMESPACE}.svc:8443/trade-api/v2"
    assert simulator.ca_bundle.startswith("-----BEGIN CERTIFICATE-----")
    assert all(venue.egress for venue in settings.venues.values())


def test_the_certificate_authority_in_the_settings_made_the_served_certificate(tmp_path):
    objects = render(WITH_EXCHANGE)
    secret = named(objects, "Secret", "soloist-exchange-tls")["data"]
    authority = settings_of(objects).venues["simulator"].ca_bundle
    assert base64.b64decode(secret["ca.crt"]).decode().strip() == authority.strip()
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_bytes(base64.b64decode(secret[name]))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    client = ssl.create_default_context(cadata=authority)
    hand_shake(client, server, f"soloist-exchange.{NAMESPACE}.svc")
    with pytest.raises(ssl.SSLCertVerificationError):
        hand_shake(client, server, "somewhere.else")


def hand_shake(client, server, host):
    """A TLS handshake in memory; raises ssl.SSLError when the client does not trust the server."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(to_client, to_server, server_hostname=host)
    answerer = server.wrap_bio(to_server, to_client, server_side=True)
    pending = [caller, answerer]
    for _ in range(10):
        for side in list(pending):
            try:
                side.do_handshake()
                pending.remove(side)
            except ssl.SSLWantReadError:
                continue
        if not pending:
            return
    raise AssertionError("the handshake did not end")


def test_a_changed_setting_restarts_the_operator():
    def checksum(values):
        operator = named(render(values), "Deployment", "soloist-operator")
        return operator["spec"]["template"]["metadata"]["annotations"]["soloist.trade/settings-checksum"]

    assert checksum({}) == checksum({})
    assert checksum({}) != checksum(TWO_NAMESPACES)


REFUSED = {
    "unknown name": ({"operater": {}}, "operater"),
    "unknown nested name": ({"exchange": {"enabld": True}}, "enabld"),
    "no bot namespace": ({"botNamespaces": []}, "botNamespaces"),
    "bad namespace": ({"botNamespaces": [{"name": "Bots", "create": True}]}, "botNamespaces"),
    "create is not said": ({"botNamespaces": [{"name": "bots"}]}, "create"),
    "plain http": (
        {
            "venues": {
                "x": {
                    "restUrl": "http://a/b",
                    "websocketUrl": "wss://a/b",
                    "revocationBoundMs": 1,
                    "egress": [],
                }
            }
        },
        "restUrl",
    ),
    "key in a URL": (
        {
            "venues": {
                "x": {
                    "restUrl": "https://a/b?key=1",
                    "websocketUrl": "wss://a",
                    "revocationBoundMs": 1,
                    "egress": [],
                }
            }
        },
        "restUrl",
    ),
    "venue without bound": ({"venues": {"kalshi": {"revocationBoundMs": None}}}, "revocationBoundMs"),
    "certificate that is a path": ({"venues": {"kalshi": {"caBundle": "/etc/ca.pem"}}}, "caBundle"),
    "pull policy": ({"images": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    "admission by a word": ({"admission": {"enabled": "yes"}}, "admission"),
    "seed as text": ({"exchange": {"seed": "seven"}}, "seed"),
    "no venue at all": ({"venues": {"kalshi": None, "kalshi-demo": None}}, "no venue profile is left"),
    "two simulators": (
        {
            "exchange": {"enabled": True},
            "venues": {
                "simulator": {
                    "restUrl": "https://a",
                    "websocketUrl": "wss://a",
                    "revocationBoundMs": 1,
                    "egress": [],
                }
            },
        },
        "venues.simulator",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_values_are_refused_by_name(case):
    values, word = REFUSED[case]
    assert word in helm_refuses(values)


# ---------------------------------------------------------------------------------------------- roles


def rules_of(role):
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


DANGEROUS_RESOURCES = {
    "pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers", "pods/eviction", "pods/binding", "nodes/proxy",
    "serviceaccounts/token", "serviceaccounts", "roles", "rolebindings", "clusterroles", "clusterrolebindings",
    "validatingadmissionpolicies", "validatingadmissionpolicybindings", "customresourcedefinitions", "certificatesigningrequests",
}  # fmt: skip
DANGEROUS_VERBS = {"*", "escalate", "bind", "impersonate", "deletecollection", "approve", "sign"}
READ_ONLY = {"nodes", "namespaces", "persistentvolumes"}


def test_no_role_has_a_wildcard_or_a_right_that_leads_to_others():
    for role in of_kind(render(WITH_EXCHANGE), "Role") + of_kind(render(WITH_EXCHANGE), "ClusterRole"):
        for group, resource, verb in rules_of(role):
            right = f"{role['metadata']['name']}: {verb} {resource}"
            assert "*" not in {group, resource}, right
            assert verb not in DANGEROUS_VERBS, right
            assert resource not in DANGEROUS_RESOURCES, right
            assert resource not in READ_ONLY or verb in {"get", "list", "watch"}, right
            assert (resource, verb) != ("pods", "create"), (
                "who makes pods owns the accounts of their namespace"
            )


POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"


def test_every_policy_denies_in_the_namespaces_of_its_own_release():
    objects = render(TWO_NAMESPACES)
    bindings = {found["spec"]["policyName"]: found["spec"] for found in of_kind(objects, BINDING)}
    policies = {found["metadata"]["name"]: found["spec"] for found in of_kind(objects, POLICY)}
    assert len(policies) == 7
    assert set(bindings) == set(policies)
    for name, binding in bindings.items():
        assert binding["validationActions"] == ["Deny"], name
        (selector,) = binding["matchResources"]["namespaceSelector"]["matchExpressions"]
        assert selector == {
            "key": "kubernetes.io/metadata.name",
            "operator": "NotIn" if name.endswith("-operator-stays") else "In",
            "values": ["bots", "more"],
        }
        assert policies[name]["failurePolicy"] == "Fail"
        assert all(rule["message"] for rule in policies[name]["validations"]), name
    here, there = (
        {found["metadata"]["name"] for kind in (POLICY, BINDING) for found in of_kind(rendered, kind)}
        for rendered in (objects, render(TWO_NAMESPACES, namespace="elsewhere"))
    )
    assert not here & there, "a second release would replace the first one's policies"


def test_policies_can_be_switched_off():
    objects = render({"admission": {"enabled": False}})
    assert of_kind(objects, POLICY) + of_kind(objects, BINDING) == []


def test_only_the_fence_touches_secrets_and_it_cannot_read_them():
    holders = {
        role["metadata"]["name"]: {verb for _, resource, verb in rules_of(role) if resource == "secrets"}
        for role in of_kind(render({}), "Role") + of_kind(render({}), "ClusterRole")
    }
    assert {name: verbs for name, verbs in holders.items() if verbs} == {
        "soloist-fence": {"create", "patch", "delete"}
    }


def documented():
    """(where, group, resource, verb) of operator/soloist_operator/RBAC.md."""
    text = (REPOSITORY / "operator" / "soloist_operator" / "RBAC.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if re.match(r"\| [WC] \|", line)
    ]
    return {
        (
            where,
            group.strip('"'),
            resource.split(",")[0].strip() if "name `" in resource else part.strip(),
            verb.strip(),
        )
        for where, group, resource, verbs, _ in rows
        for part in resource.split(",")
        for verb in verbs.split(",")
    }


def test_the_operators_roles_are_the_documented_ones():
    objects = render({})
    namespaced = rules_of(named(objects, "Role", "soloist-operator", "bots"))
    cluster = rules_of(named(objects, "ClusterRole", f"soloist-{NAMESPACE}-operator"))
    addresses = rules_of(named(objects, "Role", f"soloist-{NAMESPACE}-api-server-addresses", "default"))
    heartbeats = rules_of(named(objects, "Role", f"soloist-{NAMESPACE}-node-heartbeats", "kube-node-lease"))
    rendered = {("W", *rule) for rule in namespaced} | {
        ("C", *rule) for rule in cluster | addresses | heartbeats
    }
    # Design: finalizers are removed by a ClusterRoleBinding, because namespaced ones vanish first.
    of_finalizers = {
        ("C", group, kind, verb)
        for group, kind in (("soloist.trade", "tradingbots"), ("", "pods"))
        for verb in ("get", "patch")
    }
    assert rendered == documented()
    assert of_finalizers <= rendered


# ---------------------------------------------------------------------------------------------- pods and policies


def test_every_pod_fits_the_restricted_profile_and_has_a_read_only_root():
    objects = render(WITH_EXCHANGE)
    workloads = of_kind(objects, "Deployment") + of_kind(objects, "Job")
    assert len(workloads) == 3
    for workload in workloads:
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]


def test_only_who_needs_the_api_server_gets_a_token():
    objects = render(WITH_EXCHANGE)
    exchange = named(objects, "Deployment", "soloist-exchange")["spec"]["template"]["spec"]
    assert exchange["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in exchange
    assert named(objects, "ServiceAccount", "soloist-engine")["automountServiceAccountToken"] is False


def test_only_bot_namespaces_reach_the_exchange():
    policy = named(render(WITH_EXCHANGE | TWO_NAMESPACES), "NetworkPolicy", "soloist-exchange")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == []
    (rule,) = policy["ingress"]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchExpressions"][0]["values"] == ["bots", "more"]
    assert rule["ports"] == [{"port": 8443, "protocol": "TCP"}]


def test_public_venues_do_not_open_the_way_into_the_cluster():
    for venue in ("kalshi", "kalshi-demo"):
        (rule,) = settings_of(render({})).venues[venue].egress
        assert rule["ports"] == [{"port": 443, "protocol": "TCP"}]
        blocks = [peer["ipBlock"] for peer in rule["to"]]
        assert "10.0.0.0/8" in blocks[0]["except"]
        assert "169.254.0.0/16" in blocks[0]["except"], "the metadata service of clouds"


def test_bot_namespaces_enforce_restricted_and_survive_uninstall():
    objects = render(TWO_NAMESPACES)
    (made,) = of_kind(objects, "Namespace")
    assert made["metadata"]["name"] == "bots"
    assert made["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert made["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for namespace in ("bots", "more"):
        for account in ("soloist-engine", "soloist-fence"):
            named(objects, "ServiceAccount", account, namespace)
            named(objects, "RoleBinding", account, namespace)


def test_the_notes_name_the_next_commands():
    notes = (Path(CHART) / "templates" / "NOTES.txt").read_text()
    for word in (
        "rollout status",
        "account create",
        "--print-key",
        "get tradingbots -A",
        "get accountclaims",
    ):
        assert word in notes
