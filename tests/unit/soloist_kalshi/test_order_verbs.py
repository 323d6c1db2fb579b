"""Every verb of the order path on the wire: what is sent, that it is sent once, and which outcome each answer means."""

import asyncio

import msgspec
import pytest
from soloist_kalshi.errors import VenueNotSent, VenueOutcomeUnknown, VenueUnreachable
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.limits import AccountBuckets
from soloist_kalshi.messages import (
    AmendOrder,
    AmendOrderReply,
    BatchCancelItem,
    BatchCancelReply,
    BatchCreateItem,
    BatchCreateReply,
    CreateOrderGroupReply,
    CreateOrderReply,
    DecreaseOrderReply,
    ItemError,
    SubaccountTransfer,
)
from soloist_kalshi.orders import (
    Accepted,
    Amended,
    Cancelled,
    Decreased,
    NotSent,
    OrderClient,
    Rejected,
    Requested,
    Unknown,
)
from soloist_kalshi.rest import ReadPolicy, RestClient
from soloist_kalshi.signing import Signer, Verifier, generate_private_key, signed_text

from tests.unit.soloist_kalshi.kalshi_servers import ScriptedServer, reply
from tests.unit.soloist_kalshi.test_orders import ORDER, answering

KEYS = generate_private_key("ed25519")
SOURCE = SignerSource(Signer.from_pem("key-1", KEYS.private_pem))
FIRST = msgspec.structs.replace(ORDER, client_order_id="c-1")
SECOND = msgspec.structs.replace(FIRST, client_order_id="c-2", subaccount=3)
CHANGE = AmendOrder(ticker="SIM-A", side="bid", price="0.5500", count="12.00")
HERE = {"subaccount": 3, "deadline_ms": 4_000}


def json(body):
    return msgspec.json.encode(body)


async def create(client):
    return await client.create(FIRST, **HERE)


async def amend(client):
    return await client.amend("o-1", CHANGE, **HERE)


async def decrease(client):
    return await client.decrease("o-1", market_ticker="SIM-A", by=150, **HERE)


async def create_batch(client):
    return await client.create_batch([FIRST, SECOND], **HERE)


async def cancel(client):
    return await client.cancel("o-1", market_ticker="SIM-A", **HERE)


async def cancel_batch(client):
    return await client.cancel_batch([("o-1", "SIM-A"), ("o-2", "SIM-B")], **HERE)


async def cancel_all(client):
    return await client.cancel_all(**HERE)


async def create_group(client):
    return await client.create_group(5_000, **HERE)


async def reset_group(client):
    return await client.reset_group("g-1", **HERE)


async def trigger_group(client):
    return await client.trigger_group("g-1", **HERE)


async def limit_group(client):
    return await client.limit_group("g-1", 250, **HERE)


async def delete_group(client):
    return await client.delete_group("g-1", **HERE)


ORDERS, GROUPS = "/trade-api/v2/portfolio/events/orders", "/trade-api/v2/portfolio/order_groups"
IN_QUERY = "?subaccount=3"
MADE = CreateOrderReply(order_id="o-1", fill_count="0.00", remaining_count="10.00", ts_ms=1)
MADE_BATCH = BatchCreateReply(
    orders=[
        BatchCreateItem(
            order_id="o-1", client_order_id="c-1", fill_count="0.00", remaining_count="1.00", ts_ms=1
        ),
        BatchCreateItem(
            client_order_id="c-2", error=ItemError(code="insufficient_balance", message="no money")
        ),
    ]
)
GONE_BATCH = BatchCancelReply(
    orders=[
        BatchCancelItem(order_id="o-1", reduced_by="1.50", ts_ms=2),
        BatchCancelItem(order_id="o-2", error=ItemError(code="not_found", message="not found")),
    ]
)

