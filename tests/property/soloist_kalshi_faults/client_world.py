"""Seeds of faults and order actions against a real exchange, and the comparison of what the client believes with what is true.

A round is some dozens of seeds at once. Each has an account, an order client and an account view of its own, and all trade in the same
few markets, so that fills happen to everybody at any time. When a round has ended its actions, its faults are taken away; when all its
views say that they are settled, they are compared with the exchange's own log, books and money.
"""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import httpx
from soloist_exchange.accounts import create_account
from soloist_exchange.store import Store
from soloist_kalshi.account_facts import OrderFacts
from soloist_kalshi.account_view import AccountView, AccountViewPolicy
from soloist_kalshi.errors import VenueError
from soloist_kalshi.messages import AmendOrder, CreateOrder
from soloist_kalshi.numbers import (
    count_from_text,
    count_to_text,
    money_from_dollars,
    price_from_dollars,
    price_to_dollars,
)
from soloist_kalshi.orders import OrderClient
from soloist_kalshi.rest import ReadPolicy, RestClient
from soloist_kalshi.signing import Signer
from soloist_kalshi.websocket import WebSocketPolicy

from tests.conformance.exchange_process import ExchangeProcess

MARKETS = ("SIM-STATIC-1", "SIM-STATIC-2", "SIM-STATIC-3")
PAUSED = MARKETS[2]
SEEDS = int(os.environ.get("SOLOIST_FAULT_SEEDS", "1000"))
FIRST_SEED = int(os.environ.get("SOLOIST_FAULT_FIRST_SEED", "0"))
ROUND = 125
BALANCE = money_from_dollars("10000.00")
WRITE_MS = 1_000
SETTLE_S = 90
LAG_MS = 400

READS = ReadPolicy(attempts=8, request_ms=3_000, deadline_ms=30_000, base_wait_ms=5, cap_wait_ms=200)
SOCKET = WebSocketPolicy(connect_ms=10_000, idle_ms=20_000, pong_ms=20_000, base_wait_ms=5, cap_wait_ms=100)
VIEW = AccountViewPolicy(
    period_ms=20_000, retry_ms=500, spacing_ms=250, answer_ms=2_000, overlap_ms=120_000, absent_after_ms=1_500
)

# What may happen to a request. Whatever an answer is, the request was carried out when it arrived, or never will be.
REQUEST_FAULTS = (
    {"kind": "error_before"},
    {"kind": "error_before", "body": "json", "status": 500},
    {"kind": "error_after"},
    {"kind": "error_after", "body": "json", "status": 502},
    {"kind": "reply_lost_before"},
    {"kind": "reply_lost_after"},
    {"kind": "connection_reset", "when": "before"},
    {"kind": "connection_reset", "when": "after"},
    {"kind": "half_open", "when": "before"},
    {"kind": "half_open", "when": "after"},
    {"kind": "slow", "delay_ms": 60},
    {"kind": "slow", "delay_ms": 1_500},
    {"kind": "truncated"},
    {"kind": "rate_limited"},
    {"kind": "clock_skew"},
    {"kind": "forbidden"},
    {"kind": "fill_before_reply", "delay_ms": 20},
)
SOCKET_FAULTS = (
    {"kind": "websocket_refused"},
    {"kind": "close_with_frame"},
    {"kind": "close_without_frame"},
    {"kind": "overflow"},
    {"kind": "frame_dropped"},
    {"kind": "frame_dropped", "path": "fill"},
    {"kind": "frame_dropped", "path": "user_orders"},
    {"kind": "frame_dropped", "path": "market_positions"},
    {"kind": "frame_duplicated"},
    {"kind": "frame_delayed", "delay_ms": 40},
    {"kind": "frame_delayed", "delay_ms": 200, "path": "user_orders"},
    {"kind": "frame_reordered"},
    {"kind": "duplicate_fill"},
    {"kind": "late_fill_after_cancel", "delay_ms": 80},
)


