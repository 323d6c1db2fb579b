"""Scenarios of one account and several claimants, and of a venue that is late or loses replies."""

from __future__ import annotations

import copy
import json
import time

import httpx
from soloist_kalshi.signing import Signer

from tests.chaos import disasters
from tests.chaos.catalogue import LOST_NODE_MS, scenario
from tests.chaos.judge import time_without_a_key_ms
from tests.chaos.stage import NAMESPACE, Stage
from tests.cluster import release
from tests.e2e.scene import Bot, largest_gap_ms, now_ms
from tests.support import eventually

LONGEST_ROTATION_GAP_MS = 1000
CALM_S = 20
BUSY = {"maximum_hold_seconds": 0.3, "cooldown_seconds": 0.05}
"""Seven orders a second, and half a second between two of them at most (60 s without a rotation): a gap of one means something."""


@scenario("11", "two TradingBots on one account, created at once", runs=30, with_bot=False)
def two_bots(stage: Stage) -> None:
    rivals = _rivals(stage)
    _exactly_one_trades(stage, rivals)


@scenario("13", "two management keys of one account, each acknowledging the other", with_bot=False)
def alias(stage: Stage) -> None:
    rivals = _rivals(stage)
    first, second = rivals
    assert first.account is not None
    name = f"alias-of-{stage.account}"
    other = _second_management_key(stage, first)
    stage.bot.kubectl(
        "apply", "-f", "-", input=json.dumps(release.management_key_secret(other, NAMESPACE, name))
    )
    second.manifest["spec"]["account"]["managementKeySecretRef"]["name"] = name
    first.manifest["spec"]["account"]["acknowledgedKeyIds"] = [other.key_id]
    second.manifest["spec"]["account"]["acknowledgedKeyIds"] = [first.account.key_id]
    _exactly_one_trades(stage, rivals)


def _second_management_key(stage: Stage, bot: Bot) -> release.Account:
    """Make another unrestricted key of the bot's account, as its owner would."""
    assert bot.account is not None
    path = "/trade-api/v2/api_keys/generate"
    signer = Signer.from_pem(bot.account.key_id, bot.account.private_key.encode())
    with release.port_forward(
        stage.cluster, release.SYSTEM_NAMESPACE, "deploy/soloist-exchange", 8443
    ) as url:
        # The certificate names the Service, not the forwarded port.
        reply = httpx.post(
            url.replace("http://", "https://") + path,
            headers=signer.headers("POST", path, now_ms()),
            json={"name": "second management key", "scopes": ["read", "write"]},
            verify=False,
            timeout=10,
        ).raise_for_status()
    made = reply.json()
    return release.Account(bot.account.name, made["api_key_id"], made["private_key"])


def _rivals(stage: Stage) -> tuple[Bot, Bot]:
    """Two bots that want one fresh account; not yet applied."""
    first, second = stage.bot, stage.second_bot("rival")
    first.prepare("demo.yaml")
    second.manifest, second.account = copy.deepcopy(first.manifest), first.account
    second.manifest["metadata"]["name"] = second.name
    return first, second


def _exactly_one_trades(stage: Stage, rivals: tuple[Bot, Bot]) -> None:
    stage.begin()
    both = [bot.manifest for bot in rivals]
    stage.bot.kubectl(
        "apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": both})
    )
    eventually(lambda: any(bot.is_ready() for bot in rivals), 120, stage.bot.story, interval_s=0.5)
    winner = next(bot for bot in rivals if bot.is_ready())
    loser = next(bot for bot in rivals if bot is not winner)
    said = loser.wait_condition("AccountClaimed", "False", "AccountConflict", 60)["message"]
    assert f"{NAMESPACE}/{winner.name}" in said, said
    assert not loser.is_ready()
    assert {row["key_id"] for row in winner.accepted()} <= {winner.status()["keyId"]}