# verb: method, target, body, a good answer, and the outcome that it means
VERBS = {
    create: (
        "POST", ORDERS, {**msgspec.to_builtins(FIRST), "subaccount": 3},
        reply(201, json(MADE)), Accepted("o-1", None, 0, 1_000, None, None, 1),
    ),
    amend: (
        "POST", f"{ORDERS}/o-1/amend{IN_QUERY}", msgspec.to_builtins(CHANGE),
        reply(200, json(AmendOrderReply(order_id="o-1", ts_ms=5, remaining_count="12.00", fill_count="0.00"))),
        Amended("o-1", None, 0, 1_200, None, None, 5),
    ),
    decrease: (
        "POST", f"{ORDERS}/o-1/decrease{IN_QUERY}", {"reduce_by": "1.50", "market_ticker": "SIM-A"},
        reply(200, json(DecreaseOrderReply(order_id="o-1", remaining_count="8.50", ts_ms=6))),
        Decreased("o-1", None, 850, 6),
    ),
    create_batch: (
        "POST", f"{ORDERS}/batched",
        {"orders": [{**msgspec.to_builtins(order), "subaccount": 3} for order in (FIRST, SECOND)]},
        reply(201, json(MADE_BATCH)),
        [Accepted("o-1", "c-1", 0, 100, None, None, 1), Rejected(201, "insufficient_balance", "no money")],
    ),
    cancel: (
        "DELETE", f"{ORDERS}/o-1{IN_QUERY}&market_ticker=SIM-A", None,
        reply(200, b'{"order_id":"o-1","reduced_by":"1.00","ts_ms":7}'), Cancelled("o-1", None, 100, 7),
    ),
    cancel_batch: (
        "DELETE", f"{ORDERS}/batched",
        {"orders": [{"order_id": "o-1", "subaccount": 3, "market_ticker": "SIM-A"},
                    {"order_id": "o-2", "subaccount": 3, "market_ticker": "SIM-B"}]},
        reply(200, json(GONE_BATCH)), [Cancelled("o-1", None, 150, 2), Rejected(200, "not_found", "not found")],
    ),
    cancel_all: ("DELETE", f"{ORDERS}{IN_QUERY}", None, reply(204), Requested(204)),
    create_group: (
        "POST", f"{GROUPS}/create", {"contracts_limit_fp": "50.00", "subaccount": 3},
        reply(201, b'{"order_group_id":"g-1","subaccount":3}'),
        CreateOrderGroupReply(order_group_id="g-1", subaccount=3),
    ),
    reset_group: ("PUT", f"{GROUPS}/g-1/reset{IN_QUERY}", {}, reply(200, b"{}"), Requested(200)),
    trigger_group: ("PUT", f"{GROUPS}/g-1/trigger{IN_QUERY}", {}, reply(200, b"{}"), Requested(200)),
    limit_group: (
        "PUT", f"{GROUPS}/g-1/limit{IN_QUERY}", {"contracts_limit_fp": "2.50"}, reply(200, b"{}"), Requested(200),
    ),
    delete_group: ("DELETE", f"{GROUPS}/g-1{IN_QUERY}", None, reply(200, b"{}"), Requested(200)),
}  # fmt: skip


def each(outcome):
    return outcome if isinstance(outcome, list) else [outcome]


@pytest.mark.parametrize("verb", VERBS)
async def test_what_a_verb_sends_and_what_success_means(verb):
    method, target, body, answer, expected = VERBS[verb]
    async with ScriptedServer(answering(answer)) as server, OrderClient(server.base_url, SOURCE) as client:
        assert await verb(client) == expected
    [request] = server.requests
    assert (request.method, request.target) == (method, target)
    assert (msgspec.json.decode(request.body) if request.body else None) == body
    text = signed_text(request.headers["kalshi-access-timestamp"], method, target)
    verifier = Verifier.from_public_pem(KEYS.public_pem)
    assert verifier.verify(text, request.headers["kalshi-access-signature"])


@pytest.mark.parametrize("verb", VERBS)
async def test_a_kept_alive_connection_that_drops_gets_one_request(verb):
    """For POST, PUT and DELETE alike: HTTP libraries send the last two again."""
    async with (
        ScriptedServer(answering(VERBS[verb][3], None)) as server,
        OrderClient(server.base_url, SOURCE) as client,
    ):
        assert await verb(client) == VERBS[verb][4]
        outcome = await verb(client)
    assert {type(item) for item in each(outcome)} == {Unknown}
    assert [request.connection for request in server.requests] == [1, 1]


