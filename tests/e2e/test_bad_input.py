"""Every mistake a person makes gets a message that names the field and the fix, and never stops a bot that runs."""

from __future__ import annotations

import base64
import copy
import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.paths import binary
from tests.e2e.scene import Bot, now_ms
from tests.support import eventually

NAMESPACE = "e2e-bad"
Edit = Callable[[dict[str, Any]], Any]


def applied(bot: Bot, manifest: dict[str, Any]) -> str:
    """What `kubectl apply` answers, its standard error included."""
    done = subprocess.run(
        [binary("kubectl"), "--kubeconfig", bot.cluster.kubeconfig, "apply", "-f", "-"],
        input=json.dumps(manifest),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.stdout + done.stderr


def edited(bot: Bot, edit: Edit, name: str | None = None) -> dict[str, Any]:
    manifest = copy.deepcopy(bot.manifest)
    if name:
        manifest["metadata"]["name"] = name
    edit(manifest["spec"])
    return manifest


REFUSED_AT_ADMISSION: dict[str, tuple[Edit, list[str]]] = {
    "Live without account": (lambda s: s.pop("account"), ["spec", "account", "Live"]),
    "both key references": (
        lambda s: s["account"].update(keySecretRef={"name": "mine"}),
        ["keySecretRef", "managementKeySecretRef"],
    ),
    "malformed money": (lambda s: s["risk"].update(maxExposureDollars="ten"), ["maxExposureDollars"]),
    "unknown mode": (lambda s: s.update(mode="Real"), ["mode", "Live", "Paper"]),
    "a field that does not exist": (lambda s: s.update(replicas=2), ["replicas"]),
}


@pytest.mark.parametrize("mistake", REFUSED_AT_ADMISSION)
def test_refused_at_admission(bot: Bot, mistake: str) -> None:
    edit, words = REFUSED_AT_ADMISSION[mistake]
    bot.prepare("demo.yaml", with_account=False)
    said = applied(bot, edited(bot, edit))
    assert not bot.exists("tradingbot", bot.name), said
    assert all(word in said for word in words), said
    print(f"{mistake}: {said.strip()}")


@pytest.mark.timeout(180)
def test_a_bad_edit_never_stops_a_running_bot(bot: Bot) -> None:
    bot.prepare("demo.yaml")
    bot.apply()
    bot.wait_ready(90)
    uid = bot.get("pod", bot.pod)["metadata"]["uid"]
    mistakes: dict[str, tuple[Edit, list[str]]] = {
        "unknown strategy": (
            lambda s: s["strategy"].update(name="treshold"),
            ["spec.strategy.name", "threshold"],
        ),
        "unknown parameter": (
            lambda s: s["strategy"]["parameters"].update(stopLos="0.10"),
            ["spec.strategy.parameters.stopLos"],
        ),
    }
    for mistake, (edit, words) in mistakes.items():
        bot.kubectl("apply", "-f", "-", input=json.dumps(edited(bot, edit)))
        said = bot.wait_condition("Ready", "False", "InvalidConfiguration", 60)["message"]
        assert all(word in said for word in words), said
        print(f"{mistake}: {said}")
        bot.wait_accepted_after(now_ms(), 10)
        assert bot.get("pod", bot.pod)["metadata"]["uid"] == uid, "the running engine was replaced"
    bot.apply()
    bot.wait_ready(30)
    assert bot.get("pod", bot.pod)["metadata"]["uid"] == uid


@pytest.mark.timeout(120)
def test_an_unknown_venue_names_those_that_exist(bot: Bot) -> None:
    bot.prepare("demo.yaml", with_account=False)
    bot.manifest["spec"]["venue"] = "simulater"
    bot.apply()
    said = bot.wait_condition("Ready", "False", "UnknownVenue", 30)["message"]
    assert "spec.venue" in said
    assert "simulator" in said


SECRETS: dict[str, tuple[dict[str, str] | None, str, list[str]]] = {
    "missing Secret": (None, "ManagementKeyMissing", ["spec.account.managementKeySecretRef", "key-id"]),
    "Secret without the right keys": (
        {"apikey": "x"},
        "ManagementKeyMissing",
        ["spec.account.managementKeySecretRef", "private-key.pem"],
    ),
    "unreadable key": (
        {"key-id": "k", "private-key.pem": "not a key"},
        "ManagementKeyInvalid",
        ["spec.account.managementKeySecretRef", "private-key.pem"],
    ),
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mistake", SECRETS)
def test_a_management_key_that_cannot_be_used(bot: Bot, mistake: str) -> None:
    data, reason, words = SECRETS[mistake]
    bot.name = "key-" + mistake.rsplit(maxsplit=1)[-1].lower()  # a bot's name has at most 32 characters
    bot.prepare("demo.yaml", with_account=False)
    secret_name = f"{bot.name}-secret"
    bot.manifest["spec"]["account"]["managementKeySecretRef"]["name"] = secret_name
    if data is not None:
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret_name}, "data": encoded}
        bot.kubectl("apply", "-f", "-", input=json.dumps(body))
    bot.apply()
    said = bot.wait_condition("AccountClaimed", "False", reason, 60)["message"]
    assert all(word in said for word in words), said
    eventually(lambda: bot.condition("Ready").get("status") == "False", 10, bot.story)
    print(f"{mistake}: {said}")
