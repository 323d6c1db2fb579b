"""Scenarios of one account and several claimants, and of a venue that is late or loses replies."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import httpx
from soloist_fence.api import order_epoch
from soloist_kalshi.signing import Signer
from soloist_operator.specs.common import STATE_DIR

from tests.chaos import disasters, takeovers
from tests.chaos.catalogue import LOST_NODE_MS, REVOCATION_BOUND_MS, scenario
from tests.chaos.judge import identity, time_without_a_key_ms
from tests.chaos.stage import NAMESPACE, Stage
from tests.cluster import release
from tests.e2e.scene import Bot, largest_gap_ms, now_ms, open_subaccount
from tests.support import eventually

LONGEST_ROTATION_GAP_MS = 1000
CALM_S = 20
SLOW_VENUE_MS = 10_000
ENDLESS_VENUE_MS = 180_000
"""Longer than a takeover's own deadline of 120 s."""
GIVEN_UP_S = 260
"""Until the node counts as silent, and the takeover's deadline after that."""
LOOKED_ON_S = 30
"""Longer than the pause before an ordinary second attempt (5 s)."""
QUIET_S = 60
BUSY = {"maximum_hold_seconds": 0.3, "cooldown_seconds": 0.05}
"""Seven orders a second, and half a second between two of them at most (60 s without a rotation): a gap of one means something."""


@scenario("11", "two TradingBots on one account, created at once", runs=30, with_bot=False)
def two_bots(stage: Stage) -> None:
    rivals = _rivals(stage)
    _exactly_one_trades(stage, rivals)


@scenario(
    "11b", "two subaccounts of one account, two bots created at once: both trade", with_bot=False, keys_left=2
)
def two_subaccounts(stage: Stage) -> None:
    first, second = rivals = _rivals(stage)
    number = open_subaccount(first)
    second.manifest["spec"]["account"]["subaccount"] = number
    places = {0: first, number: second}
    assert len(places) == len(rivals)
    stage.begin()
    _apply_at_once(stage, rivals)
    for bot in rivals:
        bot.wait_ready(240)
    ready_ms = now_ms()
    for subaccount in places:
        eventually(
            lambda of=subaccount: any(row["subaccount"] == of for row in first.accepted(ready_ms)),
            60,
            lambda: first.story() + second.story(),
        )
    claims = {subaccount: _claim(bot) for subaccount, bot in places.items()}
    assert [claim["status"]["phase"] for claim in claims.values()] == ["Active", "Active"]
    assert len({claim["metadata"]["name"] for claim in claims.values()}) == len(rivals)
    assert len({claim["spec"]["accountIdentity"] for claim in claims.values()}) == 1, (
        "one account, by its name"
    )
    bound = {row["key_id"]: row["subaccount"] for row in stage.epoch_keys()}
    orders = first.accepted()  # of the whole account
    assert {row["subaccount"] for row in orders} == set(places)
    for subaccount, bot in places.items():
        key_id, claim = bot.status()["keyId"], claims[subaccount]["metadata"]["name"]
        assert bound[key_id] == subaccount
        here = [row for row in orders if row["subaccount"] == subaccount]
        assert {row["key_id"] for row in here} == {key_id}
        assert {row["subaccount"] for row in orders if row["key_id"] == key_id} == {subaccount}
        strangers = [row for row in here if order_epoch(row["client_order_id"], claim) is None]
        assert not strangers, strangers


@scenario("13", "two management keys of one account, each acknowledging the other", runs=5, with_bot=False)
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
    _apply_at_once(stage, rivals)
    eventually(lambda: any(bot.is_ready() for bot in rivals), 120, stage.bot.story, interval_s=0.5)
    winner = next(bot for bot in rivals if bot.is_ready())
    loser = next(bot for bot in rivals if bot is not winner)
    said = loser.wait_condition("AccountClaimed", "False", "AccountConflict", 60)["message"]
    assert f"{NAMESPACE}/{winner.name}" in said, said
    assert not loser.is_ready()
    assert {row["key_id"] for row in winner.accepted()} <= {winner.status()["keyId"]}


def _apply_at_once(stage: Stage, bots: tuple[Bot, Bot]) -> None:
    both = [bot.manifest for bot in bots]
    stage.bot.kubectl(
        "apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": both})
    )


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


@scenario("17", "venue accepts a deleted key for 0.9 s more", zombie=True, recovery_limit_ms=LOST_NODE_MS,
          revocation_delay_ms=900)  # fmt: skip
def late_revocation(stage: Stage) -> None:
    evidence = _taken_over_at_a_slow_venue(stage, 900)
    assert evidence["counts"]["oldKeysProven"] >= 1, evidence


@scenario("17b", "venue accepts a deleted key for 10 s, longer than D_rev: the takeover waits until it is refused", zombie=True,
          recovery_limit_ms=LOST_NODE_MS - REVOCATION_BOUND_MS + SLOW_VENUE_MS, revocation_delay_ms=SLOW_VENUE_MS)  # fmt: skip
def slow_revocation(stage: Stage) -> None:
    evidence = _taken_over_at_a_slow_venue(stage, SLOW_VENUE_MS)
    assert evidence["counts"]["oldKeysProven"] >= 1, evidence
    # The bound was too small, and it was the refusal itself that was waited for.
    assert evidence["counts"]["stillAcceptedMs"] > REVOCATION_BOUND_MS, evidence
    assert "revocationBoundMs" in evidence["message"], evidence