@pytest.mark.parametrize("verb", VERBS)
async def test_without_an_answer_in_time_every_item_is_unknown(verb, monkeypatch):
    monkeypatch.setitem(HERE, "deadline_ms", 150)

    async def never(_):
        await asyncio.Event().wait()

    async with ScriptedServer(never) as server, OrderClient(server.base_url, SOURCE) as client:
        outcome = await verb(client)
    assert {type(item) for item in each(outcome)} == {Unknown}
    assert len(server.requests) == 1


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(400, b'{"error":{"code":"bad_request","message":"no"}}'), Rejected),
        (reply(429, b'{"error":"too many requests"}'), Rejected),
        (reply(500, b'{"error":{"code":"internal","message":"x"}}'), Unknown),
        (reply(502, b"<html></html>"), Unknown),
    ],
)
async def test_refusals_and_failures_hold_for_every_item(verb, answer, kind):
    async with ScriptedServer(answering(answer)) as server, OrderClient(server.base_url, SOURCE) as client:
        outcome = await verb(client)
    assert {type(item) for item in each(outcome)} == {kind}
    assert len(each(outcome)) == len(each(VERBS[verb][4]))


@pytest.mark.parametrize("verb", [create, amend, decrease, create_batch, cancel, cancel_batch, create_group])
@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"orders":[]}', b'{"orders":[{}]}', b'{"order_id":7}', b""])
async def test_a_success_that_is_not_the_contract_is_unknown(verb, body):
    async with (
        ScriptedServer(answering(reply(200, body))) as server,
        OrderClient(server.base_url, SOURCE) as client,
    ):
        outcome = await verb(client)
    assert {type(item) for item in each(outcome)} == {Unknown}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (BatchCreateItem(client_order_id="c-9", order_id="o-9", fill_count="0.00", remaining_count="1.00", ts_ms=1), Unknown),
        (BatchCreateItem(order_id="o-9"), Unknown),
        (BatchCreateItem(error=ItemError(code="EXCHANGE_UNAVAILABLE", message="try again")), Unknown),
        (BatchCreateItem(error=ItemError(message="something")), Unknown),
        (BatchCreateItem(error=ItemError(code="invalid_price", message="x", details="y")), Rejected),
    ],
)  # fmt: skip
async def test_an_item_is_definite_only_when_it_is_clear(item, expected):
    body = json(BatchCreateReply(orders=[item, item]))
    async with (
        ScriptedServer(answering(reply(201, body))) as server,
        OrderClient(server.base_url, SOURCE) as client,
    ):
        outcome = await create_batch(client)
    assert {type(each) for each in outcome} == {expected}


async def test_what_must_not_be_sent_is_an_error():
    async with OrderClient("http://127.0.0.1:9/trade-api/v2", SOURCE) as client:
        for wrong in (
            client.create_batch([], **HERE),
            client.create_batch([FIRST, FIRST], **HERE),
            client.create_batch([FIRST, msgspec.structs.replace(SECOND, subaccount=4)], **HERE),
            client.cancel_batch([], **HERE),
            client.cancel_batch([("o-1", "A"), ("o-1", "A")], **HERE),
            client.decrease("o-1", market_ticker="A", **HERE),
            client.decrease("o-1", market_ticker="A", by=1, to=1, **HERE),
            client.amend("../x", CHANGE, **HERE),
            client.cancel_all(subaccount=64, deadline_ms=1),
            client.trigger_group("g 1", **HERE),
        ):
            with pytest.raises(ValueError):
                await wrong


