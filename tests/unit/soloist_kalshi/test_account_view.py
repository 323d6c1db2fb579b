"""The account view against real sockets: a REST server that tells a scripted truth, and channels whose frames the test sends or loses."""

import asyncio
from datetime import UTC, datetime
from random import Random
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from soloist_kalshi import messages as m
from soloist_kalshi.account_view import AccountView, AccountViewPolicy
from soloist_kalshi.frames import (
    ErrorFrame,
    ErrorMessage,
    FillFrame,
    MarketPositionFrame,
    SubscribedFrame,
    SubscribedMessage,
    UserOrderFrame,
)
from soloist_kalshi.orders_outcomes import Amended, Unknown
from soloist_kalshi.rest import ReadPolicy, RestClient
from soloist_kalshi.signing import Signer

from tests.unit.soloist_kalshi.account_story import TrueFill, Truth, balance, position_frame, position_row
from tests.unit.soloist_kalshi.kalshi_servers import ScriptedServer, eventually, reply
from tests.unit.soloist_kalshi.test_websocket import KEYS, Venue
from tests.unit.soloist_kalshi.test_websocket import QUICK as QUICK_SOCKET

READS = ReadPolicy(attempts=3, request_ms=4_000, deadline_ms=4_500, base_wait_ms=1, cap_wait_ms=2)
AMPLE = m.BucketLimits(refill_rate=100_000, bucket_capacity=100_000)
SIGNER = Signer.from_pem("key-1", KEYS.private_pem)
PATIENT = AccountViewPolicy(period_ms=600_000, retry_ms=20, spacing_ms=1, answer_ms=60_000, absent_after_ms=0)
NEW = Truth("o-1")
PART = NEW.changed(filled=400, remaining=600)
FILL = TrueFill("t-1", "o-1", "bid", 400)


class Books:
    """What REST tells of the account."""

    def __init__(self):
        self.orders: dict[str, Truth] = {}
        self.fills: list[TrueFill] = []
        self.money = 5_000_000
        self.as_of = "2030-01-01T00:00:00Z"
        self.fails = 0
        self.asked: list[str] = []
        self.before = lambda _: None

    async def answer(self, request):
        target = urlsplit(request.target)
        path, query = target.path.removeprefix("/trade-api/v2"), parse_qs(target.query)
        self.asked.append(path)
        self.before(path)
        if self.fails:
            self.fails -= 1
            return reply(401, b'{"error":{"code":"authentication_error","message":"authentication_error"}}')
        if path.startswith("/portfolio/orders/"):
            order = self.orders.get(path.rpartition("/")[2])
            if order is None:
                return reply(404, b'{"error":{"code":"not_found","message":"not found"}}')
            return reply(200, msgspec.json.encode(m.OrderReply(order=order.row())))
        return reply(200, msgspec.json.encode(self._body(path, query)))

    def _body(self, path, query):
        if path == "/portfolio/orders":
            status = query.get("status", [None])[0]
            return m.OrderPage(
                orders=[order.row() for order in self.orders.values() if status in {None, order.status}]
            )
        if path == "/portfolio/fills":
            wanted = query.get("order_id", [None])[0]
            return m.FillPage(fills=[fill.row() for fill in self.fills if wanted in {None, fill.order_id}])
        if path == "/portfolio/positions":
            count = sum(fill.count if fill.side == "bid" else -fill.count for fill in self.fills)
            return m.PositionPage(market_positions=[position_row(count)], event_positions=[])
        if path == "/portfolio/balance":
            return balance(self.money)
        assert path == "/exchange/user_data_timestamp"
        return m.UserDataTimestamp(as_of_time=self.as_of or datetime.now(UTC).isoformat())


class Channels(Venue):
    """Confirms the private channels, unless told not to."""

    confirms = True

    async def confirm_forever(self):
        done = 0
        while True:
            await asyncio.sleep(0.002)
            while done < len(self.commands):
                command = self.commands[done]
                done += 1
                if self.confirms:
                    for number, channel in enumerate(command["params"]["channels"], 1):
                        self.send(
                            SubscribedFrame(
                                id=command["id"], msg=SubscribedMessage(channel=channel, sid=number)
                            )
                        )


