"""However book frames are lost, repeated, delayed, shuffled or overflow: when it is quiet, every watcher's books are the exchange's."""

import asyncio
from random import Random

import httpx
import pytest
from soloist_exchange.accounts import create_account
from soloist_exchange.store import Store
from soloist_kalshi.market_feed import MarketFeed, MarketFeedPolicy
from soloist_kalshi.messages import CreateOrder
from soloist_kalshi.numbers import count_from_text, price_from_dollars, price_to_dollars
from soloist_kalshi.orders import Accepted, OrderClient
from soloist_kalshi.planner import PlanLimits
from soloist_kalshi.signing import Signer

from tests.conformance.exchange_process import ExchangeProcess
from tests.property.soloist_kalshi_faults.client_world import BALANCE, MARKETS, SOCKET, now_ms

SEEDS = range(30)
ORDERS = 120
QUIET_S = 60
KINDS = (
    {"kind": "frame_dropped"},
    {"kind": "frame_duplicated"},
    {"kind": "frame_delayed", "delay_ms": 30},
    {"kind": "frame_reordered"},
    {"kind": "overflow"},
    {"kind": "close_with_frame"},
    {"kind": "close_without_frame"},
)
POLICY = MarketFeedPolicy(answer_ms=1_000, refresh_ms=500, tick_ms=100)


class Watcher:
    """One seed: a feed over some of the markets, and the faults of its frames."""

    def __init__(self, exchange, seed, signer):
        random = Random(seed)
        self.seed, self.name = seed, f"watcher-{seed}"
        self.changes = [sorted(random.sample(MARKETS, random.randint(1, 3))) for _ in range(3)]
        limits = PlanLimits(markets_per_sid=random.randint(1, 3), connections=10)
        self.feed = MarketFeed(
            exchange.ws_url,
            signer,
            on_book=lambda _: None,
            on_trade=(lambda _: None) if seed % 2 else None,
            limits=limits,
            policy=POLICY,
            websocket_policy=SOCKET,
            random=random,
        )
        self.faults = [
            dict(random.choice(KINDS)) | {"path": "orderbook_delta", "after": random.randint(0, 60), "times": random.randint(1, 4)}
            for _ in range(random.randint(1, 4))
        ]  # fmt: skip

    def differences(self, truth):
        return [
            f"seed {self.seed}: {ticker}: true {truth[ticker]}, believed {(book.yes, book.no, book.why)}, {self.feed.counts}"
            for ticker, book in self.feed.books.items()
            if (book.yes, book.no) != truth[ticker] or book.why
        ]


def levels(pairs):
    return {price_from_dollars(price): count_from_text(count) for price, count in pairs}


async def true_books(admin):
    books = {}
    for ticker in MARKETS:
        told = (await admin.get(f"/admin/books/{ticker}")).raise_for_status().json()
        books[ticker] = (levels(told["yes_dollars"]), levels(told["no_dollars"]))
    return books


async def trade(orders, random, part):
    """Move the books: orders that rest, trade, and are cancelled."""
    resting = []
    for number in range(ORDERS):
        ticker = random.choice(MARKETS)
        order = CreateOrder(
            ticker=ticker,
            side=random.choice(["bid", "ask"]),
            count="3.00",
            price=price_to_dollars(random.randint(45, 55) * 100),
            time_in_force="good_till_canceled",
            self_trade_prevention_type="maker",
            client_order_id=f"mover-{part}-{number}",
        )
        outcome = await orders.create(order, subaccount=0, deadline_ms=10_000)
        if isinstance(outcome, Accepted) and outcome.remaining_count:
            resting.append((outcome.order_id, ticker))
        if len(resting) > 10:
            order_id, ticker = resting.pop(random.randrange(len(resting)))
            await orders.cancel(order_id, market_ticker=ticker, subaccount=0, deadline_ms=10_000)


@pytest.fixture
def exchange(tmp_path):
    served = ExchangeProcess(tmp_path, tls=False)
    yield served
    served.close()


@pytest.mark.timeout(300)
async def test_when_quiet_every_book_is_the_exchanges(exchange):
    signers = {}
    store = Store(exchange.state_dir)
    try:
        for name in ["mover", *(f"watcher-{seed}" for seed in SEEDS)]:
            _, key_id, pem = create_account(store, name, BALANCE, "ed25519", now_ms(), tier="prestige")
            signers[name] = Signer.from_pem(key_id, pem)
    finally:
        store.close()
    watchers = [Watcher(exchange, seed, signers[f"watcher-{seed}"]) for seed in SEEDS]
    faults = [fault | {"account": each.name} for each in watchers for fault in each.faults]
    async with (
        OrderClient(exchange.rest_url, signers["mover"]) as orders,
        httpx.AsyncClient(base_url=exchange.admin_url, timeout=60) as admin,
    ):
        (await admin.post("/admin/faults", json=faults)).raise_for_status()
        tasks = [asyncio.create_task(each.feed.run()) for each in watchers]
        for part in range(3):
            for each in watchers:
                each.feed.watch(each.changes[part])
            await trade(orders, Random(part), part)
        (await admin.delete("/admin/faults")).raise_for_status()
        truth = await true_books(admin)
        # A last frame that was lost shows with the next refresh of its subscription, and not before.
        deadline = asyncio.get_running_loop().time() + QUIET_S
        while wrong := [text for each in watchers for text in each.differences(truth)]:
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(0.1)
        for each in watchers:
            await each.feed.close()
        await asyncio.gather(*tasks)
    assert not wrong, "\n".join(wrong)
    gaps = sum(each.feed.counts["gaps"] for each in watchers)
    assert gaps > 0, "no fault was ever seen: the test shows nothing"