def faults_of(name: str, random: Random) -> list[dict[str, object]]:
    """Draw the faults of one seed; each is counted, so that they do not depend on other seeds' dice."""
    drawn: list[dict[str, object]] = []
    for _ in range(random.randint(1, 3)):
        fault = dict(random.choice(REQUEST_FAULTS))
        where = random.choice(["writes", "writes", "writes", "POST", "DELETE", "GET"])
        if where == "GET":
            fault |= {"method": "GET", "path": "/portfolio"}
        else:
            fault |= {"path": "/portfolio/events", "method": "" if where == "writes" else where}
        drawn.append(fault | {"after": random.randint(0, 6), "times": random.randint(1, 2)})
    for _ in range(random.randint(1, 4)):
        fault = dict(random.choice(SOCKET_FAULTS))
        lasting = fault["kind"] in {"frame_dropped", "frame_duplicated", "frame_delayed", "frame_reordered"}
        times = random.choice([1, 2, 0]) if lasting else random.randint(1, 2)
        drawn.append(fault | {"after": random.randint(0, 8), "times": times})
    return [fault | {"account": name, "name": name} for fault in drawn]


@dataclass
class Totals:
    """What a whole test did, for its last line."""

    seeds: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    facts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        outcomes = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        facts = ", ".join(f"{count} {name}" for name, count in sorted(self.facts.items()))
        return f"{self.seeds} seeds: {outcomes}; {facts}"


TOTALS = Totals()


class Trader:
    """One seed: an account whose requests and frames have faults, its clients, and what it meant to do."""

    def __init__(
        self,
        exchange: ExchangeProcess,
        seed: int,
        prefix: str,
        *,
        make_orders: Callable[..., OrderClient],
        make_view: Callable[..., AccountView],
        store: Store,
        now_ms: int,
    ) -> None:
        self.seed = seed
        self.name = f"{prefix}{seed}"
        self.random = Random(seed)
        _, key_id, pem = create_account(store, self.name, BALANCE, "ed25519", now_ms, tier="prestige")
        signer = Signer.from_pem(key_id, pem)
        self.rest = RestClient(
            exchange.rest_url, signer, ca_file=exchange.ca_file, policy=READS, random=self.random
        )
        self.orders = make_orders(exchange.rest_url, signer, ca_file=exchange.ca_file)
        self.view = make_view(
            self.rest,
            exchange.ws_url,
            signer,
            subaccount=0,
            ca_file=exchange.ca_file,
            policy=VIEW,
            websocket_policy=SOCKET,
            random=self.random,
        )
        self.faults = faults_of(self.name, self.random)
        self.intents: set[str] = set()
        self.has_acted = False
        self.outcomes: Counter[str] = Counter()

    async def act(self) -> None:
        """Do the seed's actions, one after the other, whatever becomes of each."""
        await self._create()
        actions = (
            [self._create] * 3 + [self._amend] * 3 + [self._cancel] * 2 + [self._decrease] * 2
            + [self._create_batch, self._cancel_batch, self._pause]
        )  # fmt: skip
        for _ in range(self.random.randint(5, 10)):
            await self.random.choice(actions)()
        self.has_acted = True

    async def settle(self) -> None:
        """Wait until the view says itself that it is settled, and that it has read what was true after the last action."""
        quiet_ms = now_ms()
        async with asyncio.timeout(SETTLE_S):
            while True:
                try:
                    if await self.view.read() and self.view.is_current and self.view.as_of_ms > quiet_ms:
                        return
                except VenueError as error:
                    self.outcomes[f"settling: {type(error).__name__}"] += 1
                await asyncio.sleep(0.2)

    def _order(self) -> CreateOrder:
        name = f"{self.name}-{len(self.intents)}"
        self.intents.add(name)
        return CreateOrder(
            ticker=self.random.choice(MARKETS),
            side=self.random.choice(["bid", "ask"]),
            count=count_to_text(self.random.randint(1, 5) * 100 + self.random.choice([0, 0, 50])),
            price=price_to_dollars(self.random.randint(42, 58) * 100),
            time_in_force=self.random.choice(["good_till_canceled"] * 4 + ["immediate_or_cancel"]),
            self_trade_prevention_type=self.random.choice(["taker_at_cross", "maker"]),
            client_order_id=name,
        )

    async def _create(self) -> None:
        order = self._order()
        facts = self.view.facts
        facts.intend(order, now_ms())
        outcome = await self.orders.create(order, subaccount=0, deadline_ms=WRITE_MS)
        self._note(outcome)
        facts.created(order.client_order_id or "", outcome, now_ms())

    async def _create_batch(self) -> None:
        orders = [self._order() for _ in range(self.random.randint(2, 4))]
        facts = self.view.facts
        for order in orders:
            facts.intend(order, now_ms())
        outcomes = await self.orders.create_batch(orders, subaccount=0, deadline_ms=WRITE_MS)
        for order, outcome in zip(orders, outcomes, strict=True):
            self._note(outcome)
            facts.created(order.client_order_id or "", outcome, now_ms())

    async def _cancel(self) -> None:
        if order := self._any_order():
            outcome = await self.orders.cancel(
                order.order_id, market_ticker=order.ticker, subaccount=0, deadline_ms=WRITE_MS
            )
            self._note(outcome)
            self.view.facts.changed(order.order_id, outcome)

    async def _cancel_batch(self) -> None:
        resting = self.view.facts.resting
        chosen = self.random.sample(resting, min(len(resting), 3))
        if not chosen:
            return
        outcomes = await self.orders.cancel_batch(
            [(order.order_id, order.ticker) for order in chosen], subaccount=0, deadline_ms=WRITE_MS
        )
        for order, outcome in zip(chosen, outcomes, strict=True):
            self._note(outcome)
            self.view.facts.changed(order.order_id, outcome)

    async def _amend(self) -> None:
        if order := self._any_order():
            change = AmendOrder(
                ticker=order.ticker,
                side=order.side,
                price=price_to_dollars(self.random.randint(42, 58) * 100),
                count=count_to_text(order.filled + self.random.randint(1, 5) * 100),
            )
            outcome = await self.orders.amend(order.order_id, change, subaccount=0, deadline_ms=WRITE_MS)
            self._note(outcome)
            self.view.facts.changed(order.order_id, outcome)

    async def _decrease(self) -> None:
        if order := self._any_order():
            outcome = await self.orders.decrease(
                order.order_id, market_ticker=order.ticker, subaccount=0, deadline_ms=WRITE_MS, by=50
            )
            self._note(outcome)
            self.view.facts.changed(order.order_id, outcome)

    async def _pause(self) -> None:
        """Let frames and other seeds go first."""
        await asyncio.sleep(self.random.random() * 0.05)

    def _any_order(self) -> OrderFacts | None:
        resting = self.view.facts.resting
        return self.random.choice(resting) if resting else None

    def _note(self, outcome: object) -> None:
        self.outcomes[type(outcome).__name__] += 1


