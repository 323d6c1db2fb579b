"""Two TradingBots and one account: never two holders."""

from __future__ import annotations

import copy
import json

import pytest

from tests.cluster import release
from tests.e2e.scene import Bot
from tests.support import eventually

NAMESPACE = "e2e-claim"


@pytest.mark.timeout(240)
def test_the_second_bot_on_one_account_says_who_holds_it(bot: Bot) -> None:
    bot.prepare("demo.yaml")
    bot.apply()
    bot.wait_ready(90)
    assert bot.account is not None

    same_secret = Bot(
        bot.cluster, bot.oracle, NAMESPACE, name="same-secret", manifest=copy.deepcopy(bot.manifest)
    )
    same_secret.manifest["metadata"]["name"] = same_secret.name
    other_secret = Bot(
        bot.cluster, bot.oracle, NAMESPACE, name="other-secret", manifest=copy.deepcopy(bot.manifest)
    )
    other_secret.manifest["metadata"]["name"] = other_secret.name
    other_secret.manifest["spec"]["account"]["managementKeySecretRef"]["name"] = "alias"
    alias = release.management_key_secret(bot.account, NAMESPACE, "alias")
    bot.kubectl("apply", "-f", "-", input=json.dumps(alias))
    try:
        same_secret.apply()
        other_secret.apply()
        said = same_secret.wait_condition("AccountClaimed", "False", "AccountConflict", 30)["message"]
        assert f"{NAMESPACE}/{bot.name}" in said
        # The alias is another claim in the cluster; the sole-key check at the venue refuses it.
        said = other_secret.wait_condition("Fenced", "False", "Conflict", 60)["message"]
        assert bot.status()["keyId"] in said
        eventually(bot.is_ready, 10, bot.story)
        keys = {order["key_id"] for order in bot.accepted()}
        assert keys == {bot.status()["keyId"]}, "orders of one key only"
    finally:
        other_secret.delete()
        same_secret.delete()
