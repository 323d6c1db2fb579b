import asyncio
from random import Random
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from soloist_kalshi.clock import ServerClock
from soloist_kalshi.errors import (
    VenueClockSkew,
    VenueError,
    VenueForbidden,
    VenueProtocolError,
    VenueRateLimited,
    VenueUnauthorized,
    VenueUnavailable,
    VenueUnreachable,
)
from soloist_kalshi.messages import Balance, Fill, Order
from soloist_kalshi.rest import ReadPolicy, RestClient
from soloist_kalshi.signing import Signer, Verifier, generate_private_key, signed_text

from tests.unit.soloist_kalshi.kalshi_servers import ScriptedServer, reply, self_signed

KEYS = generate_private_key("ed25519")
SIGNER = Signer.from_pem("key-1", KEYS.private_pem)
QUICK = ReadPolicy(attempts=3, request_ms=500, deadline_ms=2_000, base_wait_ms=1, cap_wait_ms=2)
BALANCE = msgspec.json.encode(
    Balance(balance=9801, balance_dollars="98.0186", portfolio_value=0, updated_ts=1)
)


def client(server, signer=SIGNER, **changes):
    return RestClient(server.base_url, signer, **{"policy": QUICK, "random": Random(1), **changes})


def answering(*answers):
    waiting = list(answers)

    async def answer(_):
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return answer


def order(number):
    return Order(
        order_id=f"o-{number}",
        client_order_id=f"c-{number}",
        ticker="SIM-A",
        outcome_side="yes",
        book_side="bid",
        status="resting",
        yes_price_dollars="0.5000",
        no_price_dollars="0.5000",
        fill_count_fp="0.00",
        remaining_count_fp="1.00",
        initial_count_fp="1.00",
    )


def page(numbers, cursor):
    return reply(
        200, msgspec.json.encode({"orders": [order(number) for number in numbers], "cursor": cursor})
    )


async def test_a_signed_read_signs_the_path_without_the_query():
    async with ScriptedServer(answering(reply(200, BALANCE))) as server, client(server) as rest:
        balance = await rest.get_balance(subaccount=3)
    assert balance.balance_dollars == "98.0186"
    [request] = server.requests
    assert request.target == "/trade-api/v2/portfolio/balance?subaccount=3"
    text = signed_text(request.headers["kalshi-access-timestamp"], "GET", "/trade-api/v2/portfolio/balance")
    assert Verifier.from_public_pem(KEYS.public_pem).verify(text, request.headers["kalshi-access-signature"])


async def test_market_data_is_not_signed():
    body = b'{"exchange_active":true,"trading_active":false}'
    async with ScriptedServer(answering(reply(200, body))) as server, client(server) as rest:
        status = await rest.get_exchange_status()
    assert (status.exchange_active, status.trading_active) == (True, False)
    assert "kalshi-access-key" not in server.requests[0].headers


async def test_the_exchange_status_is_read_from_a_503_too():
    body = b'{"exchange_active":false,"trading_active":false}'
    async with ScriptedServer(answering(reply(503, body))) as server, client(server) as rest:
        assert not (await rest.get_exchange_status()).exchange_active
    assert len(server.requests) == 1


async def test_tls_and_keep_alive(tmp_path):
    context, ca_file = self_signed(tmp_path)
    async with (
        ScriptedServer(answering(reply(200, BALANCE)), context) as server,
        client(server, ca_file=ca_file) as rest,
    ):
        for _ in range(3):
            await rest.get_balance(subaccount=0)
    assert (len(server.requests), server.connections) == (3, 1)


async def test_reads_are_repeated_over_every_passing_failure():
    answers = [reply(503, b"<html><title>busy</title></html>"), None, reply(200, BALANCE)]
    async with ScriptedServer(answering(*answers)) as server, client(server) as rest:
        assert (await rest.get_balance(subaccount=0)).balance == 9801
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "error", "attempts"),
    [
        (reply(500), VenueUnavailable, 3),
        (None, VenueUnreachable, 3),
        (reply(401, b'{"error":{"code":"authentication_error","message":"x"}}'), VenueUnauthorized, 1),
        (reply(403, b'{"code":"forbidden","message":"x"}'), VenueForbidden, 1),
        (reply(200, b"<html>"), VenueProtocolError, 1),
        (reply(200, b'{"balance":1}'), VenueProtocolError, 1),
        (reply(200, BALANCE.replace(b"9801", b'"9801"')), VenueProtocolError, 1),
        (reply(200, BALANCE.replace(b"98.0186", b"98,0186")), VenueProtocolError, 1),
    ],
)
async def test_what_does_not_pass_ends_as_its_error(answer, error, attempts):
    async with ScriptedServer(answering(answer)) as server, client(server) as rest:
        with pytest.raises(error):
            await rest.get_balance(subaccount=0)
    assert len(server.requests) == attempts