class Round:
    """Some seeds at once. `differences` is empty when every view is the truth."""

    def __init__(
        self,
        exchange: ExchangeProcess,
        seeds: range,
        *,
        prefix: str = "seed-",
        make_orders: Callable[..., OrderClient] = OrderClient,
        make_view: Callable[..., AccountView] = AccountView,
    ) -> None:
        self._exchange = exchange
        # Every other round reads the past, as the venue's own reads do (section 3.5).
        self._lag_ms = LAG_MS if seeds.start // ROUND % 2 else 0
        store = Store(exchange.state_dir)
        try:
            self.traders = [
                Trader(
                    exchange,
                    seed,
                    prefix,
                    make_orders=make_orders,
                    make_view=make_view,
                    store=store,
                    now_ms=now_ms(),
                )
                for seed in seeds
            ]
        finally:
            store.close()

    async def run(self, totals: Totals) -> list[str]:
        """Run all seeds and return what the views have wrong."""
        async with httpx.AsyncClient(base_url=self._exchange.admin_url, timeout=60) as admin:
            faults = [fault for trader in self.traders for fault in trader.faults]
            tasks: list[asyncio.Task[None]] = []
            try:
                for trader in self.traders:
                    await trader.rest.get_account_limits()
                (await admin.post("/admin/faults", json=faults)).raise_for_status()
                lag = {"read_model_lag_ms": self._lag_ms}
                (await admin.patch("/admin/switches", json=lag)).raise_for_status()
                tasks = [asyncio.create_task(trader.view.run()) for trader in self.traders]
                acting = asyncio.gather(*(trader.act() for trader in self.traders))
                await self._pause_a_market(admin)
                await acting
                (await admin.delete("/admin/faults")).raise_for_status()
                await asyncio.gather(*(trader.settle() for trader in self.traders))
                found = await self._compare(admin, totals)
            finally:
                await asyncio.gather(*(trader.view.close() for trader in self.traders))
                for trader in self.traders:
                    await trader.orders.close()
                    await trader.rest.close()
            for task in tasks:
                await task
        return found

    async def _pause_a_market(self, admin: httpx.AsyncClient) -> None:
        """Pause one market in the middle of the burst, as soon as orders rest in it: opening it again cancels all of them."""
        while not any(
            order.ticker == PAUSED for trader in self.traders for order in trader.view.facts.resting
        ):
            if all(trader.has_acted for trader in self.traders):
                return
            await asyncio.sleep(0.05)
        for what in ("deactivate", "activate"):
            (await admin.post(f"/admin/markets/{PAUSED}/{what}")).raise_for_status()
            await asyncio.sleep(0.2)

    async def _compare(self, admin: httpx.AsyncClient, totals: Totals) -> list[str]:
        truth = (await admin.get("/admin/oracle")).raise_for_status().json()
        accounts = {account["account"]: account for account in truth["accounts"]}
        found = [f"the exchange lost or made money: {truth['conservation']}"] * bool(
            truth["conservation"]["difference"]
        )
        for trader in self.traders:
            reply = await admin.get("/admin/events", params={"account": trader.name})
            events = reply.raise_for_status().json()["events"]
            wrong = differences(trader, accounts[trader.name], events)
            found += [f"seed {trader.seed}: {text}; faults {json.dumps(trader.faults)}" for text in wrong]
            totals.seeds += 1
            totals.outcomes += trader.outcomes
            facts = trader.view.facts
            totals.facts += Counter(
                orders=len(facts.orders), fills=len(facts.fills), late_frames=facts.late_orders,
                repeated_fills=facts.repeated_fills, reconnects=max(0, trader.view.socket.connections - 1),
            )  # fmt: skip
        return found


