"""A hung engine in its real pod: the template that the operator renders, two containers, one process namespace, the kubelet."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import yaml
from soloist_operator.api.tradingbot import TradingBotSpec
from soloist_operator.specs.common import BotRef
from soloist_operator.specs.configuration import Configuration
from soloist_operator.specs.engine import Arming, stateful_set
from soloist_operator.specs.image import ResolvedImage

from tests.cluster import release
from tests.cluster.faults import freeze
from tests.e2e.scene import Oracle, now_ms
from tests.support import eventually
from tests.unit.soloist_operator.operator_scene import live

pytestmark = pytest.mark.timeout(
    300
)  # a hang, not a budget: two images start, an engine is frozen and comes back
PATIENCE_S = 120
ACCOUNT = "watched"
RESTRICTED: dict[str, Any] = {
    "runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
CONTAINER = {
    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
}  # fmt: skip


def venue_pod(image: str) -> dict[str, Any]:
    """An exchange without TLS: this test is about processes."""
    args = [
        "serve",
        "--plain",
        "--listen=0.0.0.0:8443",
        "--admin=127.0.0.1:8444",
        "--state-dir=/state",
        "--scenario=demo",
    ]
    container = {
        "name": "exchange", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["soloist-exchange"], "args": args,
        "securityContext": CONTAINER,
        "volumeMounts": [{"name": "state", "mountPath": "/state"}, {"name": "tmp", "mountPath": "/tmp"}],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
    }  # fmt: skip
    volumes = [{"name": "state", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
    spec = {"automountServiceAccountToken": False, "securityContext": {**RESTRICTED, "fsGroup": 10001}}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "venue"},
        "spec": {**spec, "containers": [container], "volumes": volumes},
    }  # fmt: skip


def engine_pod(image: str) -> dict[str, Any]:
    """The operator's own template, with what only an operator could provide (Lease, volume claim, finalizer) left out."""
    bot = BotRef("any", "demo", "uid")
    rendered = stateful_set(
        bot, TradingBotSpec.model_validate(live()), image=ResolvedImage(image, "IfNotPresent"), service_account="default",
        configuration=Configuration({"config.yaml": ""}, "h", "v"), arming=Arming(1, "epoch-key"),
    )  # fmt: skip
    spec = rendered["spec"]["template"]["spec"]
    for volume in spec["volumes"]:
        if volume["name"] == "state":
            del volume["persistentVolumeClaim"]
            volume["emptyDir"] = {}
    (engine,) = spec["containers"]
    engine["env"] = []
    engine["args"] += [
        "--admin",
        "0.0.0.0:8080",
        "--state-dir",
        "/var/lib/soloist",
        "--watch-dir",
        "/var/run/soloist/watch",
    ]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "demo-0"}, "spec": spec}


def configuration(address: str) -> str:
    return yaml.safe_dump({
        "version": 1, "bot": {"namespace": "any", "name": "demo"}, "mode": "Live",
        "venue": {"name": "simulator", "rest_url": f"http://{address}:8443/trade-api/v2", "websocket_url": f"ws://{address}:8443/trade-api/ws/v2"},
        "account": {"subaccount": 0, "claim_hash": "wdpods", "epoch": 1},
        "markets": {"tickers": ["SIM-RAIN", "SIM-WIND", "SIM-SNOW"], "series": []},
        "strategy": {"name": "threshold", "parameters": {
            "entry": "join", "minimum_probability": "0.05", "maximum_probability": "0.95", "maximum_spread_dollars": "0.10",
            "order_contracts": "1.00", "take_profit_dollars": "0.10", "stop_loss_dollars": "0.05", "maximum_hold_seconds": 60,
            "cooldown_seconds": 0.1,
        }},
        "risk": {
            "max_order_contracts": "5.00", "max_position_contracts": "20.00", "max_exposure_dollars": "100.00",
            "max_open_orders": 20, "daily_loss_dollars": "2000.00",
        },
    })  # fmt: skip


