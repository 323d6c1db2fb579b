"""What the end-to-end tests share: a bot on the real cluster, and the exchange's own log as the oracle of what happened."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.cluster import release
from tests.support import eventually

LOOK_S = 0.5
"""Every look at the API server is a process of kubectl: looking without a pause would slow down what is looked at."""
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
KINDS = "statefulset,service,poddisruptionbudget,networkpolicy,configmap,lease,cronjob,job,pod,persistentvolumeclaim,secret"

OPEN_SUBACCOUNT = """
import asyncio, json, sys, uuid
from soloist_kalshi.messages import SubaccountTransfer
from soloist_kalshi.rest import RestClient
from soloist_kalshi.signing import Signer

async def main():
    told = json.load(sys.stdin)
    signer = Signer.from_pem(told["key_id"], told["private_key"].encode())
    url = "https://localhost:8443/trade-api/v2"
    async with RestClient(url, signer, ca_file="/etc/soloist-exchange/ca.crt") as client:
        number = await client.create_subaccount()
        transfer = SubaccountTransfer(client_transfer_id=str(uuid.uuid4()), from_subaccount=0, to_subaccount=number, amount_cents=100000)
        await client.transfer(transfer)
        print(number)

asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class ClientOrderId:
    """`s<claim hash>-<epoch>-<incarnation>-<sequence>`, numbers in base 36 (docs/interfaces.md)."""

    claim_hash: str
    epoch: int
    incarnation: str
    sequence: int

    @classmethod
    def parse(cls, text: str) -> ClientOrderId:
        head, epoch, incarnation, sequence = text.split("-")
        assert head.startswith("s"), text
        return cls(head[1:], int(epoch, 36), incarnation, int(sequence, 36))