class Scene:
    """A view with its venue; `until` waits for a condition."""

    def __init__(self, policy=PATIENT):
        self.books, self.venue, self.policy = Books(), Channels(), policy
        self.changes = 0

    async def __aenter__(self):
        self.server = await ScriptedServer(self.books.answer).__aenter__()
        await self.venue.__aenter__()
        self.rest = RestClient(self.server.base_url, SIGNER, policy=READS, random=Random(1))
        self.rest.buckets.resize(m.AccountLimits(usage_tier="t", read=AMPLE, write=AMPLE))
        self.view = AccountView(
            self.rest,
            self.venue.url,
            SIGNER,
            subaccount=0,
            policy=self.policy,
            websocket_policy=QUICK_SOCKET,
            on_change=self._on_change,
            random=Random(1),
        )
        self._tasks = [
            asyncio.create_task(self.venue.confirm_forever()),
            asyncio.create_task(self.view.run()),
        ]
        return self

    async def __aexit__(self, *_):
        await self.view.close()
        await asyncio.wait_for(self._tasks[1], 4)
        self._tasks[0].cancel()
        await asyncio.gather(self._tasks[0], return_exceptions=True)
        await self.rest.close()
        await self.venue.__aexit__()
        await self.server.__aexit__()

    def _on_change(self):
        self.changes += 1

    @property
    def facts(self):
        return self.view.facts

    async def until(self, condition):
        await eventually(condition, lambda: (self.facts, self.view.last_error, self.books.asked[-8:]), 4_000)

    async def until_current(self):
        await self.until(lambda: self.view.is_current)


async def test_a_view_begins_with_what_rest_tells():
    scene = Scene()
    scene.books.orders = {"o-1": PART}
    scene.books.fills = [FILL]
    async with scene:
        await scene.until_current()
        assert scene.facts.orders["o-1"].filled == 400
        assert (scene.facts.positions, scene.facts.balance) == ({"SIM-A": 400}, 5_000_000)
        assert scene.changes >= 1


async def test_frames_are_facts_at_once_and_money_is_read_after_them():
    async with Scene() as scene:
        await scene.until_current()
        scene.books.orders, scene.books.fills, scene.books.money = {"o-1": PART}, [FILL], 3_000_000
        scene.venue.send(
            UserOrderFrame(sid=1, msg=PART.frame()),
            FillFrame(sid=2, msg=FILL.frame()),
            MarketPositionFrame(sid=3, msg=position_frame(400)),
        )
        await scene.until(lambda: scene.facts.positions == {"SIM-A": 400})
        await scene.until(lambda: scene.facts.balance == 3_000_000 and scene.view.is_current)


async def test_a_lost_fill_frame_is_fetched_by_its_order():
    async with Scene() as scene:
        await scene.until_current()
        scene.books.orders, scene.books.fills = {"o-1": PART}, [FILL]
        scene.venue.send(UserOrderFrame(sid=1, msg=PART.frame()))
        await scene.until(lambda: scene.view.is_current and ("t-1", "o-1") in scene.facts.fills)


async def test_after_a_reconnect_everything_is_read_again():
    async with Scene() as scene:
        await scene.until_current()
        reads = scene.view.reads
        scene.books.orders, scene.books.fills = {"o-1": PART}, [FILL]  # while nobody listened
        scene.venue.sessions[-1].disconnect(graceful=False)
        await scene.until(lambda: len(scene.venue.sessions) == 2)
        await scene.until(lambda: scene.view.reads > reads and scene.view.is_current)
        assert scene.facts.positions == {"SIM-A": 400}


async def test_an_order_that_left_the_resting_list_is_asked_for_by_name():
    async with Scene() as scene:
        scene.books.orders = {"o-1": NEW}
        await scene.until(lambda: "o-1" in scene.facts.orders and scene.view.is_current)
        scene.books.orders = {"o-1": NEW.changed(remaining=0, status="canceled")}
        scene.view.read_soon()
        await scene.until(lambda: scene.facts.orders["o-1"].status == "canceled")
        assert "/portfolio/orders/o-1" in scene.books.asked


async def test_a_404_of_a_fresh_order_is_no_answer():
    """Section 3.5: the read model may not have it yet."""
    async with Scene() as scene:
        await scene.until_current()
        scene.venue.send(UserOrderFrame(sid=1, msg=NEW.frame()))
        await scene.until(lambda: "/portfolio/orders/o-1" in scene.books.asked)
        assert scene.facts.orders["o-1"].status == "resting"
        scene.books.orders = {"o-1": NEW}
        await scene.until_current()