def test_a_hung_engine_in_its_pod_is_ended_by_the_watchdog_and_trades_again_after_the_proof(
    cluster, namespace
):
    def kubectl(*args: str, **options: Any) -> str:
        return cluster.kubectl("-n", namespace, *args, **options)

    def apply(document: dict[str, Any]) -> None:
        kubectl("apply", "-f", "-", input=json.dumps(document))

    def story() -> str:
        return "\n".join(
            kubectl(*words, check=False)
            for words in (
                ("get", "pods", "-o", "wide"),
                ("logs", "demo-0", "-c", "watchdog", "--tail=30"),
                ("logs", "demo-0", "-c", "engine", "--tail=20"),
                ("get", "events", "--sort-by=.lastTimestamp"),
            )
        )

    def engine() -> dict[str, Any]:
        statuses = json.loads(kubectl("get", "pod", "demo-0", "-o", "json"))["status"]["containerStatuses"]
        return next(status for status in statuses if status["name"] == "engine")

    def watchdog_status() -> dict[str, Any]:
        words = ["soloist-trader", "status", "--json", "--url", "http://127.0.0.1:8081"]
        return json.loads(kubectl("exec", "demo-0", "-c", "watchdog", "--", *words))

    apply(venue_pod(cluster.images.trader))
    kubectl("wait", "pod/venue", "--for=condition=Ready", f"--timeout={PATIENCE_S}s")
    made = json.loads(
        kubectl("exec", "venue", "--", "soloist-exchange", "account", "create", ACCOUNT, "--state-dir", "/state", "--print-key")
        .strip().splitlines()[-1]
    )  # fmt: skip
    secret = {"key-id": made["key_id"], "private-key.pem": made["private_key"]}
    address = json.loads(kubectl("get", "pod", "venue", "-o", "json"))["status"]["podIP"]
    apply({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "epoch-key"},
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in secret.items()},
    })  # fmt: skip
    apply({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "demo-config-h"},
        "data": {"config.yaml": configuration(address)},
    })  # fmt: skip
    apply(engine_pod(cluster.images.trader))

    with release.port_forward(cluster, namespace, "pod/venue", 8444) as url:
        oracle = Oracle(url)
        try:
            eventually(lambda: len(oracle.live_orders(ACCOUNT)) >= 3, PATIENCE_S, story)
            eventually(
                lambda: (
                    watchdog_status()["watchdog"]["armed"] and watchdog_status()["watchdog"]["keyAccepted"]
                ),
                PATIENCE_S,
                story,
            )
            assert freeze(cluster, f"{namespace}/demo-0", "engine") >= 1
            frozen_ms = now_ms()
            left = oracle.live_orders(ACCOUNT)
            ended = eventually(
                lambda: (status := engine())["restartCount"] and status["lastState"].get("terminated"),
                PATIENCE_S,
                story,
            )
            assert ended["exitCode"] == 137, story()
            shown = eventually(
                lambda: (now := watchdog_status())["watchdog"]["latch"]["proven"] and now, PATIENCE_S, story
            )
            latch = shown["watchdog"]["latch"]
            assert "silent for" in latch["reason"]
            again = eventually(lambda: oracle.accepted(ACCOUNT, latch["provenMs"]), PATIENCE_S, story)
            events = oracle.events(ACCOUNT)
            gone_ms = max(e["time_ms"] for e in events if e["kind"] == "closed" and e["order_id"] in left)
            between = [
                o
                for o in oracle.accepted(ACCOUNT, latch["latchedMs"])
                if o["time_ms"] < latch["provenMs"] and o["count"] != 1
            ]
            assert between == [], "an order was accepted between the latch and its proof"
            print(
                f"figure: frozen to none resting {gone_ms - frozen_ms} ms, to the proof {latch['provenMs'] - frozen_ms} ms, "
                f"to the next accepted order {again[0]['time_ms'] - frozen_ms} ms; steps {shown['watchdog']['stepsMs']}"
            )
            ctl = ("exec", "demo-0", "-c", "watchdog", "--", "soloist-trader", "ctl")
            killed = json.loads(
                kubectl(*ctl, "kill", "--actor", "tester", "--reason", "the runbook's command")
            )
            assert killed["proven"] is True, story()
            assert oracle.live_orders(ACCOUNT) == {}
            killed_ms = now_ms()
            eventually(lambda: engine()["restartCount"] == 2 and engine()["started"], PATIENCE_S, story)
            eventually(lambda: watchdog_status()["state"] == "HALTED", PATIENCE_S, story)
            assert [order for order in oracle.accepted(ACCOUNT, killed_ms) if order["count"] != 1] == []
            kubectl(*ctl, "resume", "--latch", "watchdog", "--actor", "tester", "--reason", "seen")
            eventually(lambda: oracle.accepted(ACCOUNT, killed_ms), PATIENCE_S, story)
        finally:
            oracle.close()
