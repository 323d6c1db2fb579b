import asyncio

import msgspec
import pytest
from soloist_kalshi.clock import ServerClock
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.messages import CancelOrderReply, CreateOrder, CreateOrderReply
from soloist_kalshi.orders import Accepted, Cancelled, NotSent, OrderClient, Rejected, Unknown
from soloist_kalshi.signing import (
    HEADER_SIGNATURE,
    HEADER_TIMESTAMP,
    Signer,
    Verifier,
    generate_private_key,
    signed_text,
)

from tests.unit.soloist_kalshi.kalshi_servers import ScriptedServer, eventually, reply, self_signed

KEYS = generate_private_key("ed25519")
SOURCE = SignerSource(Signer.from_pem("key-1", KEYS.private_pem))
ORDER = CreateOrder(
    ticker="SIM-A",
    side="bid",
    count="10.00",
    price="0.5600",
    time_in_force="good_till_canceled",
    self_trade_prevention_type="taker_at_cross",
    client_order_id="s1a2b3c-1-1-1",
)
CREATED = msgspec.json.encode(
    CreateOrderReply(
        order_id="o-1",
        client_order_id="s1a2b3c-1-1-1",
        fill_count="4.00",
        remaining_count="6.00",
        average_fill_price="0.5550",
        average_fee_paid="0.017300",
        ts_ms=1_800_000_000_000,
    )
)
GONE = msgspec.json.encode(CancelOrderReply(order_id="o-1", reduced_by="6.00", ts_ms=1_800_000_000_001))


def answering(*answers):
    """Answer the n-th request with the n-th answer, and the last one from then on."""
    waiting = list(answers)

    async def answer(_):
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return answer


async def create(client, **changes):
    return await client.create(ORDER, **{"subaccount": 0, "deadline_ms": 2_000, **changes})


async def cancel(client, **changes):
    arguments = {"market_ticker": "SIM-A", "subaccount": 0, "deadline_ms": 2_000, **changes}
    return await client.cancel("o-1", **arguments)


async def test_an_accepted_order_comes_back_in_integers_and_was_signed():
    async with (
        ScriptedServer(answering(reply(201, CREATED))) as server,
        OrderClient(server.base_url, SOURCE) as client,
    ):
        outcome = await create(client, subaccount=7)
    assert outcome == Accepted("o-1", "s1a2b3c-1-1-1", 400, 600, 555_000, 17_300, 1_800_000_000_000)
    [request] = server.requests
    assert (request.method, request.target) == ("POST", "/trade-api/v2/portfolio/events/orders")
    assert msgspec.json.decode(request.body)["subaccount"] == 7
    text = signed_text(request.headers[HEADER_TIMESTAMP.lower()], "POST", request.target)
    assert Verifier.from_public_pem(KEYS.public_pem).verify(text, request.headers[HEADER_SIGNATURE.lower()])


async def test_subaccount_zero_is_written_out():
    async with (
        ScriptedServer(answering(reply(201, CREATED))) as server,
        OrderClient(server.base_url, SOURCE) as client,
    ):
        await create(client)
    assert msgspec.json.decode(server.requests[0].body)["subaccount"] == 0


async def test_a_cancel_names_market_and_subaccount_and_signs_no_query():
    async with (
        ScriptedServer(answering(reply(200, GONE))) as server,
        OrderClient(server.base_url, SOURCE) as client,
    ):
        outcome = await cancel(client, subaccount=3)
    assert outcome == Cancelled("o-1", None, 600, 1_800_000_000_001)
    [request] = server.requests
    assert request.target == "/trade-api/v2/portfolio/events/orders/o-1?subaccount=3&market_ticker=SIM-A"
    text = signed_text(request.headers[HEADER_TIMESTAMP.lower()], "DELETE", request.target.partition("?")[0])
    assert Verifier.from_public_pem(KEYS.public_pem).verify(text, request.headers[HEADER_SIGNATURE.lower()])


