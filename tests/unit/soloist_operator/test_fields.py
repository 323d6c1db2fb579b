"""Every field of the spec reaches a child, the engine's configuration or a decision; unset, it is gone again.

The list of fields is generated from the schema: a new field without a row here fails, and so does one without an effect.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from soloist_fence.api import Verb, claim_name_of
from soloist_operator import desired, holding, relocation, rollout
from soloist_operator.accounts import fence_parameters
from soloist_operator.api.schema import structural
from soloist_operator.api.tradingbot import State, TradingBotSpec, UpdatePolicy, WhenUnreachable
from soloist_operator.api.validate import InvalidSpec, validate
from soloist_operator.plan import Apply
from soloist_operator.relocation import Watch
from soloist_operator.specs import configuration
from soloist_operator.specs.engine import Arming
from soloist_operator.specs.jobs import fence_job

from tests.unit.soloist_operator.operator_scene import (
    SETTINGS,
    STATIC,
    live,
    merged,
    observed,
    paper,
    running_pod,
)

CLAIM = {
    "metadata": {"name": "claim-000000000000"},
    "status": {"phase": "Active", "epoch": 1, "nonce": "nonce1", "secretName": "demo-key-e1-nonce1"},
}

# field -> a value that is neither its default nor the base spec's
FIELDS: dict[str, Any] = {
    "mode": "Shadow",
    "state": "Stopped",
    "venue": "other",
    "account.keyPolicy": "Static",
    "account.managementKeySecretRef.name": "other-key",
    "account.keySecretRef.name": "other-key",
    "account.keyType": "rsa",
    "account.subaccount": 7,
    "account.acknowledgedKeyIds[]": "k-1",
    "account.rotation.schedule": "@daily",
    "account.rotation.suspend": True,
    "markets.tickers[]": "SIM-Z",
    "markets.series[]": "SERIES",
    "markets.filters.status": "initialized",
    "markets.filters.minVolume": "5.00",
    "markets.filters.maxSpread": "0.05",
    "markets.filters.minLiquidity": "6.00",
    "markets.filters.minSecondsToClose": 7,
    "markets.filters.maxSecondsToClose": 8,
    "markets.filters.maxMarkets": 9,
    "strategy.name": "market_maker",
    "strategy.parameters": {"edge": 4},
    "risk.maxOrderContracts": "1.00",
    "risk.maxPositionContracts": "2.00",
    "risk.maxExposureDollars": "3.00",
    "risk.maxOpenOrders": 4,
    "risk.dailyLossDollars": "5.00",
    "trading.cancelOnStop": False,
    "image.repository": "elsewhere/trader",
    "image.tag": "9",
    "image.digest": "sha256:" + "a" * 64,
    "image.pullPolicy": "Always",
    "update.policy": "Manual",
    "disruption.policy": "Allow",
    "storage.size": "5Gi",
    "storage.storageClassName": "fast",
    "storage.retain": False,
    "storage.whenUnreachable": "Wait",
    "network.metricsFrom[].podSelector.matchLabels.*": "v",
    "network.metricsFrom[].podSelector.matchExpressions[].key": "k",
    "network.metricsFrom[].podSelector.matchExpressions[].operator": "NotIn",
    "network.metricsFrom[].podSelector.matchExpressions[].values[]": "v",
    "network.metricsFrom[].namespaceSelector.matchLabels.*": "v",
    "network.metricsFrom[].namespaceSelector.matchExpressions[].key": "k",
    "network.metricsFrom[].namespaceSelector.matchExpressions[].operator": "NotIn",
    "network.metricsFrom[].namespaceSelector.matchExpressions[].values[]": "v",
    "network.metricsFrom[].ipBlock.cidr": "10.9.0.0/16",
    "network.metricsFrom[].ipBlock.except[]": "10.9.1.0/24",
    "resources.requests.*": "2",
    "resources.limits.*": "3",
    "nodeSelector.*": "v",
    "tolerations[].key": "k",
    "tolerations[].operator": "Exists",
    "tolerations[].value": "v",
    "tolerations[].effect": "NoExecute",
    "tolerations[].tolerationSeconds": 9,
    "affinity": {"podAntiAffinity": {}},
    "priorityClassName": "high",
    "podAnnotations.*": "v",
}  # fmt: skip
for _field in [f for f in FIELDS if f.startswith("network.metricsFrom[].")]:
    _rest = _field.removeprefix("network.metricsFrom[].")
    FIELDS[f"network.accessFrom[].{_rest}"] = FIELDS[_field]
    FIELDS[f"network.extraEgress[].to[].{_rest}"] = FIELDS[_field]
FIELDS |= {
    "network.extraEgress[].ports[].port": 81,
    "network.extraEgress[].ports[].endPort": 82,
    "network.extraEgress[].ports[].protocol": "UDP",
}

# Neighbours that a field needs to be valid.
COMPANIONS: dict[str, dict[str, Any]] = {
    "account.keyPolicy": {"account": {"managementKeySecretRef": None, "keySecretRef": {"name": "mine"}}},
    "account.keySecretRef.name": {"account": {"keyPolicy": "Static", "managementKeySecretRef": None}},
    "mode": {"account": None},
}
IN_ITEM: dict[str, Any] = {
    "ipBlock.except[]": {"ipBlock": {"cidr": "10.9.0.0/16"}},
    "matchExpressions[].key": {"operator": "In", "values": ["x"]},
    "matchExpressions[].operator": {"key": "a", "values": ["x"]},
    "matchExpressions[].values[]": {"key": "a", "operator": "In"},
    "ports[].endPort": {"port": 80},
    "ports[].protocol": {"port": 80},
}


def leaves(schema: dict[str, Any], path: str = "") -> list[str]:
    """Every field of a schema that holds a value."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return [path]
    if "properties" in schema:
        return [
            leaf
            for name, part in schema["properties"].items()
            for leaf in leaves(part, f"{path}.{name}".lstrip("."))
        ]
    if "additionalProperties" in schema:
        return leaves(schema["additionalProperties"], f"{path}.*")
    if schema.get("type") == "array":
        return leaves(schema["items"], f"{path}[]")
    return [path]


