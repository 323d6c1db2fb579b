"""C001-C015: who may do what (sections 2 and 10), to the byte where the contract gives the bytes."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from soloist_kalshi.endpoint import tls_context
from soloist_kalshi.errors import VenueForbidden, VenueNotFound, VenueUnauthorized
from soloist_kalshi.orders import Accepted, Rejected
from soloist_kalshi.signing import (
    HEADER_KEY,
    HEADER_SIGNATURE,
    HEADER_TIMESTAMP,
    Signer,
    generate_private_key,
)

from tests.conformance.cards import DEADLINE_MS, Socket, connected, order, place, signed

BALANCE = "/portfolio/balance"


def key_of(made) -> Signer:
    return Signer.from_pem(made.api_key_id, made.private_key.encode())


@pytest.mark.parametrize("key_type", ["ed25519", "rsa"])
async def test_c001_a_signed_request_is_answered(exchange, account, key_type):
    demo = account("250.00", key_type=key_type)
    async with exchange.rest(demo.signer) as client:
        balance = await client.get_balance(subaccount=0)
    assert (balance.balance, balance.balance_dollars) == (25_000, "250.000000")


def test_c002_a_bad_signature(exchange, account):
    demo = account()
    stranger = Signer.from_pem(demo.key_id, generate_private_key("ed25519").private_pem)
    reply = signed(exchange, stranger, "GET", BALANCE)
    assert (reply.status_code, reply.text) == (
        401,
        '{"error":{"code":"authentication_error","message":"authentication_error","details":"INCORRECT_API_KEY_SIGNATURE"}}',
    )


def test_c003_an_unknown_key(exchange):
    stranger = Signer.from_pem(
        "00000000-0000-4000-8000-000000000000", generate_private_key("ed25519").private_pem
    )
    reply = signed(exchange, stranger, "GET", BALANCE)
    assert (reply.status_code, reply.text) == (
        401,
        '{"error":{"code":"authentication_error","message":"authentication_error","details":"NOT_FOUND"}}',
    )


@pytest.mark.parametrize("off_ms", [-30_000, 30_000])
def test_c004_a_timestamp_outside_the_window(exchange, account, off_ms):
    now_ms = time.time_ns() // 1_000_000
    reply = signed(exchange, account().signer, "GET", BALANCE, timestamp_ms=now_ms + off_ms)
    assert (reply.status_code, reply.text) == (
        401,
        '{"error":{"code":"header_timestamp_expired","message":"header timestamp expired"}}',
    )


@pytest.mark.parametrize("text", ["", "soon", "1e12", "9" * 5000])
def test_c005_a_timestamp_that_is_none(exchange, account, text):
    reply = signed(exchange, account().signer, "GET", BALANCE, headers={HEADER_TIMESTAMP: text})
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "header_timestamp_expired")


@pytest.mark.parametrize("without", [[HEADER_SIGNATURE], [HEADER_KEY, HEADER_TIMESTAMP, HEADER_SIGNATURE]])
def test_c006_a_missing_signature(exchange, account, without):
    reply = signed(exchange, account().signer, "GET", BALANCE, without=without)
    assert (reply.status_code, reply.text) == (
        401,
        '{"error":{"code":"signature_is_missing_from_headers","message":"signature is missing from headers"}}',
    )


def test_c007_the_query_and_the_body_are_not_signed_the_method_and_path_are(exchange, account):
    demo = account()
    assert signed(exchange, demo.signer, "GET", BALANCE, params={"subaccount": "0"}).status_code == 200
    stolen = demo.signer.headers("GET", "/trade-api/v2/portfolio/orders", time.time_ns() // 1_000_000)
    assert signed(exchange, demo.signer, "GET", BALANCE, headers=stolen).status_code == 401


def test_c008_public_calls_need_no_key(exchange, ticker):
    for path in ("/exchange/status", "/markets", f"/markets/{ticker}", f"/markets/{ticker}/orderbook"):
        reply = httpx.get(exchange.rest_url + path, verify=tls_context(exchange.ca_file))
        assert reply.status_code == 200, path


async def test_c009_a_websocket_with_a_bad_key_is_refused_with_401(exchange):
    stranger = Signer.from_pem("unknown", generate_private_key("ed25519").private_pem)
    socket = Socket(exchange, stranger)
    running = asyncio.create_task(socket.client.run())
    await socket.until(lambda: socket.closed, "a refused upgrade")
    await socket.client.close()
    await running
    assert isinstance(socket.closed[0], VenueUnauthorized)
    assert socket.closed[0].details == "NOT_FOUND"


@pytest.mark.parametrize("key_type", ["ed25519", "rsa"])
async def test_c010_a_key_is_made_used_and_deleted(exchange, account, key_type):
    """The sequence of a rotation: after the deletion the key gets 401 and its WebSocket ends."""
    demo = account()
    async with exchange.rest(demo.signer) as manager:
        made = await manager.generate_api_key("second", key_type=key_type, scopes=["read", "write::trade"])
        listed = {key.api_key_id: key for key in await manager.list_api_keys()}
        assert (listed[made.api_key_id].name, listed[made.api_key_id].key_type) == ("second", key_type)
        second = key_of(made)
        async with exchange.rest(second) as client, connected(exchange, second) as socket:
            await client.get_balance(subaccount=0)
            await manager.delete_api_key(made.api_key_id)
            with pytest.raises(VenueUnauthorized) as refused:
                await client.get_balance(subaccount=0)
            assert refused.value.details == "NOT_FOUND"
            await socket.until(lambda: socket.closed, "the end of the deleted key's connection")
        with pytest.raises(VenueNotFound):
            await manager.delete_api_key(made.api_key_id)
        assert made.api_key_id not in {key.api_key_id for key in await manager.list_api_keys()}


async def test_c011_scopes(exchange, account, ticker):
    async with exchange.rest(account().signer) as manager:
        reader = key_of(await manager.generate_api_key("reader", scopes=["read"]))
        trader = key_of(await manager.generate_api_key("trader", scopes=["read", "write::trade"]))
    async with exchange.orders(reader) as orders, exchange.rest(reader) as client:
        refused = await place(orders, order(ticker, "bid", "0.40"))
        assert isinstance(refused, Rejected)
        assert refused.status == 403
        with pytest.raises(VenueForbidden):
            await client.generate_api_key("more")
    async with exchange.orders(trader) as orders, exchange.rest(trader) as client:
        assert isinstance(await place(orders, order(ticker, "bid", "0.40")), Accepted)
        with pytest.raises(VenueForbidden):
            await client.generate_api_key("more")
        with pytest.raises(VenueForbidden):
            await client.delete_api_key(trader.key_id)


async def test_c012_a_key_restricted_to_a_subaccount(exchange, account, ticker):
    demo = account()
    async with exchange.rest(demo.signer) as manager, exchange.orders(demo.signer) as orders:
        made = await manager.generate_api_key("zero", scopes=["read", "write::trade"], subaccount=0)
        placed = await place(orders, order(ticker, "bid", "0.40"))
    restricted = key_of(made)
    text = "this API key is restricted to a single sub-account and cannot access this endpoint"
    async with exchange.rest(restricted) as client, exchange.orders(restricted) as orders:
        assert [item.order_id for item in await client.list_orders(subaccount=0)] == [placed.order_id]
        assert (await client.get_order(placed.order_id)).order_id == placed.order_id
        for call in (
            client.list_api_keys(),
            client.get_balance(subaccount=1),
            client.list_orders(subaccount=1),
        ):
            with pytest.raises(VenueForbidden, match=text):
                await call
        refused = await orders.create(order(ticker, "bid", "0.40"), subaccount=1, deadline_ms=DEADLINE_MS)
        assert isinstance(refused, Rejected)
        assert (refused.status, refused.message) == (403, text)


def test_c013_keys_that_cannot_be_made(exchange, account):
    demo = account()
    for body, status in (
        ({"name": "x", "scopes": ["write"]}, 400),
        ({"name": "x", "scopes": ["everything"]}, 400),
        ({"name": "x", "subaccount": 64}, 400),
        ({"scopes": ["read"]}, 400),
    ):
        reply = signed(exchange, demo.signer, "POST", "/api_keys/generate", json=body)
        assert (reply.status_code, reply.json()["code"]) == (status, "bad_request"), body
    assert signed(exchange, demo.signer, "POST", "/api_keys", json={"name": "x"}).status_code == 403


async def test_c014_an_account_made_by_the_command_line_while_serving(exchange):
    code, printed, _ = exchange.create_account_by_hand("by-hand", "12.34")
    assert code == 0
    signer = Signer.from_pem(printed["key_id"], printed["private_key"].encode())
    async with exchange.rest(signer) as client:
        assert (await client.get_balance(subaccount=0)).balance_dollars == "12.340000"
    code, _, complaint = exchange.create_account_by_hand("by-hand", "12.34")
    assert code == 1
    assert "account 'by-hand' exists already" in complaint


async def test_c015_two_accounts_never_see_each_other(exchange, account, ticker):
    one, two = account(), account()
    async with (
        exchange.rest(one.signer) as reads_one,
        exchange.rest(two.signer) as reads_two,
        exchange.orders(one.signer) as orders_one,
        exchange.orders(two.signer) as orders_two,
        connected(exchange, two.signer) as socket,
    ):
        await socket.sid(
            socket.client.subscribe(["user_orders", "fill", "market_positions"]), "market_positions"
        )
        rests = await place(orders_one, order(ticker, "bid", "0.40"))
        fills = await place(orders_one, order(ticker, "bid", "0.51"))
        assert fills.fill_count == 100
        with pytest.raises(VenueNotFound):
            await reads_two.get_order(rests.order_id)
        gone = await orders_two.cancel(
            rests.order_id, market_ticker=ticker, subaccount=0, deadline_ms=DEADLINE_MS
        )
        assert isinstance(gone, Rejected)
        assert gone.status == 404
        assert await reads_two.list_orders(subaccount=0) == []
        assert await reads_two.list_fills(subaccount=0) == []
        assert await reads_two.list_positions(subaccount=0) == []
        keys = {key.api_key_id for key in await reads_two.list_api_keys()}
        assert keys == {two.key_id}
        with pytest.raises(VenueNotFound):
            await reads_two.delete_api_key(one.key_id)
        assert len(await reads_one.list_orders(subaccount=0)) == 2
        own = await place(orders_two, order(ticker, "bid", "0.39"))
        seen = await socket.until(
            lambda: [raw for raw in socket.raw if raw["type"] == "user_order"], "the own order's frame"
        )
        assert {raw["msg"]["order_id"] for raw in seen} == {own.order_id}
        assert not [raw for raw in socket.raw if raw["type"] in {"fill", "market_position"}]
