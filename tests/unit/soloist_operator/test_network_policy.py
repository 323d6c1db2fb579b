"""Whoever may read the engine's metrics may read its watchdog's: it is the one that still answers when the engine does not."""

from __future__ import annotations

from soloist_operator.api.tradingbot import TradingBotSpec
from soloist_operator.api.validate import validate
from soloist_operator.specs.configuration import Configuration
from soloist_operator.specs.engine import Arming, stateful_set
from soloist_operator.specs.image import resolve
from soloist_operator.specs.network import network_policy

from tests.unit.soloist_operator.operator_scene import REF, SETTINGS, live


def test_every_port_of_the_engines_pod_is_open_to_the_same_peers_and_no_other() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}
    spec = validate(live(network={"metricsFrom": [peer]}), SETTINGS.venues)
    assert isinstance(spec, TradingBotSpec)
    policy = network_policy(REF, spec, SETTINGS.venues["simulator"], ())
    (rule,) = policy["spec"]["ingress"]
    declared = stateful_set(
        REF,
        spec,
        image=resolve(spec.image, SETTINGS.images),
        service_account="engine",
        configuration=Configuration({"config.yaml": ""}, "c", "v"),
        arming=Arming(1, "demo-key-e1-nonce"),
    )
    pod = declared["spec"]["template"]["spec"]
    ports = [
        p["containerPort"] for c in (*pod["initContainers"], *pod["containers"]) for p in c.get("ports", [])
    ]
    assert sorted(ports) == [8080, 8081]
    assert [p["port"] for p in rule["ports"]] == [8080, 8081]
    assert peer in rule["from"]
    assert {"podSelector": {"matchLabels": {"soloist.trade/access": "true"}}} in rule["from"]
    assert len(rule["from"]) == 2
