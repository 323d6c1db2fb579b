"""Steps of a takeover: who trades before the disaster, a person who resumes, who trades afterwards, and what the claim says of it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from tests.chaos.judge import Verdict, identity, judge
from tests.e2e.scene import Bot, now_ms
from tests.support import eventually

LOOK_EVERY_S = 1.0
PERSON = ("--actor", "a person of the test", "--reason", "read the recovery report")


def prefer(bot: Bot, node: str) -> None:
    """Ask for a node, without insisting on it: a replacement has to be able to go elsewhere."""
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    preferred = [{"weight": 100, "preference": term}]
    bot.manifest["spec"]["affinity"] = {
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}
    }


def settle_on(bot: Bot, node: str, ready_s: float) -> None:
    """Apply a bot that prefers a node, and wait until it trades there."""
    prefer(bot, node)
    bot.apply()
    bot.wait_ready(ready_s)
    bot.wait_accepted_after(now_ms(), 30)
    assert node_of(bot) == node


def node_of(bot: Bot) -> str:
    """Where the engine's pod is, by the API server's word."""
    return str(bot.get("pod", bot.pod)["spec"].get("nodeName"))


def pod_uid(bot: Bot) -> str:
    """Uid of the pod of the engine's name, empty while there is none."""
    return bot.kubectl("get", "pod", bot.pod, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")


def _has_started(bot: Bot, old: Incumbent) -> bool:
    """Whether another pod than the old one has a running engine, by the API server's word."""
    text = bot.kubectl("get", "pod", bot.pod, "--ignore-not-found", "-o", "json")
    if not text:
        return False
    pod = json.loads(text)
    engines = [s for s in pod["status"].get("containerStatuses", []) if s["name"] == "engine"]
    return pod["metadata"]["uid"] != old.pod_uid and any("running" in status["state"] for status in engines)


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The engine that trades before the disaster."""

    epoch: int
    incarnation: str
    pod_uid: str
    fault_ms: int


def incumbent(bot: Bot) -> Incumbent:
    """Who trades now; the disaster comes next."""
    epoch, incarnation = identity(bot.accepted()[-1]["client_order_id"])
    return Incumbent(epoch, incarnation, pod_uid(bot), now_ms())


def resume_after_recovery(bot: Bot) -> bool:
    """What a person does after reading the recovery report: let the engine that started on a fresh volume trade again.

    True when it trades without that latch. An engine that started without a journal only reduces until somebody says so
    (docs/troubleshooting.md, "Reducing after a start").
    """
    told = bot.kubectl(
        "exec", bot.pod, "-c", "engine", "--", "soloist-trader", "status", "--json", check=False
    )
    try:
        status = json.loads(told)
    except ValueError:
        return False  # it is not up yet
    if "recovery" in status["latches"]:
        bot.kubectl(
            "exec", bot.pod, "-c", "engine", "--", "soloist-trader", "ctl", "resume", *PERSON, check=False
        )
        return False
    return bool(status["ready"])


def wait_successor(bot: Bot, old: Incumbent, deadline_s: float) -> dict[str, Any]:
    """Wait for the first accepted order of another engine, resuming it as a person would."""

    looked_s = 0.0

    def found() -> dict[str, Any] | None:
        nonlocal looked_s
        rows = bot.accepted(old.fault_ms)
        first = next((r for r in rows if identity(r["client_order_id"])[1] != old.incarnation), None)
        # Looking costs the machine a process in the pod; a person would not look more often, either.
        if first is None and time.monotonic() - looked_s > LOOK_EVERY_S and _has_started(bot, old):
            looked_s = time.monotonic()
            resume_after_recovery(bot)
        return first

    row: dict[str, Any] = eventually(found, deadline_s, bot.story, interval_s=0.5)
    return row


def verdict(bot: Bot, old: Incumbent) -> Verdict:
    """What the exchange saw: double holders, orders accepted from the old engine after the new one, refused requests."""
    assert bot.account is not None
    keys = bot.oracle.get("/admin/keys", account=bot.account.name)["keys"]
    refused = bot.oracle.get("/admin/events", kind="unauthorized")["events"]
    return judge(bot.accepted(), keys, refused, fault_ms=old.fault_ms)


def history(bot: Bot) -> list[dict[str, Any]]:
    """The claim's history, oldest first: why each epoch was opened and how it ended."""
    claim = json.loads(bot.cluster.kubectl("get", "accountclaim", bot.status()["claim"], "-o", "json"))
    return list(claim["status"]["history"])