async def test_a_rate_limited_read_waits_for_tokens_and_gives_up_within_the_budget():
    policy = ReadPolicy(attempts=2, request_ms=500, deadline_ms=2_000, base_wait_ms=1, cap_wait_ms=2)
    async with (
        ScriptedServer(answering(reply(429, b'{"error":"too many requests"}'))) as server,
        client(server, policy=policy) as rest,
    ):
        with pytest.raises(VenueRateLimited):
            await rest.get_balance(subaccount=0)
        assert rest.buckets.read.tokens < 10
    assert len(server.requests) == 2


async def test_a_silent_venue_costs_no_more_than_the_deadlines():
    async def never(_):
        await asyncio.Event().wait()

    policy = ReadPolicy(attempts=2, request_ms=60, deadline_ms=1_000, base_wait_ms=1, cap_wait_ms=1)
    async with ScriptedServer(never) as server, client(server, policy=policy) as rest:
        with pytest.raises(VenueUnreachable, match="no answer in time"):
            await rest.get_balance(subaccount=0)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "answer", [None, reply(500), reply(503), reply(429, b'{"error":"too many requests"}')]
)
async def test_key_writes_are_sent_once(answer):
    async with ScriptedServer(answering(answer)) as server, client(server) as rest:
        with pytest.raises(VenueError):
            await rest.generate_api_key("name", "ed25519", ["read"], 0)
        with pytest.raises(VenueError):
            await rest.delete_api_key("k-1")
    assert [request.method for request in server.requests] == ["POST", "DELETE"]
    assert msgspec.json.decode(server.requests[0].body) == {
        "name": "name",
        "key_type": "ed25519",
        "scopes": ["read"],
        "subaccount": 0,
    }


async def test_a_kept_alive_connection_that_drops_gets_a_key_write_once():
    created = reply(201, b'{"api_key_id":"k-1","private_key":"PEM"}')
    async with ScriptedServer(answering(created, None)) as server, client(server) as rest:
        assert (await rest.generate_api_key("a")).api_key_id == "k-1"
        with pytest.raises(VenueUnreachable):
            await rest.delete_api_key("k-1")
    assert [(request.method, request.connection) for request in server.requests] == [
        ("POST", 1),
        ("DELETE", 1),
    ]


async def test_a_generated_key_never_shows_its_private_part():
    secret = "-----BEGIN PRIVATE KEY-----"
    good = reply(201, msgspec.json.encode({"api_key_id": "k-1", "private_key": secret}))
    broken = reply(201, msgspec.json.encode({"key_id": "k-1", "private_key": secret}))
    async with ScriptedServer(answering(good, broken)) as server, client(server) as rest:
        key = await rest.generate_api_key("a")
        assert key.private_key == secret
        assert secret not in repr(key)
        with pytest.raises(VenueProtocolError) as caught:
            await rest.generate_api_key("a")
    assert secret not in repr((caught.value.args, caught.value.raw, caught.value.__cause__))
    assert caught.value.__context__ is None or caught.value.__suppress_context__


async def test_delete_answers_204():
    async with ScriptedServer(answering(reply(204))) as server, client(server) as rest:
        await rest.delete_api_key("k-1")
    assert server.requests[0].target == "/trade-api/v2/api_keys/k-1"


@pytest.mark.parametrize("end", ["", None])
async def test_all_pages_are_read_and_empty_or_null_ends_them(end):
    async with (
        ScriptedServer(answering(page([1, 2], "a"), page([3], "b"), page([4], end))) as server,
        client(server) as rest,
    ):
        orders = await rest.list_orders(subaccount=0, ticker="SIM-A", status="resting", min_ts=17)
    assert [order.order_id for order in orders] == ["o-1", "o-2", "o-3", "o-4"]
    queries = [parse_qs(urlsplit(request.target).query) for request in server.requests]
    assert queries[0] == {
        "subaccount": ["0"],
        "ticker": ["SIM-A"],
        "status": ["resting"],
        "min_ts": ["17"],
        "limit": ["1000"],
    }
    assert [query.get("cursor") for query in queries] == [None, ["a"], ["b"]]


async def test_a_row_that_slid_to_the_next_page_counts_once():
    async with (
        ScriptedServer(answering(page([1, 2], "a"), page([2, 3], ""))) as server,
        client(server) as rest,
    ):
        orders = await rest.list_orders(subaccount=0)
    assert [order.order_id for order in orders] == ["o-1", "o-2", "o-3"]


async def test_a_cursor_that_leads_back_to_page_one_is_an_error():
    async with (
        ScriptedServer(answering(page([1, 2], "a"), page([3], "b"), page([1, 2], "c"))) as server,
        client(server) as rest,
    ):
        with pytest.raises(VenueProtocolError, match="begins again at page one"):
            await rest.list_orders(subaccount=0)


async def test_a_repeated_cursor_is_an_error():
    async with ScriptedServer(answering(page([1], "a"), page([2], "a"))) as server, client(server) as rest:
        with pytest.raises(VenueProtocolError, match="repeats a cursor"):
            await rest.list_orders(subaccount=0)


