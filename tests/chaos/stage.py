"""Where a scenario plays: the installed chart, one fresh bot with an account of its own, and the exchange as witness."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import disasters, takeovers
from tests.chaos.judge import Verdict, identity, judge
from tests.cluster import release
from tests.cluster.access import Cluster
from tests.e2e.scene import Bot, Oracle, now_ms
from tests.support import eventually

NAMESPACE = "chaos"
READY_S = 120
RESTARTED_S = 90
"""How long a recovery may take before the run counts as failed; the limits of the table are far below."""
HEALED_S = 180
EXCHANGE = "soloist-exchange"
OPERATOR = "soloist-operator"


@dataclass
class Stage:
    """One run of a scenario."""

    cluster: Cluster
    oracle: Oracle
    bot: Bot
    fault_ms: int = 0
    old: takeovers.Incumbent | None = None
    notes: list[str] = field(default_factory=list)
    extra_bots: list[Bot] = field(default_factory=list)

    # ------------------------------------------------------------------ before

    def prepare(self, **parameters: float) -> None:
        """Create the bot, on the node that disasters happen to, and wait until it trades; `parameters` change its strategy."""
        self.bot.prepare("demo.yaml")
        self.bot.manifest["spec"]["strategy"]["parameters"] |= parameters
        takeovers.prefer(self.bot, disasters.worker(self.cluster))
        self.bot.apply()
        self.bot.wait_ready(READY_S)
        self.trades_since(now_ms())

    def begin(self) -> None:
        """The disaster happens now: recovery is measured from the last order that was accepted before."""
        self.old = takeovers.incumbent(self.bot) if self.bot.manifest and self.bot.accepted() else None
        self.fault_ms = now_ms()

    # ------------------------------------------------------------------ looking

    @property
    def account(self) -> str:
        """The bot's account at the exchange."""
        assert self.bot.account is not None
        return self.bot.account.name

    @property
    def node(self) -> str:
        """Where the engine's pod is by the API server's word."""
        return str(self.bot.get("pod", self.bot.pod)["spec"]["nodeName"])

    @property
    def epoch(self) -> int:
        """The claim's epoch as the bot shows it."""
        return int(self.bot.status()["epoch"])

    def incumbent(self) -> tuple[int, str]:
        """Epoch and incarnation of the last accepted order."""
        return identity(self.bot.accepted()[-1]["client_order_id"])

    def trades_since(self, time_ms: int, *, but: tuple[int, str] | None = None) -> tuple[int, str]:
        """Wait for an accepted order after a time, of another engine than `but`; return whose it is."""
        account = self.account

        def found() -> tuple[int, str] | None:
            rows = [identity(row["client_order_id"]) for row in self.oracle.accepted(account, time_ms)]
            return next((row for row in rows if row != but), None)

        return eventually(found, RESTARTED_S, self.bot.story, interval_s=0.3)

    def trades_again(self) -> tuple[int, str]:
        """Wait until another engine than the one at the fault trades; one without a journal is resumed as a person would."""
        assert self.old is not None, "begin() comes first"
        row = takeovers.wait_successor(self.bot, self.old, RESTARTED_S)
        return identity(row["client_order_id"])

    def taken_over(self, *causes: str) -> None:
        """Assert one takeover since `begin`, for one of these causes, onto a fresh volume.

        The old engine may still have written to its own volume, so it stays for a person to look at.
        """
        assert self.old is not None, "begin() comes first"
        last = takeovers.history(self.bot)[-1]
        assert (last["outcome"], last["epoch"]) == ("Active", self.old.epoch + 1), last
        assert last["reason"] in causes, last
        assert takeovers.pod_uid(self.bot) != self.old.pod_uid
        assert self.bot.status()["resolved"]["stateGeneration"] == "1"
        assert self.bot.exists("pvc", f"{self.bot.name}-state-0")

    def restarted_in_place(self) -> None:
        """Assert that the same pod trades with the same epoch as at `begin`: nothing was taken over."""
        assert self.old is not None, "begin() comes first"
        assert (self.epoch, takeovers.pod_uid(self.bot)) == (self.old.epoch, self.old.pod_uid)

    def whole_again(self) -> None:
        """Wait until the bot is Ready as if nothing had happened."""
        self.bot.wait_ready(HEALED_S)

    def unauthorized(self) -> list[dict[str, Any]]:
        """Requests that the exchange refused because of their key."""
        reply = self.oracle.get("/admin/events", kind="unauthorized")
        return list(reply["events"])

    def exchange_address(self) -> str:
        """The exchange's pod, as pods reach it behind its Service."""
        found = self.cluster.kubectl(
            "-n", release.SYSTEM_NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/name=soloist-exchange", "-o", "json",
        )  # fmt: skip
        return str(json.loads(found)["items"][0]["status"]["podIP"])

    def zombie_was_refused(self, deadline_s: float = 60) -> None:
        """Wait until the engine of the fault has tried with its deleted key, and was refused."""
        eventually(
            lambda: self.verdict().zombie_requests_rejected > 0,
            deadline_s,
            "the old engine never tried again: this run shows nothing",
            interval_s=1.0,
        )

    def zombie_orders_were_refused(self, deadline_s: float) -> None:
        """Wait until a new order of the engine of the fault arrived with its deleted key, and was refused."""
        eventually(
            lambda: self.verdict().zombie_orders_rejected > 0,
            deadline_s,
            "no order of the old engine arrived late: this run shows nothing",
            interval_s=1.0,
        )

    # ------------------------------------------------------------------ after

    def verdict(self, *, revocation_delay_ms: int = 0) -> Verdict:
        """What the exchange saw."""
        return self.verdict_of(self.bot, revocation_delay_ms=revocation_delay_ms)

    def verdict_of(self, bot: Bot, *, revocation_delay_ms: int = 0) -> Verdict:
        """What the exchange saw of one bot of this run."""
        assert bot.account is not None
        return judge(
            bot.accepted(),
            self.oracle.get("/admin/keys", account=bot.account.name)["keys"],
            self.unauthorized(),
            fault_ms=self.fault_ms,
            revocation_delay_ms=revocation_delay_ms,
        )

    def epoch_keys(self) -> list[dict[str, Any]]:
        """Every key that Soloist ever made for an engine of this account."""
        rows = self.oracle.get("/admin/keys", account=self.account)["keys"]
        return [row for row in rows if row["name"].startswith("soloist/")]

    def living_keys(self) -> list[dict[str, Any]]:
        """Those that the venue still accepts."""
        return [row for row in self.epoch_keys() if row["deleted_ms"] is None]

    def clean_up(self) -> None:
        """Delete the bots of this run, all at once."""
        bots = (*self.extra_bots, self.bot)
        for bot in bots:
            bot.kubectl("delete", "tradingbot", bot.name, "--wait=false", "--ignore-not-found")
        for bot in bots:
            bot.delete(deadline_s=HEALED_S)

    def second_bot(self, name: str) -> Bot:
        """Another bot of this run; it is deleted with it."""
        made = Bot(self.cluster, self.oracle, NAMESPACE, name=name)
        self.extra_bots.append(made)
        return made


def install(cluster: Cluster, images: Any) -> None:
    """Install the chart with operator and exchange on the control plane, away from the disasters."""
    selector = {"kubernetes.io/hostname": disasters.control_plane(cluster)}
    # A volume for the next engine and names in DNS are the cluster's to give: not from the node that is lost.
    pinned = json.dumps({"spec": {"template": {"spec": {"nodeSelector": selector}}}})
    for namespace, name in (("local-path-storage", "local-path-provisioner"), ("kube-system", "coredns")):
        cluster.kubectl("-n", namespace, "patch", "deployment", name, f"--patch={pinned}")
        cluster.kubectl("-n", namespace, "rollout", "status", "deployment", name, "--timeout=120s")
    release.install(cluster, images, bot_namespaces=(NAMESPACE,), node_selector=selector)
    cluster.kubectl("apply", "-f", "-", input=json.dumps(_open_door()))


def _open_door() -> dict[str, Any]:
    """The exchange hears every address, as a venue does: kube-router stops believing a pod's when its object is deleted."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "exchange-hears-zombies", "namespace": release.SYSTEM_NAMESPACE},
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": EXCHANGE}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 8443}]}],
        },
    }