def _taken_over_at_a_slow_venue(stage: Stage, delay_ms: int) -> dict[str, Any]:
    """A node is cut off while the venue accepts a deleted key for so long; returns the takeover's evidence."""
    _accept_deleted_keys_for(stage, delay_ms)
    try:
        node = stage.node
        stage.begin()
        with disasters.partitioned(stage.cluster, node):
            stage.trades_again()
            stage.zombie_was_refused()
            verdict = stage.verdict(revocation_delay_ms=delay_ms)
            assert verdict.is_safe(), verdict
        disasters.bring_back(stage.cluster, node)
        stage.whole_again()
        stage.taken_over("NodeSilent")
    finally:
        _accept_deleted_keys_for(stage, 0)
    evidence: dict[str, Any] = _claim(stage.bot)["status"]["evidence"]
    assert (evidence["outcome"], evidence["reason"]) == ("Published", "Done"), evidence
    return evidence


@scenario("17c", "venue accepts a deleted key for three minutes: NotConfirmed, and nothing is armed",
          keys_left=0, revocation_delay_ms=ENDLESS_VENUE_MS)  # fmt: skip
def no_revocation(stage: Stage) -> None:
    _accept_deleted_keys_for(stage, ENDLESS_VENUE_MS)
    try:
        node = stage.node
        stage.begin()
        assert stage.old is not None
        epoch = stage.old.epoch
        with disasters.partitioned(stage.cluster, node):
            eventually(
                lambda: _last_attempt(stage) == ("Failed", "NotConfirmed"), GIVEN_UP_S, stage.bot.story
            )
            evidence = _claim(stage.bot)["status"]["evidence"]
            assert evidence["counts"]["stillAcceptedMs"] > REVOCATION_BOUND_MS, evidence
            stage.bot.wait_condition("Fenced", "False", "NotConfirmed", 30)
            time.sleep(LOOKED_ON_S)  # another attempt holds no old key to ask with, so it would arm too early
            assert _claim(stage.bot)["status"]["epoch"] == epoch + 1, "another attempt was made"
            assert {identity(row["client_order_id"])[0] for row in stage.bot.accepted()} == {epoch}
        disasters.bring_back(stage.cluster, node)
        # No release vouches for such a venue, either: who deletes the bot gives up the proof.
        stage.bot.kubectl(
            "annotate", "tradingbot", stage.bot.name, "soloist.trade/abandon=it does not revoke"
        )
    finally:
        _accept_deleted_keys_for(stage, 0)


def _accept_deleted_keys_for(stage: Stage, delay_ms: int) -> None:
    stage.oracle.change("PATCH", "/admin/switches", {"revocation_delay_ms": delay_ms})


def _last_attempt(stage: Stage) -> tuple[str, str]:
    last = takeovers.history(stage.bot)[-1]
    return str(last["outcome"]), str(last["reason"])


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
    _every_order_is_settled(stage)


def _every_order_is_settled(stage: Stage) -> None:
    """Halt the engine as a person would: then nothing may rest or be in doubt, and its journal tells of the exchange's every order.

    A bot that trades always has unsettled orders; a halted one has none, or there are some that it will never settle.
    """
    bot = stage.bot
    in_engine = ("exec", bot.pod, "-c", "engine", "--", "soloist-trader")
    bot.kubectl(*in_engine, "ctl", "halt", *takeovers.PERSON)
    eventually(
        lambda: (
            not stage.oracle.live_orders(stage.account)
            and (status := bot.engine_status())["state"] == "HALTED"
            and status["unsettledOrders"] == 0
            and not status["differences"]
        ),
        QUIET_S,
        lambda: f"{stage.oracle.live_orders(stage.account)}\n{bot.engine_status()}\n{bot.story()}",
        interval_s=1.0,
    )
    intended = _journaled(stage, "Intended", "client_order_id")
    unheard_of = {row["client_order_id"] for row in bot.accepted()} - intended
    assert not unheard_of, f"orders that the venue accepted and the journal does not know: {unheard_of}"
    filled = {row["trade_id"] for row in stage.oracle.events(stage.account) if row["kind"] == "filled"}
    # Excluded: counted for its order only, because the position that a start adopted from the venue holds it already.
    told = _journaled(stage, "Booked", "fill_id") | _journaled(stage, "Excluded", "fill_id")
    assert filled == told, f"fills that only one of exchange and journal knows: {filled ^ told}"
    held = {row["market"]: row["count"] for row in bot.engine_status()["positions"]}
    (account,) = stage.oracle.get("/admin/accounts", account=stage.account)["accounts"]
    there = {row["ticker"]: row["count"] for row in account["positions"]}
    assert {name: count for name, count in held.items() if float(count)} == {
        name: count for name, count in there.items() if float(count)
    }
    stage.notes.append(f"{len(bot.accepted())} orders and {len(filled)} fills, every one settled")


def _journaled(stage: Stage, kind: str, field: str) -> set[str]:
    """A field of every record of a kind in the engine's journal."""
    told = stage.bot.kubectl(
        "exec", stage.bot.pod, "-c", "engine", "--",
        "soloist-trader", "journal", "show", "--state-dir", STATE_DIR, "--kind", kind, "--json",
    )  # fmt: skip
    return {str(json.loads(line)["fields"][field]) for line in told.splitlines()}


def _claim(bot: Bot) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        bot.cluster.kubectl("get", "accountclaim", bot.status()["claim"], "-o", "json")
    )
    return found


def _secret_of(stage: Stage) -> str:
    return str(_claim(stage.bot)["status"]["secretName"])