class Oracle:
    """The exchange's admin API: it alone knows what was accepted, for whom, and when."""

    def __init__(self, url: str) -> None:
        # A forwarding that broke with its API server comes back on the same port (tests/cluster/release.py).
        self._http = httpx.Client(base_url=url, timeout=10, transport=httpx.HTTPTransport(retries=6))

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Ask the admin API (docs/exchange.md lists its calls)."""
        return self._http.get(path, params=query).raise_for_status().json()

    def change(self, method: str, path: str, body: Any) -> None:
        """Tell the exchange to behave otherwise: its switches and faults."""
        self._http.request(method, path, json=body).raise_for_status()

    def accepted(self, account: str, since_ms: int = 0) -> list[dict[str, Any]]:
        """Accepted orders of an account at or after a time, oldest first."""
        reply = self._http.get(
            "/admin/accepted-orders", params={"account": account, "since": 0}
        ).raise_for_status()
        return [order for order in reply.json()["orders"] if order["time_ms"] >= since_ms]

    def events(self, account: str) -> list[dict[str, Any]]:
        """The life of every order of an account, oldest first."""
        return (
            self._http.get("/admin/events", params={"account": account}).raise_for_status().json()["events"]
        )

    def live_orders(self, account: str) -> dict[str, dict[str, Any]]:
        """Orders accepted and not yet closed, by order id."""
        live: dict[str, dict[str, Any]] = {}
        for event in self.events(account):
            if event["kind"] == "accepted":
                live[event["order_id"]] = event
            elif event["kind"] == "closed":
                live.pop(event["order_id"], None)
        return live

    def assert_one_live_order_per_slot(self, account: str) -> int:
        """At most one live order per subaccount, market and side at any instant (one strategy, one level: that is the slot). Returns orders seen."""
        live: dict[tuple[int, str, str], set[str]] = defaultdict(set)
        place: dict[str, tuple[int, str, str]] = {}
        for event in self.events(account):
            order_id = event.get("order_id")  # a trigger of an order group has none
            if event["kind"] == "accepted":
                slot = place[order_id] = (event["subaccount"], event["ticker"], event["side"])
                live[slot].add(order_id)
                assert len(live[slot]) == 1, f"two live orders in {slot}: {sorted(live[slot])} at {event}"
            elif event["kind"] == "closed" and order_id in place:
                live[place[order_id]].discard(order_id)
        return len(place)


@dataclass(slots=True)
class Bot:
    """One TradingBot in a namespace of its own, with an account of its own at the exchange."""

    cluster: Any
    oracle: Oracle
    namespace: str
    name: str = "demo"
    account: release.Account | None = None
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def pod(self) -> str:
        return f"{self.name}-0"

    def kubectl(self, *args: str, **options: Any) -> str:
        return self.cluster.kubectl("-n", self.namespace, *args, **options)

    def get(self, kind: str, name: str | None = None) -> dict[str, Any]:
        return json.loads(self.kubectl("get", kind, name or self.name, "-o", "json"))

    def exists(self, kind: str, name: str) -> bool:
        return bool(self.kubectl("get", kind, name, "--ignore-not-found", "-o", "name").strip())

    def prepare(self, example: str = "demo.yaml", *, with_account: bool = True) -> None:
        """Load an example into this namespace; a Live one gets an account and its management key."""
        self.manifest = next(
            d for d in yaml.safe_load_all((EXAMPLES / example).read_text()) if d["kind"] == "TradingBot"
        )
        self.manifest["metadata"] |= {"name": self.name, "namespace": self.namespace}
        if with_account:
            self.account = release.create_account(self.cluster, f"{self.namespace}-{time.time_ns():x}")
            # A Secret of its own is a claim of its own: epochs begin at 1, also in a cluster that is kept between runs.
            reference = self.manifest["spec"]["account"]["managementKeySecretRef"]
            reference["name"] = f"management-key-of-{self.account.name}"
            secret = release.management_key_secret(self.account, self.namespace, reference["name"])
            self.kubectl("apply", "-f", "-", input=json.dumps(secret))

    def apply(self) -> str:
        return self.kubectl("apply", "-f", "-", input=json.dumps(self.manifest))

    def condition(self, kind: str) -> dict[str, Any]:
        bot = self.get("tradingbot")
        found = next((c for c in bot.get("status", {}).get("conditions", []) if c["type"] == kind), {})
        return found | {"current": found.get("observedGeneration") == bot["metadata"]["generation"]}

    def status(self) -> dict[str, Any]:
        return self.get("tradingbot").get("status", {})

    def is_ready(self) -> bool:
        ready = self.condition("Ready")
        return ready.get("status") == "True" and ready["current"]

    def wait_ready(self, deadline_s: float) -> None:
        eventually(
            self.is_ready,
            deadline_s,
            lambda: f"not Ready: {json.dumps(self.status(), indent=1)}\n{self.story()}",
            interval_s=LOOK_S,
        )

    def wait_condition(self, kind: str, status: str, reason: str, deadline_s: float) -> dict[str, Any]:
        eventually(
            lambda: (
                (c := self.condition(kind)).get("status") == status
                and c.get("reason") == reason
                and c["current"]
            ),
            deadline_s,
            lambda: f"{kind} is not {status}/{reason}: {json.dumps(self.status(), indent=1)}\n{self.story()}",
            interval_s=LOOK_S,
        )
        return self.condition(kind)

    def story(self) -> str:
        """What a person would look at when this bot does not do what it should."""
        return "\n".join(
            (
                self.kubectl("get", "all,job,lease,pvc", "-o", "wide", check=False),
                self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False)[-4000:],
                self.kubectl("logs", self.pod, "-c", "engine", "--tail=30", check=False),
            )
        )

    def engine_status(self) -> dict[str, Any]:
        """The engine's own /status."""
        return json.loads(
            self.kubectl("exec", self.pod, "-c", "engine", "--", "soloist-trader", "status", "--json")
        )

    def accepted(self, since_ms: int = 0) -> list[dict[str, Any]]:
        assert self.account is not None
        return self.oracle.accepted(self.account.name, since_ms)

    def wait_accepted_after(self, since_ms: int, deadline_s: float, **wanted: Any) -> dict[str, Any]:
        """Wait for the first accepted order at or after a time whose client order id has the wanted attributes (`not_incarnation`, `epoch`)."""

        def first() -> dict[str, Any] | None:
            for order in self.accepted(since_ms):
                parsed = ClientOrderId.parse(order["client_order_id"])
                if "epoch" in wanted and parsed.epoch != wanted["epoch"]:
                    continue
                if parsed.incarnation == wanted.get("not_incarnation"):
                    continue
                return order
            return None

        eventually(
            lambda: first() is not None,
            deadline_s,
            lambda: f"no such order since {since_ms}: {wanted}\n{self.story()}",
        )
        order = first()
        assert order is not None
        return order

    def delete(self, deadline_s: float = 90) -> None:
        self.kubectl("delete", "tradingbot", self.name, "--wait=false", "--ignore-not-found")
        eventually(
            lambda: not self.exists("tradingbot", self.name),
            deadline_s,
            lambda: f"not deleted: {json.dumps(self.get('tradingbot'), indent=1)}\n{self.story()}",
            interval_s=LOOK_S,
        )

    def left_behind(self) -> list[str]:
        """Everything that still carries the bot's label in its namespace."""
        selector = f"soloist.trade/bot={self.name}"
        return self.kubectl("get", KINDS, "-l", selector, "--ignore-not-found", "-o", "name").split()


def largest_gap_ms(orders: list[dict[str, Any]], start_ms: int, end_ms: int) -> int:
    """The longest time inside [start, end] without an accepted order."""
    times = [start_ms, *(o["time_ms"] for o in orders if start_ms <= o["time_ms"] <= end_ms), end_ms]
    return max(later - earlier for earlier, later in pairwise(times))


def open_subaccount(bot: Bot) -> int:
    """Open another subaccount of the bot's account, with a thousand dollars in it; returns its number."""
    assert bot.account is not None
    told = json.dumps({"key_id": bot.account.key_id, "private_key": bot.account.private_key})
    shell = ("-n", release.SYSTEM_NAMESPACE, "exec", "-i", "deploy/soloist-exchange", "--", "python", "-c")
    return int(bot.cluster.kubectl(*shell, OPEN_SUBACCOUNT, input=told))


def now_ms() -> int:
    """The exchange runs on this machine's clock: kind's nodes are containers of it."""
    return time.time_ns() // 1_000_000