async def test_an_unknown_create_is_found_in_the_list():
    async with Scene() as scene:
        await scene.until_current()
        scene.books.orders = {"o-1": NEW.changed(remaining=0, status="executed", filled=1_000)}
        scene.books.fills = [TrueFill("t-1", "o-1", "bid", 1_000)]
        scene.facts.intend(NEW.order(), 1_800_000_000_000)
        scene.facts.created("c-o-1", Unknown("lost"), 1_800_000_000_000)
        scene.view.read_soon()
        await scene.until(lambda: not scene.facts.intents and scene.view.is_current)
        assert scene.facts.orders["o-1"].status == "executed"


@pytest.mark.parametrize(
    ("as_of", "is_closed"), [("2030-01-01T00:00:00Z", True), ("2020-01-01T00:00:00Z", False)]
)
async def test_an_intent_is_absent_only_when_the_read_model_is_past_it(as_of, is_closed):
    async with Scene() as scene:
        scene.books.as_of = as_of
        await scene.until_current()
        scene.facts.intend(NEW.order(), 1_800_000_000_000)
        scene.facts.created("c-o-1", Unknown("lost"), 1_800_000_000_000)
        reads = scene.view.reads
        scene.view.read_soon()
        await scene.until(lambda: scene.view.reads >= reads + 3 or not scene.facts.intents)
        assert (not scene.facts.intents) is is_closed


async def test_a_read_while_an_amend_is_under_way_does_not_close_its_question():
    async with Scene() as scene:
        scene.books.orders, scene.books.as_of = {"o-1": NEW}, ""  # the read model is as fresh as it can be
        await scene.until(lambda: "o-1" in scene.facts.orders and scene.view.is_current)
        amended = NEW.changed(price=4_000)

        def amend_meanwhile(path):
            if path == "/portfolio/orders" and scene.books.orders["o-1"] is NEW:
                # The list was asked for; its old rows are on their way when the amend is answered.
                asyncio.get_running_loop().call_soon(
                    scene.facts.changed, "o-1", Amended("o-1", None, None, None, None, None, 1)
                )
                scene.books.before = lambda _: scene.books.orders.update({"o-1": amended})

        scene.books.before = amend_meanwhile
        scene.view.read_soon()
        await scene.until(lambda: scene.facts.orders["o-1"].price == 4_000)
        await scene.until_current()


async def test_a_read_model_that_lags_settles_nothing():
    """The same old answer twice is no agreement: it must show a time after the doubt."""
    async with Scene() as scene:
        await scene.until_current()
        scene.books.as_of = "2020-01-01T00:00:00Z"
        scene.venue.send(FillFrame(sid=2, msg=FILL.frame()))
        await scene.until(lambda: scene.facts.positions == {"SIM-A": 400})
        reads = scene.view.reads
        await scene.until(lambda: scene.view.reads >= reads + 2)
        assert not scene.view.is_current
        assert scene.facts.positions == {"SIM-A": 400}
        scene.books.as_of, scene.books.fills = "2030-01-01T00:00:00Z", [FILL]
        await scene.until_current()
        assert scene.facts.positions == {"SIM-A": 400}


async def test_a_balance_that_moves_while_it_is_read_is_read_again():
    async with Scene() as scene:
        await scene.until_current()
        moves = iter([4_000_000, 3_000_000, 2_000_000])

        def move(path):
            if path == "/portfolio/positions":
                scene.books.money = next(moves, 1_000_000)

        scene.books.before = move
        assert await scene.view.read()
        assert scene.facts.balance == 1_000_000


async def test_channels_that_are_never_confirmed_are_opened_again():
    scene = Scene(AccountViewPolicy(period_ms=600_000, retry_ms=20, spacing_ms=1, answer_ms=30))
    scene.venue.confirms = False
    async with scene:
        await scene.until(lambda: len(scene.venue.sessions) >= 2)
        assert not scene.view.is_current
        scene.venue.confirms = True
        await scene.until_current()


async def test_an_error_of_a_channel_begins_again():
    async with Scene() as scene:
        await scene.until_current()
        scene.venue.send(ErrorFrame(sid=1, msg=ErrorMessage(code=25, msg="subscription buffer overflow")))
        await scene.until(lambda: len(scene.venue.sessions) == 2)
        await scene.until_current()


async def test_a_read_that_fails_is_told_and_tried_again():
    scene = Scene()
    scene.books.fails = 2
    async with scene:
        await scene.until_current()
        assert scene.view.failed_reads == 2
        assert scene.view.last_error is None