def test_every_field_of_the_schema_has_a_row() -> None:
    assert sorted(FIELDS) == sorted(leaves(structural(TradingBotSpec)))


def with_field(spec: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """The spec with one field set, its containers made as needed."""
    found = merged(spec, COMPANIONS.get(field, {}))
    target: Any = found
    parts = field.replace("[]", ".[]").split(".")
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        following = value if last else ([] if parts[index + 1] == "[]" else {})
        if part == "[]":
            if last:
                target.append(value)
                break
            target.append(following)
            target = target[-1]
        elif part == "*":
            target["example.org/key" if not field.startswith("resources") else "cpu"] = value
        else:
            target[part] = value if last else copy.deepcopy(target.get(part)) or following
            target = target[part]
    return found


def completed(spec: dict[str, Any], field: str) -> dict[str, Any]:
    """Items that the API requires beside the field."""
    for ending, neighbours in IN_ITEM.items():
        if field.endswith(ending):
            _fill(spec, field, neighbours)
    for egress in spec.get("network", {}).get("extraEgress", []):
        egress.setdefault("to", [{"ipBlock": {"cidr": "10.8.0.0/16"}}])
    return spec


def _fill(spec: dict[str, Any], field: str, neighbours: dict[str, Any]) -> None:
    target: Any = spec
    parts = field.split(".")
    container = parts[:-2] if "ipBlock" in neighbours else parts[:-1]
    for part in container:
        target = target[part.removesuffix("[]")]
        if part.endswith("[]"):
            target = target[0]
    for key, value in neighbours.items():
        if isinstance(value, dict) and key in target:
            target[key].update({k: v for k, v in value.items() if k not in target[key]})
        else:
            target.setdefault(key, value)


def effect(spec: dict[str, Any]) -> dict[str, Any]:
    """Everything that a spec leads to: every child, the engine's configuration, the fence's command, the decisions."""
    venue = SETTINGS.venues["simulator"]
    settings = SETTINGS.model_copy(
        update={"venues": {"simulator": venue, "other": venue.model_copy(update={"rest_url": "https://o"})}}
    )
    model = validate(spec, settings.venues)
    assert not isinstance(model, InvalidSpec), str(model)
    seen = observed(spec)
    account = model.account
    claim = None
    if account is not None:
        claim = {**CLAIM, "metadata": {"name": _claim_name(model)}}
    wanted = desired.resolve(
        seen, model, settings, claim=claim and claim["metadata"]["name"], epoch=1 if claim else None
    )
    around = (*desired.network_policy(seen, wanted, settings), *desired.surroundings(seen, wanted))
    arming = Arming(1, "secret") if account else None
    found: dict[str, Any] = {
        "configuration": configuration.config_map(seen.ref, wanted.configuration),
        "statefulset": desired.stateful_set(seen, wanted, settings, arming),
        "lease": [a.body for a in desired.lease(seen, 1, model.state) if isinstance(a, Apply)],
        "surroundings": [a.body for a in around if isinstance(a, Apply)],
        "rollout": _rollout(seen, model),
        "after a lost node": _lodging(seen, model),
    }
    if account is not None and claim is not None:
        fence = fence_parameters(seen, account, settings.venues[model.venue])
        setup = desired.fence_setup(seen, wanted, settings)
        found["fence"] = fence_job(
            seen.ref, Verb.TAKEOVER, fence.arguments(seen, claim), setup, last_secret="demo-key-e1-nonce1"
        )
        found["rotation"] = [
            a.body for a in desired.rotation(seen, wanted, settings, fence, claim) if isinstance(a, Apply)
        ]
        armed = holding.armed(claim, account)
        found["armed"] = armed and armed.verdict.reason
    return found


def _claim_name(model: TradingBotSpec) -> str:
    assert model.account is not None
    return claim_name_of("marker:m-1", model.account.subaccount)


def _lodging(seen: Any, model: TradingBotSpec) -> Any:
    """Where the next engine goes while a node is not heard."""
    start_fresh = model.storage.when_unreachable is WhenUnreachable.START_FRESH
    return relocation.lodging(seen, Watch(silent_nodes=("node-1",)), start_fresh=start_fresh)


def _rollout(seen: Any, model: TradingBotSpec) -> str:
    """What a pod of an older revision leads to."""
    waiting = {"metadata": {"generation": 2}, "status": {"observedGeneration": 2, "updateRevision": "new"}}
    return type(
        rollout.replacement(replace(seen, stateful_set=waiting, pod=running_pod()), model.update.policy)
    ).__name__


def base_of(field: str) -> dict[str, Any]:
    if field == "mode":
        return paper()
    if field == "account.keySecretRef.name":
        return live(account=dict(STATIC))
    if field.startswith("markets.filters."):
        return live(markets={"series": ["SERIES"]})
    return live()


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_has_an_effect_and_unset_none(field: str) -> None:
    base = base_of(field)
    before = effect(copy.deepcopy(base))
    changed = completed(with_field(copy.deepcopy(base), field, FIELDS[field]), field)
    without = completed(_neutral(copy.deepcopy(base), field), field)
    reference = effect(without) if without != base else before
    assert effect(changed) != reference, f"{field} is accepted and has no effect"
    assert effect(copy.deepcopy(base)) == before, "the same spec leads to the same children"


def _neutral(base: dict[str, Any], field: str) -> dict[str, Any]:
    """The spec to compare with: where a field lives in a made-up item, the same item with another value of it."""
    if "[]" not in field or (field.endswith("[]") and field.count("[]") == 1):
        return base
    other = {"operator": "In", "protocol": "TCP", "effect": "NoSchedule"}.get(field.rsplit(".", 1)[-1])
    value = FIELDS[field]
    if other is None:
        other = (
            value + 1
            if isinstance(value, int)
            else "10.7.0.0/16"
            if "cidr" in field
            else "10.9.2.0/24"
            if "except" in field
            else "w"
        )
    if field == "tolerations[].operator":
        other = "Equal"
    return with_field(base, field, other)


def test_the_defaults_are_those_of_the_documentation() -> None:
    model = TradingBotSpec.model_validate(paper())
    assert (model.mode.value, model.state, model.update.policy) == (
        "Paper",
        State.RUNNING,
        UpdatePolicy.AUTOMATIC,
    )
    assert (model.storage.size, model.storage.retain, model.disruption.policy.value) == (
        "1Gi",
        True,
        "Handover",
    )
    assert model.trading.cancel_on_stop is True