def differences(trader: Trader, account: dict, events: list[dict]) -> list[str]:
    """Return in words where a view is not the truth, and every order that was accepted without being meant, or twice."""
    facts, found = trader.view.facts, []
    accepted = [event for event in events if event["kind"] == "accepted"]
    names = Counter(event["client_order_id"] for event in accepted)
    found += [f"{name} was accepted {times} times" for name, times in names.items() if times > 1]
    found += [f"{name} was accepted and never meant" for name in names if name not in trader.intents]

    closed = {event["order_id"]: event for event in events if event["kind"] == "closed"}
    resting = {order["order_id"]: order for order in account["orders"]}
    true_orders = {}
    for event in accepted:
        order_id = event["order_id"]
        if order_id in resting:
            order = resting[order_id]
            state = ("resting", count_from_text(order["filled"]), count_from_text(order["remaining"]))
            true_orders[order_id] = (*state, price_from_dollars(order["price_dollars"]))
        else:
            end = closed.get(order_id)
            true_orders[order_id] = (end["status"], end["filled"], 0, end["price"]) if end else ("?",)
    believed = {
        order.order_id: (order.status, order.filled, order.remaining, order.price)
        for order in facts.orders.values()
    }
    found += _compared("order (status, filled, remaining, price)", true_orders, believed)

    true_fills = {
        (event["trade_id"], event["order_id"]): (
            event["price"],
            event["count"],
            event["fee"],
            event["is_taker"],
        )
        for event in events
        if event["kind"] == "filled"
    }
    fills = {key: (fill.price, fill.count, fill.fee, fill.is_taker) for key, fill in facts.fills.items()}
    found += _compared("fill (price, count, fee, is_taker)", true_fills, fills)

    positions = {item["ticker"]: count_from_text(item["count"]) for item in account["positions"]}
    true_positions = {ticker: count for ticker, count in positions.items() if count}
    found += _compared("position", true_positions, facts.positions)

    money = sum(
        money_from_dollars(item["cash"]) - money_from_dollars(item["reserved"]) for item in account["money"]
    )
    if facts.balance != money:
        found.append(f"balance: true {money}, believed {facts.balance}")
    if facts.intents:
        found.append(f"open intents: {sorted(facts.intents)}")
    return found


def _compared(what: str, true: dict, believed: dict) -> list[str]:
    return [
        f"{what} {key}: true {true.get(key)}, believed {believed.get(key)}"
        for key in sorted({*true, *believed}, key=str)
        if true.get(key) != believed.get(key)
    ]


def now_ms() -> int:
    """Return the Unix time in ms."""
    return time.time_ns() // 1_000_000
