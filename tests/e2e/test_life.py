"""The life of one Live bot on two real nodes, as its owner sees it, judged by the exchange's log."""

from __future__ import annotations

import base64
import json

import httpx
import pytest
from soloist_kalshi.signing import Signer

from tests.cluster import release
from tests.e2e.scene import Bot, ClientOrderId, largest_gap_ms, now_ms
from tests.support import eventually

NAMESPACE = "e2e-life"
READY_S = 60
TRADING_AGAIN_S = 20
LONGEST_GAP_MS = 5000


@pytest.mark.timeout(600)
def test_a_live_bot_from_apply_to_delete(bot: Bot, cluster) -> None:
    bot.prepare("demo.yaml")
    assert bot.account is not None
    began_ms = now_ms()
    bot.apply()
    bot.wait_ready(READY_S)
    print(f"apply to READY: {(now_ms() - began_ms) / 1000:.1f} s")
    assert_table(bot)

    first = bot.wait_accepted_after(began_ms, 20, epoch=1)
    print(f"apply to the first accepted order: {(first['time_ms'] - began_ms) / 1000:.1f} s")
    first_incarnation = ClientOrderId.parse(first["client_order_id"]).incarnation
    assert_key_file(bot)

    deleted_ms = now_ms()
    bot.kubectl("delete", "pod", bot.pod, "--wait=false")
    again = bot.wait_accepted_after(
        deleted_ms, TRADING_AGAIN_S + 5, epoch=1, not_incarnation=first_incarnation
    )
    last_of_old = max(
        o["time_ms"]
        for o in bot.accepted()
        if ClientOrderId.parse(o["client_order_id"]).incarnation == first_incarnation
    )
    outage_s = (again["time_ms"] - deleted_ms) / 1000
    print(f"pod deleted to trading again: {outage_s:.1f} s")
    assert outage_s < TRADING_AGAIN_S
    assert last_of_old < again["time_ms"]
    bot.oracle.assert_one_live_order_per_slot(bot.account.name)

    edit_a_limit(bot)
    rotate_by_hand(bot, cluster)

    bot.oracle.assert_one_live_order_per_slot(bot.account.name)
    leave_nothing_behind(bot, cluster)


def assert_table(bot: Bot) -> None:
    """`kubectl get tradingbots` answers the questions a person has."""
    header, row = bot.kubectl("get", "tradingbots").splitlines()
    assert header.split() == ["NAME", "READY", "MODE", "STATE", "VENUE", "EPOCH", "AGE"]
    assert row.split()[:6] == [bot.name, "True", "Live", "Running", "simulator", "1"]


def assert_key_file(bot: Bot) -> None:
    """The key in the pod: mode 0400, owned by the engine's user, on a memory-backed volume."""
    listing = bot.kubectl(
        "exec", bot.pod, "-c", "engine", "--", "ls", "-ln", "/var/run/soloist/keys/current/"
    )
    files = [line.split() for line in listing.splitlines() if line.startswith("-")]
    assert {line[-1] for line in files} >= {"g1.key-id", "g1.private-key.pem"}
    assert all(line[0].startswith("-r--------") and line[2] == "10001" for line in files), listing
    mounts = bot.kubectl("exec", bot.pod, "-c", "engine", "--", "cat", "/proc/mounts")
    # /var/run is a link to /run in the image, and the kernel shows where the mount really is.
    assert any(line.split()[1:3] == ["/run/soloist/keys", "tmpfs"] for line in mounts.splitlines()), mounts


def edit_a_limit(bot: Bot) -> None:
    """A changed limit reaches the engine, by a proven stop of the old pod."""
    before = bot.status()["configHash"]
    bot.manifest["spec"]["risk"]["maxOpenOrders"] = 17
    edited_ms = now_ms()
    bot.apply()
    eventually(lambda: bot.status().get("configHash") != before, 30, bot.story)
    bot.wait_ready(READY_S)
    bot.wait_accepted_after(edited_ms, 20)
    eventually(
        lambda: bot.engine_status()["risk"]["max_open_orders"] == 17,
        20,
        lambda: json.dumps(bot.engine_status()),
    )
    print(f"limit edited to READY with it: {(now_ms() - edited_ms) / 1000:.1f} s")


def rotate_by_hand(bot: Bot, cluster) -> None:
    """`kubectl create job --from=cronjob/…`: the old key gets 401, and orders go on."""
    assert bot.account is not None
    old_key_id = bot.status()["keyId"]
    old_key = key_from_epoch_secret(bot, old_key_id)
    assert venue_status(bot, cluster, old_key) == 200
    start_ms = now_ms()
    bot.kubectl("create", "job", f"--from=cronjob/{bot.name}-key-rotation", "rotate-by-hand")
    eventually(
        lambda: bot.get("job", "rotate-by-hand").get("status", {}).get("succeeded") == 1,
        200,
        lambda: bot.kubectl("logs", "job/rotate-by-hand", check=False) + bot.story(),
    )
    end_ms = now_ms()
    assert venue_status(bot, cluster, old_key) == 401
    eventually(lambda: bot.status()["keyId"] != old_key_id, 20, bot.story)
    gap_ms = largest_gap_ms(bot.accepted(start_ms), start_ms, end_ms)
    print(
        f"rotation took {(end_ms - start_ms) / 1000:.1f} s; longest time without an accepted order {gap_ms} ms"
    )
    assert gap_ms < LONGEST_GAP_MS
    new_orders = bot.wait_accepted_after(end_ms, 10)
    assert new_orders["key_id"] == bot.status()["keyId"]


def key_from_epoch_secret(bot: Bot, key_id: str) -> Signer:
    items = json.loads(bot.kubectl("get", "secrets", "-l", f"soloist.trade/bot={bot.name}", "-o", "json"))[
        "items"
    ]
    for item in items:
        data = {name: base64.b64decode(value) for name, value in item["data"].items()}
        for name, value in data.items():
            if name.endswith(".key-id") and value.decode().strip() == key_id:
                return Signer.from_pem(key_id, data[name.replace(".key-id", ".private-key.pem")])
    raise AssertionError(f"no epoch Secret holds key {key_id}: {[i['metadata']['name'] for i in items]}")


def venue_status(bot: Bot, cluster, signer: Signer) -> int:
    """HTTP status that the exchange gives to a signed read with this key."""
    path = "/trade-api/v2/portfolio/balance"
    with release.port_forward(cluster, release.SYSTEM_NAMESPACE, "deploy/soloist-exchange", 8443) as url:
        address = url.replace("http://", "https://") + path
        headers = signer.headers("GET", path, now_ms())
        # The certificate names the Service, not the forwarded port; what is asked here is the signature's verdict.
        return httpx.get(address, headers=headers, verify=False, timeout=10).status_code


def leave_nothing_behind(bot: Bot, cluster) -> None:
    """Deleting the TradingBot cancels, revokes and removes."""
    assert bot.account is not None
    key_id = bot.status()["keyId"]
    key = key_from_epoch_secret(bot, key_id)
    deleted_ms = now_ms()
    bot.delete()
    print(f"delete to gone: {(now_ms() - deleted_ms) / 1000:.1f} s")
    assert bot.oracle.live_orders(bot.account.name) == {}
    assert venue_status(bot, cluster, key) == 401
    eventually(lambda: bot.left_behind() == [], 30, lambda: str(bot.left_behind()))
    claims = json.loads(cluster.kubectl("get", "accountclaims", "-o", "json"))["items"]
    holders = [c["spec"].get("holder", {}).get("namespace") for c in claims if c["status"]["phase"] != "Idle"]
    assert NAMESPACE not in holders