@scenario("16", "rotation, its Job killed on the way, then rotated again", runs=10, with_bot=False)
def rotation(stage: Stage) -> None:
    stage.prepare(**BUSY)
    calm_ms = now_ms()
    time.sleep(CALM_S)  # what this machine does today without a rotation, to compare with
    calm_gap_ms = largest_gap_ms(stage.bot.accepted(calm_ms), calm_ms, now_ms())
    old_key = stage.bot.status()["keyId"]
    start_ms = now_ms()
    stage.begin()
    _rotate(stage, "first")
    # On the way: the second key is made, the first one not yet revoked.
    eventually(lambda: len(stage.living_keys()) > 1, 60, stage.bot.story, interval_s=0.1)
    pods = stage.bot.kubectl("get", "pods", "-l", "batch.kubernetes.io/job-name=rotate-first", "-o", "name")
    stage.bot.kubectl("delete", *pods.split(), "--force", "--grace-period=0", "--wait=false")
    _rotate(stage, "second")
    eventually(
        lambda: stage.bot.get("job", "rotate-second").get("status", {}).get("succeeded") == 1,
        240,
        lambda: stage.bot.kubectl("logs", "job/rotate-second", check=False) + stage.bot.story(),
    )
    eventually(lambda: stage.bot.status()["keyId"] != old_key, 30, stage.bot.story)
    end_ms = now_ms()
    gap_ms = largest_gap_ms(stage.bot.accepted(start_ms), start_ms, end_ms)
    assert time_without_a_key_ms(stage.epoch_keys(), start_ms, end_ms) == 0
    stage.notes.append(
        f"longest time without an accepted order {gap_ms} ms, before the rotation {calm_gap_ms} ms"
    )
    assert gap_ms <= max(LONGEST_ROTATION_GAP_MS, 3 * calm_gap_ms), stage.notes[-1]


def _rotate(stage: Stage, name: str) -> None:
    stage.bot.kubectl("create", "job", f"--from=cronjob/{stage.bot.name}-key-rotation", f"rotate-{name}")


@scenario("17", "venue accepts a deleted key for 0.9 s more", zombie=True, recovery_limit_ms=LOST_NODE_MS)
def late_revocation(stage: Stage) -> None:
    stage.oracle.change("PATCH", "/admin/switches", {"revocation_delay_ms": 900})
    try:
        node = stage.node
        stage.begin()
        with disasters.partitioned(stage.cluster, node):
            stage.trades_again()
            stage.zombie_was_refused()
            assert stage.verdict(revocation_delay_ms=900).is_safe()
        disasters.bring_back(stage.cluster, node)
        stage.whole_again()
    finally:
        stage.oracle.change("PATCH", "/admin/switches", {"revocation_delay_ms": 0})


@scenario(
    "18", "venue answers 5xx after it did what was asked: keys, orders, cancels", recovery_limit_ms=None
)
def lost_answers(stage: Stage) -> None:
    stage.oracle.change(
        "POST",
        "/admin/faults",
        [
            {
                "kind": "error_after",
                "method": "POST",
                "path": "/api_keys/generate",
                "times": 1,
                "status": 502,
            },
            {"kind": "error_after", "method": "DELETE", "path": "/api_keys", "times": 2, "status": 502},
            {"kind": "error_after", "method": "POST", "path": "/portfolio", "percent": 20, "status": 502},
            {"kind": "error_after", "method": "DELETE", "path": "/portfolio", "percent": 20, "status": 502},
        ],
    )
    try:
        stage.begin()
        epoch = stage.epoch
        stage.bot.kubectl("delete", "secret", _secret_of(stage))
        stage.bot.kubectl("delete", "pod", stage.bot.pod, "--wait=false")
        eventually(lambda: stage.epoch > epoch, 120, stage.bot.story)
        stage.trades_again()
    finally:
        stage.oracle.change("POST", "/admin/faults", [])
    stage.whole_again()


def _secret_of(stage: Stage) -> str:
    claim = stage.cluster.kubectl("get", "accountclaim", stage.bot.status()["claim"], "-o", "json")
    return str(json.loads(claim)["status"]["secretName"])