async def test_two_fills_of_one_trade_are_two():
    fill = Fill(
        fill_id="t-1",
        trade_id="t-1",
        order_id="o-1",
        ticker="SIM-A",
        outcome_side="yes",
        book_side="bid",
        count_fp="1.00",
        yes_price_dollars="0.5000",
        no_price_dollars="0.5000",
        is_taker=True,
        fee_cost="0.017500",
    )
    body = msgspec.json.encode({"fills": [fill, msgspec.structs.replace(fill, order_id="o-2")], "cursor": ""})
    async with ScriptedServer(answering(reply(200, body))) as server, client(server) as rest:
        assert [row.order_id for row in await rest.list_fills(subaccount=0)] == ["o-1", "o-2"]


async def test_limits_of_the_account_are_taken_over():
    body = b'{"usage_tier":"premier","read":{"refill_rate":1000,"bucket_capacity":2000},"write":{"refill_rate":1000,"bucket_capacity":3000},"grants":[]}'
    async with ScriptedServer(answering(reply(200, body))) as server, client(server) as rest:
        await rest.get_account_limits()
        assert (rest.buckets.read.capacity, rest.buckets.write.capacity) == (2000, 3000)
        assert rest.unknown_fields.counts == {}


async def test_unknown_fields_are_counted_with_their_path():
    body = b'{"exchange_active":true,"trading_active":true,"new":1,"exchange_index_statuses":[{"exchange_index":0,"exchange_active":true,"trading_active":true,"newer":1}]}'
    async with ScriptedServer(answering(reply(200, body))) as server, client(server) as rest:
        await rest.get_exchange_status()
        await rest.get_exchange_status()
        assert rest.unknown_fields.counts == {"ExchangeStatus.new": 2, "ShardStatus.newer": 2}


async def test_a_skewed_clock_is_measured_on_an_unsigned_read_and_stops_signed_ones():
    clock = ServerClock()
    body = b'{"exchange_active":true,"trading_active":true}'
    server_answers = answering(reply(200, body, date="Fri, 15 Jan 2021 08:00:00 GMT"))
    async with ScriptedServer(server_answers) as server, client(server, clock=clock) as rest:
        await rest.get_exchange_status()
        assert clock.skew_ms > 60_000
        with pytest.raises(VenueClockSkew, match="ahead of the venue's"):
            await rest.get_balance(subaccount=0)
    assert len(server.requests) == 1


async def test_without_a_key_a_private_read_says_so():
    async with ScriptedServer(answering(reply(200, BALANCE))) as server, client(server, signer=None) as rest:
        with pytest.raises(VenueError, match="needs a key"):
            await rest.get_balance(subaccount=0)
    assert server.requests == []


@pytest.mark.parametrize(
    ("body", "levels"),
    [
        (b'{"orderbook_fp":{"yes_dollars":[["0.5500","10.00"]],"no_dollars":[]}}', [("0.5500", "10.00")]),
        (b'{"orderbook":{}}', None),
        (b'{"orderbook_fp":{}}', None),
    ],
)
async def test_an_order_book_and_both_words_for_an_empty_one(body, levels):
    async with ScriptedServer(answering(reply(200, body))) as server, client(server) as rest:
        assert (await rest.get_orderbook("SIM-A")).yes_dollars == levels


@pytest.mark.parametrize(
    "url", ["", "host/path", "ftp://host", "https://", "https://user:pw@host/x", "https://host/x?a=1"]
)
def test_a_base_url_that_cannot_be_one_is_named(url):
    with pytest.raises(ValueError, match="URL"):
        RestClient(url, None)


async def test_messages_name_what_to_check(tmp_path):
    context, ca_file = self_signed(tmp_path)
    once = ReadPolicy(attempts=1, request_ms=1_000)
    async with ScriptedServer(answering(reply(200, b"{}")), context) as server:
        for url, trust, words in (
            (server.base_url, None, "TLS certificate refused"),
            (server.base_url.replace("https", "http"), None, "http://"),
            ("https://127.0.0.1:1/trade-api/v2", ca_file, "connection refused"),
        ):
            async with RestClient(url, None, ca_file=trust, policy=once) as rest:
                with pytest.raises(VenueUnreachable, match=words):
                    await rest.get_exchange_status()
    with pytest.raises(VenueUnreachable, match="CA file"):
        RestClient("https://127.0.0.1:1/x", None, ca_file=str(tmp_path / "absent.pem"))


async def test_a_long_list_of_tickers_is_asked_for_in_parts():
    empty = reply(200, b'{"markets":[],"cursor":""}')
    async with ScriptedServer(answering(empty)) as server, client(server) as rest:
        assert await rest.get_markets(tickers=[f"SIM-{number}" for number in range(250)]) == []
        assert await rest.get_markets() == []
    queries = [parse_qs(urlsplit(request.target).query) for request in server.requests]
    assert [len(query["tickers"][0].split(",")) for query in queries[:3]] == [100, 100, 50]
    assert "tickers" not in queries[3]