async def test_writes_take_their_tokens_and_do_not_wait_for_them():
    buckets = AccountBuckets(lambda: 0)  # a clock that stands still: 100 tokens and no more
    async with (
        ScriptedServer(answering(VERBS[create_batch][3])) as server,
        OrderClient(server.base_url, SOURCE, buckets=buckets) as client,
    ):
        await create_batch(client)
        assert buckets.write.tokens == 80
        buckets.write.try_take(70)
        outcome = await create_batch(client)
        assert {type(item) for item in outcome} == {NotSent}
        assert buckets.write.tokens == 10
    assert len(server.requests) == 1


async def test_a_429_empties_the_bucket():
    buckets = AccountBuckets(lambda: 0)
    async with (
        ScriptedServer(answering(reply(429, b'{"error":"too many requests"}'))) as server,
        OrderClient(server.base_url, SOURCE, buckets=buckets) as client,
    ):
        assert isinstance(await cancel(client), Rejected)
    assert buckets.write.tokens == 0


async def test_another_transport_takes_the_place_of_our_own():
    sent = []

    class Recorder:
        async def send(self, method, path, query, body, *, deadline_ms, gate):
            sent.append((method, path, query, body, deadline_ms, gate))
            return Unknown("recorded")

        async def close(self):
            sent.append("closed")

    async with OrderClient("http://unused/x", SOURCE, transport=Recorder()) as client:
        assert await cancel_all(client) == Unknown("recorded")
    assert sent == [("DELETE", "/portfolio/events/orders", IN_QUERY, None, 4_000, None), "closed"]


# Writes of the cold path


COLD = {
    "POST": lambda rest: rest.transfer(
        SubaccountTransfer(client_transfer_id="t-1", from_subaccount=0, to_subaccount=1, amount_cents=5)
    ),
    "PUT": lambda rest: rest.set_subaccount_netting(subaccount=1, enabled=True),
    "DELETE": lambda rest: rest.delete_api_key("k-1"),
}


@pytest.mark.parametrize("method", COLD)
async def test_a_cold_write_without_an_answer_may_have_happened_and_is_sent_once(method):
    async with (
        ScriptedServer(answering(reply(200, b"{}"), None)) as server,
        RestClient(server.base_url, SOURCE) as rest,
    ):
        await COLD[method](rest)
        with pytest.raises(VenueOutcomeUnknown):
            await COLD[method](rest)
    assert [(request.method, request.connection) for request in server.requests] == [(method, 1), (method, 1)]


@pytest.mark.parametrize("method", COLD)
async def test_a_cold_write_that_is_too_slow_may_have_happened(method):
    async def never(_):
        await asyncio.Event().wait()

    async with (
        ScriptedServer(never) as server,
        RestClient(server.base_url, SOURCE, policy=ReadPolicy(request_ms=200, deadline_ms=400)) as rest,
    ):
        with pytest.raises(VenueOutcomeUnknown, match="no answer in time"):
            await COLD[method](rest)
    assert len(server.requests) == 1


@pytest.mark.parametrize("method", COLD)
async def test_a_cold_write_that_met_no_server_did_not_happen(method):
    async with ScriptedServer(answering(reply(200, b"{}"))) as server:
        url = server.base_url
    async with RestClient(url, SOURCE) as rest:
        with pytest.raises(VenueNotSent, match="connection refused"):
            await COLD[method](rest)


@pytest.mark.parametrize("method", COLD)
async def test_a_cold_write_without_tokens_did_not_happen(method):
    async with (
        ScriptedServer(answering(reply(200, b"{}"))) as server,
        RestClient(server.base_url, SOURCE, policy=ReadPolicy(deadline_ms=0)) as rest,
    ):
        rest.buckets.read.drain()
        with pytest.raises(VenueNotSent, match="token bucket"):
            await COLD[method](rest)
    assert server.requests == []


async def test_a_read_without_an_answer_is_neither():
    async with (
        ScriptedServer(answering(None)) as server,
        RestClient(server.base_url, SOURCE, policy=ReadPolicy(attempts=1)) as rest,
    ):
        with pytest.raises(VenueUnreachable) as caught:
            await rest.get_balance(subaccount=0)
    assert type(caught.value) is VenueUnreachable
