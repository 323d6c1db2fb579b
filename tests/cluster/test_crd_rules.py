"""What the API server refuses by itself, with a message that names the field and the fix; and what it lets pass."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.operator_bench import install_crds, namespaces, spec

Edit = Callable[[dict[str, Any]], Any]
MANAGED = {"keyPolicy": "Managed", "managementKeySecretRef": {"name": "management"}}
STATIC = {"keyPolicy": "Static", "keySecretRef": {"name": "mine"}}


@pytest.fixture(scope="module")
def place(cluster):
    install_crds(cluster)
    with namespaces(cluster, 1) as (name,):
        yield name


def say(cluster: Any, place: str, wanted: dict[str, Any], name: str, *options: str) -> str:
    """What `kubectl apply` answers; empty when it is content."""
    body = {
        "apiVersion": "soloist.trade/v1alpha1",
        "kind": "TradingBot",
        "metadata": {"name": name, "namespace": place},
        "spec": wanted,
    }
    try:
        cluster.kubectl("apply", *options, "-f", "-", input=json.dumps(body))
    except Exception as error:  # noqa: BLE001 - the provider's own error; its text is what is judged
        return str(error)
    return ""


def live(**changes: Any) -> dict[str, Any]:
    return spec("Live", **{"account": copy.deepcopy(MANAGED), **changes})


REFUSED: dict[str, tuple[dict[str, Any], Edit, list[str]]] = {
    "Live without account": (
        live(),
        lambda s: s.pop("account"),
        ["spec.account", "add account, or set mode Paper"],
    ),
    "Paper with account": (
        spec(),
        lambda s: s.update(account=MANAGED),
        ["account is needed exactly when mode is Live"],
    ),
    "both key references": (
        live(),
        lambda s: s["account"].update(keySecretRef={"name": "mine"}),
        ["spec.account", "managementKeySecretRef for Managed, keySecretRef for Static"],
    ),
    "no key reference": (
        live(),
        lambda s: s["account"].pop("managementKeySecretRef"),
        ["exactly one key reference"],
    ),
    "reference of the other policy": (
        live(account=dict(STATIC)),
        lambda s: s["account"].update(keyPolicy="Managed"),
        ["exactly one key reference"],
    ),
    "rotation of a Static key": (
        live(account=dict(STATIC)),
        lambda s: s["account"].update(rotation={"schedule": "@daily"}),
        ["belong to keyPolicy Managed"],
    ),
    "malformed money": (
        spec(),
        lambda s: s["risk"].update(maxExposureDollars="ten"),
        ["spec.risk.maxExposureDollars", '"200.00"'],
    ),
    "money below the smallest unit": (
        spec(),
        lambda s: s["risk"].update(dailyLossDollars="1.0000001"),
        ["spec.risk.dailyLossDollars", "at most 6 decimals"],
    ),
    "money as a number": (
        spec(),
        lambda s: s["risk"].update(dailyLossDollars=5),
        ["spec.risk.dailyLossDollars", "string"],
    ),
    "malformed count": (
        spec(),
        lambda s: s["risk"].update(maxOrderContracts="1.234"),
        ["spec.risk.maxOrderContracts", "at most 2 decimals"],
    ),
    "a missing limit": (
        spec(),
        lambda s: s["risk"].pop("dailyLossDollars"),
        ["spec.risk.dailyLossDollars", "Required"],
    ),
    "unknown mode": (spec(), lambda s: s.update(mode="Real"), ["spec.mode", "Paper", "Live"]),
    "unknown state": (spec(), lambda s: s.update(state="Paused"), ["spec.state", "Halted"]),
    "nothing to trade": (
        spec(),
        lambda s: s.update(markets={"tickers": []}),
        ["spec.markets", "at least one"],
    ),
    "filters without a series": (
        spec(),
        lambda s: s.update(markets={"tickers": ["SIM-RAIN"], "filters": {"maxMarkets": 3}}),
        ["spec.markets", "name one in series"],
    ),
    "filters that nothing passes": (
        spec(),
        lambda s: s.update(
            markets={"series": ["SIM"], "filters": {"minSecondsToClose": 9, "maxSecondsToClose": 8}}
        ),
        ["spec.markets.filters", "no market can close between"],
    ),
    "malformed schedule": (
        live(),
        lambda s: s["account"].update(rotation={"schedule": "every day"}),
        ["spec.account.rotation.schedule", "five fields"],
    ),
    "an hour that does not exist": (
        live(),
        lambda s: s["account"].update(rotation={"schedule": "0 24 * * *"}),
        ["spec.account.rotation.schedule"],
    ),
    "malformed size": (spec(), lambda s: s.update(storage={"size": "big"}), ["spec.storage.size", "10Gi"]),
    "tag and digest": (
        spec(),
        lambda s: s.update(image={"tag": "1", "digest": "sha256:" + "0" * 64}),
        ["spec.image", "not both"],
    ),
    "a subaccount that does not exist": (
        live(),
        lambda s: s["account"].update(subaccount=64),
        ["spec.account.subaccount", "63"],
    ),
    "a field that does not exist": (spec(), lambda s: s.update(replicas=2), ["replicas"]),
    "a disruption policy that does not exist": (
        spec(),
        lambda s: s.update(disruption={"policy": "Migrate"}),
        ["spec.disruption.policy", "Handover"],
    ),
    "a URL as venue": (
        spec(),
        lambda s: s.update(venue="https://evil.example"),
        ["spec.venue", "name of a venue profile"],
    ),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_refused(cluster, place, mistake: str) -> None:
    wanted, edit, words = REFUSED[mistake]
    wanted = copy.deepcopy(wanted)
    edit(wanted)
    said = say(cluster, place, wanted, "refused", "--dry-run=server")
    assert said, f"{mistake} was accepted"
    assert all(word in said for word in words), said


def test_accepted_with_everything(cluster, place) -> None:
    everything = live(
        state="Halted",
        account={**MANAGED, "keyType": "rsa", "subaccount": 3, "acknowledgedKeyIds": ["k1"], "rotation": {"schedule": "*/5 1-3,7 * JAN-MAR MON", "suspend": True}},
        markets={"tickers": ["A"], "series": ["B"]},
        trading={"cancelOnStop": False},
        image={"repository": "registry.example/x", "digest": "sha256:" + "a" * 64, "pullPolicy": "Always"},
        update={"policy": "Manual"},
        disruption={"policy": "Allow"},
        storage={"size": "10Gi", "storageClassName": "fast", "retain": False},
        network={
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}],
            "accessFrom": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}],
            "extraEgress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "ports": [{"port": 1, "endPort": 2, "protocol": "UDP"}]}],
        },
        resources={"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
        tolerations=[{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
        affinity={"nodeAffinity": {}},
        priorityClassName="high",
        podAnnotations={"a": "b"},
    )  # fmt: skip
    assert say(cluster, place, everything, "full", "--dry-run=server") == ""


EDITS: dict[str, tuple[dict[str, Any], Edit, str]] = {
    "another venue": (spec(), lambda s: s.update(venue="elsewhere"), "venue is immutable"),
    "another mode": (spec(), lambda s: s.update(mode="Shadow"), "mode is immutable"),
    "another subaccount": (live(), lambda s: s["account"].update(subaccount=1), "account.subaccount is immutable"),
    "another account": (
        live(),
        lambda s: s["account"].update(managementKeySecretRef={"name": "other"}),
        "account.managementKeySecretRef names the account and is immutable",
    ),
    "another key policy": (live(), lambda s: s.update(account=dict(STATIC)), "account.keyPolicy is immutable"),
    "a smaller volume": (spec(storage={"size": "2Gi"}), lambda s: s.update(storage={"size": "1Gi"}), "storage.size may not shrink"),
    "a smaller volume by silence": (spec(storage={"size": "2Gi"}), lambda s: s.pop("storage"), "storage.size may not shrink"),
    "another storage class": (spec(), lambda s: s.update(storage={"storageClassName": "fast"}), "storage.storageClassName is immutable"),
}  # fmt: skip


@pytest.mark.parametrize("change", EDITS)
def test_refused_as_a_change(cluster, place, change: str) -> None:
    wanted, edit, words = EDITS[change]
    name = f"edit-{uuid.uuid4().hex[:6]}"
    assert say(cluster, place, wanted, name) == ""
    changed = copy.deepcopy(wanted)
    edit(changed)
    said = say(cluster, place, changed, name, "--dry-run=server")
    assert words in said, said or "accepted"


def test_a_volume_may_grow_in_other_units(cluster, place) -> None:
    assert say(cluster, place, spec(storage={"size": "1024Mi"}), "grows") == ""
    assert say(cluster, place, spec(storage={"size": "2Gi"}), "grows") == ""


def test_nothing_is_written_into_a_spec(cluster, place) -> None:
    assert say(cluster, place, spec(), "bare") == ""
    stored = json.loads(cluster.kubectl("-n", place, "get", "tbs", "bare", "-o", "json"))
    assert stored["spec"] == spec()


def test_the_category_lists_both_kinds(cluster, place) -> None:
    names = cluster.kubectl("api-resources", "--categories=trading", "-o", "name").split()
    assert names == ["accountclaims.soloist.trade", "tradingbots.soloist.trade"]


def test_the_wide_table(cluster, place) -> None:
    assert say(cluster, place, spec(), "wide") == ""
    header = cluster.kubectl("-n", place, "get", "tbs", "-o", "wide").splitlines()[0].split()
    assert header == ["NAME", "READY", "MODE", "STATE", "VENUE", "EPOCH", "AGE", "NODE", "IMAGE", "REASON"]