async def test_over_tls_with_a_ca_file(tmp_path):
    context, ca_file = self_signed(tmp_path)
    async with (
        ScriptedServer(answering(reply(201, CREATED), reply(200, GONE)), context) as server,
        OrderClient(server.base_url, SOURCE, ca_file=ca_file) as client,
    ):
        assert isinstance(await create(client), Accepted)
        assert isinstance(await cancel(client), Cancelled)
    assert server.connections == 1


async def test_a_certificate_that_is_not_trusted_sends_nothing(tmp_path):
    context, _ = self_signed(tmp_path)
    async with (
        ScriptedServer(answering(reply(201, CREATED)), context) as server,
        OrderClient(server.base_url, SOURCE) as client,
    ):
        outcome = await create(client)
    assert isinstance(outcome, NotSent)
    assert "TLS certificate refused" in outcome.reason
    assert server.requests == []


@pytest.mark.parametrize("send", [create, cancel])
async def test_a_dropped_kept_alive_connection_gets_one_request_and_is_unknown(send):
    """HTTP libraries send a DELETE again: the server reads the request, drops the connection, and counts."""
    first = reply(201, CREATED) if send is create else reply(200, GONE)
    async with (
        ScriptedServer(answering(first, None)) as server,
        OrderClient(server.base_url, SOURCE) as client,
    ):
        assert isinstance(await send(client), Accepted | Cancelled)  # the connection is now kept alive
        outcome = await send(client)
    assert isinstance(outcome, Unknown)
    assert [request.connection for request in server.requests] == [1, 1]


@pytest.mark.parametrize("send", [create, cancel])
@pytest.mark.parametrize(
    "answer",
    [
        reply(500, b'{"error":{"code":"internal","message":"internal"}}'),
        reply(503, b"<html><title>503</title></html>"),
        reply(502),
        reply(200, b"<html></html>"),
        reply(201, b'{"order_id":"o-1"}'),
        reply(201, CREATED)[:-5],
        reply(408, b'{"code":"timeout","message":"timeout"}'),
        reply(403, b"<html><title>blocked</title></html>"),
        reply(403, b'{"message":"Forbidden"}'),
        reply(409, b'{"error":{"code":"EXCHANGE_UNAVAILABLE","message":"exchange unavailable"}}'),
        reply(307, headers="Location: /elsewhere\r\n"),
        b"nonsense\r\n\r\n",
    ],
)
async def test_whatever_the_venue_may_have_done_is_unknown(send, answer):
    async def then_close(_):
        return answer

    async with ScriptedServer(then_close) as server, OrderClient(server.base_url, SOURCE) as client:
        outcome = await send(client, deadline_ms=300)
    assert isinstance(outcome, Unknown)
    assert outcome.why
    assert len(server.requests) == 1


@pytest.mark.parametrize("send", [create, cancel])
async def test_no_answer_within_the_deadline_is_unknown(send):
    async def never(_):
        await asyncio.Event().wait()

    async with ScriptedServer(never) as server, OrderClient(server.base_url, SOURCE) as client:
        outcome = await send(client, deadline_ms=150)
    assert isinstance(outcome, Unknown)
    assert "no answer in time" in outcome.why
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            409,
            b'{"error":{"code":"order_already_exists","message":"exists"}}',
            Rejected(409, "order_already_exists", "exists"),
        ),
        (
            404,
            b'{"error":{"code":"not_found","message":"not found"}}',
            Rejected(404, "not_found", "not found"),
        ),
        (
            400,
            b'{"error":{"code":"invalid_order","message":"invalid order","details":"post only cross"}}',
            Rejected(400, "invalid_order", "invalid order (post only cross)"),
        ),
        (429, b'{"error":"too many requests"}', Rejected(429, "too_many_requests", "too many requests")),
        (
            401,
            b'{"error":{"code":"header_timestamp_expired","message":"expired"}}',
            Rejected(401, "header_timestamp_expired", "expired"),
        ),
    ],
)
async def test_a_definite_refusal_is_rejected_with_its_code(status, body, expected):
    async with (
        ScriptedServer(answering(reply(status, body))) as server,
        OrderClient(server.base_url, SOURCE) as client,
    ):
        assert await create(client) == expected
        assert await cancel(client) == expected


