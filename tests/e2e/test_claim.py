"""Two TradingBots and one account: never two holders, whatever name the account goes by."""

from __future__ import annotations

import copy
import json

import pytest

from tests.cluster import release
from tests.e2e.scene import Bot, open_subaccount
from tests.support import eventually

NAMESPACE = "e2e-claim"


def like(bot: Bot, name: str, *, secret: str | None = None, subaccount: int = 0) -> Bot:
    """Another TradingBot on the same account; `secret` is another Secret with a management key of it."""
    made = Bot(bot.cluster, bot.oracle, NAMESPACE, name=name, manifest=copy.deepcopy(bot.manifest))
    made.manifest["metadata"]["name"] = name
    account = made.manifest["spec"]["account"]
    account["subaccount"] = subaccount
    if secret is not None:
        account["managementKeySecretRef"]["name"] = secret
    made.account = bot.account
    return made


def conflict(bot: Bot) -> str:
    """What a bot says about the account that it does not hold; empty when it says something else."""
    found = bot.condition("AccountClaimed")
    return str(found["message"]) if found.get("reason") == "AccountConflict" else ""


def one_holder(first: Bot, second: Bot) -> tuple[Bot, Bot]:
    """Wait until one bot is Ready and the other says who holds the account; returns them in that order."""

    def settled() -> bool:
        return any(a.is_ready() and f"{NAMESPACE}/{a.name}" in conflict(b) for a, b in pairs)

    pairs = ((first, second), (second, first))
    eventually(settled, 150, lambda: f"{first.status()}\n{second.status()}\n{first.story()}")
    return next((a, b) for a, b in pairs if a.is_ready())


@pytest.mark.timeout(300)
def test_two_bots_made_at_once_have_one_holder(bot: Bot) -> None:
    bot.prepare("demo.yaml")
    assert bot.account is not None
    alias_key = release.management_key_secret(bot.account, NAMESPACE, f"alias-of-{bot.account.name}")
    bot.kubectl("apply", "-f", "-", input=json.dumps(alias_key))
    alias = like(bot, "alias", secret=alias_key["metadata"]["name"])  # type: ignore[index]
    both = {"apiVersion": "v1", "kind": "List", "items": [bot.manifest, alias.manifest]}
    try:
        bot.kubectl("apply", "-f", "-", input=json.dumps(both))
        holder, other = one_holder(bot, alias)
        claim = json.loads(bot.cluster.kubectl("get", "accountclaim", holder.status()["claim"], "-o", "json"))
        assert other.status()["claim"] == holder.status()["claim"], "another Secret, and the same account"
        assert claim["status"]["phase"] == "Active"
        assert claim["spec"]["holder"]["name"] == holder.name
        assert claim["spec"]["accountIdentity"].startswith("marker:")
        holder.wait_accepted_after(0, 30)
        keys = {order["key_id"] for order in bot.accepted()}
        assert keys == {holder.status()["keyId"]}, "orders of one key only"
        assert not other.exists("statefulset", other.name)
    finally:
        alias.delete()


@pytest.mark.timeout(300)
def test_two_subaccounts_are_traded_side_by_side(bot: Bot) -> None:
    bot.prepare("demo.yaml")
    assert bot.account is not None
    neighbour = like(bot, "neighbour", subaccount=open_subaccount(bot))
    bot.apply()
    try:
        neighbour.apply()
        for each in (bot, neighbour):
            each.wait_ready(200)
        claims = {each.status()["claim"] for each in (bot, neighbour)}
        assert len(claims) == 2
        identities = {
            json.loads(bot.cluster.kubectl("get", "accountclaim", claim, "-o", "json"))["spec"][
                "accountIdentity"
            ]
            for claim in claims
        }
        assert len(identities) == 1, "one account of two subaccounts"
    finally:
        neighbour.delete()