@pytest.mark.parametrize("send", [create, cancel])
async def test_the_gate_is_asked_last_and_its_refusal_sends_no_byte(send):
    answers = [None, "lease lost"]  # passes before connecting, closes before the bytes

    async with ScriptedServer(answering(reply(201, CREATED))) as server:
        async with OrderClient(server.base_url, SOURCE) as client:
            outcome = await send(client, gate=lambda: answers.pop(0))
            assert outcome == NotSent("lease lost")
        # The only connection has ended for the server, too: whatever was sent has been read.
        await eventually(lambda: server.connections == 1 and not server.open, lambda: server.open)
    assert (server.requests, server.bytes_read, answers) == ([], 0, [])


@pytest.mark.parametrize("send", [create, cancel])
async def test_a_closed_gate_costs_no_connection(send):
    async with (
        ScriptedServer(answering(reply(201, CREATED))) as server,
        OrderClient(server.base_url, SOURCE) as client,
    ):
        assert await send(client, gate=lambda: "halted") == NotSent("halted")
        assert server.connections == 0


async def test_no_listener_is_not_sent():
    async with ScriptedServer(answering(None)) as server:
        url = server.base_url
    async with OrderClient(url, SOURCE) as client:
        outcome = await create(client)
    assert isinstance(outcome, NotSent)
    assert "connection refused" in outcome.reason


async def test_a_skewed_clock_signs_and_sends_nothing():
    clock = ServerClock(wall_ms=lambda: 1_800_000_100_000, monotonic_ms=lambda: 0)
    clock.observe("Fri, 15 Jan 2027 08:00:00 GMT", 0)  # 1 800 000 000 000 ms: the local clock is 100 s ahead
    async with (
        ScriptedServer(answering(reply(201, CREATED))) as server,
        OrderClient(server.base_url, SOURCE, clock=clock) as client,
    ):
        outcome = await create(client)
    assert isinstance(outcome, NotSent)
    assert "synchronise this machine's clock" in outcome.reason
    assert server.connections == 0


async def test_orders_that_must_not_be_sent_are_errors():
    async with OrderClient("http://127.0.0.1:9/trade-api/v2", SOURCE) as client:
        for order, subaccount in (
            (msgspec.structs.replace(ORDER, client_order_id=None), 0),
            (msgspec.structs.replace(ORDER, client_order_id="x" * 65), 0),
            (msgspec.structs.replace(ORDER, subaccount=2), 1),
            (ORDER, 64),
        ):
            with pytest.raises(ValueError):
                await client.create(order, subaccount=subaccount, deadline_ms=1_000)
        with pytest.raises(ValueError):
            await client.cancel("../../x", market_ticker="SIM-A", subaccount=0, deadline_ms=1_000)


async def test_the_next_request_signs_with_the_promoted_key():
    from soloist_kalshi.keys import KeySlot

    second = generate_private_key("rsa")
    source = SignerSource(Signer.from_pem("key-1", KEYS.private_pem), 1)
    async with (
        ScriptedServer(answering(reply(201, CREATED))) as server,
        OrderClient(server.base_url, source) as client,
    ):
        await create(client)
        source.load([source.slots[0], KeySlot(2, Signer.from_pem("key-2", second.private_pem))])
        await create(client)
        source.promote(2)
        await create(client)
    assert [request.headers["kalshi-access-key"] for request in server.requests] == [
        "key-1",
        "key-1",
        "key-2",
    ]
    assert server.connections == 1
