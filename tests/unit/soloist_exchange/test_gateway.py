from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from soloist_exchange import gateway, server
from soloist_kalshi.custody import CustodyClient
from soloist_kalshi.errors import VenueUnauthorized
from soloist_kalshi.rest import RestClient
from soloist_kalshi.signing import WEBSOCKET_PATH, Signer

from tests.unit.soloist_exchange.exchange_serving import ORDERS, eventually, exchange, frame, order
from tests.unit.soloist_exchange.exchange_sockets import DEADLINE_S


@pytest.fixture
async def desk(tmp_path):
    async with exchange(tmp_path) as found:
        yield found


@pytest.fixture
def user(desk):
    return desk.user("demo")


async def accepted(desk) -> int:
    return len((await desk.admin("GET", "accepted-orders"))["orders"])


# ---------------------------------------------------------------------- calls


async def test_an_order_over_tls_on_a_kept_alive_connection(tmp_path):
    async with exchange(tmp_path, tls=True) as desk:
        user = desk.user("demo")
        made = [await user.create("M") for _ in range(3)]
        assert [reply.status_code for reply in made] == [201] * 3
        balance = await user.call("GET", "/portfolio/balance")
        assert balance.json()["balance"] == 1_000_000 - 3 * 40
        (account,) = (await desk.admin("GET", "accounts"))["accounts"]
        assert account["concurrent"]["connections_max"] == 1


async def test_unknown_calls_and_methods_are_one_404(desk, user):
    for method, path in (("GET", "/nothing"), ("PATCH", "/markets"), ("GET", "/portfolio/events/orders/")):
        reply = await user.call(method, path)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


async def test_a_refused_signature_is_logged_with_its_key(desk, user):
    reply = await desk.http.get(
        f"{desk.listening.rest_url}/portfolio/balance",
        headers=user.headers("GET", "/trade-api/v2/portfolio/orders"),
    )
    assert reply.status_code == 401
    assert reply.json() == {
        "error": {
            "code": "authentication_error",
            "message": "authentication_error",
            "details": "INCORRECT_API_KEY_SIGNATURE",
        }
    }
    (event,) = (await desk.admin("GET", "events", kind="unauthorized"))["events"]
    assert event["key_id"] == user.signer.key_id
    assert event["path"] == "/trade-api/v2/portfolio/balance"


@pytest.mark.parametrize(("client", "name"), [(RestClient, "soloist"), (CustodyClient, "soloist-fence")])
async def test_who_tries_a_deleted_key_is_told_an_engine_or_the_fence(desk, user, client, name):
    assert (await user.call("DELETE", f"/api_keys/{user.signer.key_id}")).status_code == 204
    async with client(desk.listening.rest_url, user.signer) as refused:
        with pytest.raises(VenueUnauthorized):
            await refused.get_balance(subaccount=0)
    (event,) = (await desk.admin("GET", "events", kind="unauthorized"))["events"]
    assert (event["key_id"], event["user_agent"]) == (user.signer.key_id, name)


async def test_too_many_requests_have_their_own_body_and_no_hints(desk, user):
    replies = await asyncio.gather(*(user.call("POST", ORDERS, order("M")) for _ in range(30)))
    refused = [reply for reply in replies if reply.status_code == 429]
    assert refused
    assert refused[0].json() == {"error": "too many requests"}
    assert not {"retry-after", "x-ratelimit-remaining"} & refused[0].headers.keys()


async def test_a_key_is_made_while_other_calls_go_on(desk, user):
    made = await user.call("POST", "/api_keys/generate", {"name": "second", "key_type": "rsa"})
    assert made.status_code == 201
    assert "PRIVATE KEY" in made.json()["private_key"]


async def test_pipelined_orders_are_answered_in_order_and_committed_together(desk, user):
    peer = await desk.peer()
    wanted = [order("M") for _ in range(5)]
    peer.send(b"".join(user.raw("POST", ORDERS, item) for item in wanted))
    replies = [await peer.reply() for _ in wanted]
    assert [status for status, _, _ in replies] == [201] * 5
    ids = [json.loads(body)["client_order_id"] for _, _, body in replies]
    assert ids == [item["client_order_id"] for item in wanted]


async def test_order_books_need_a_signature_by_switch(desk, user):
    path = f"{desk.listening.rest_url}/markets/M/orderbook"
    assert (await desk.http.get(path)).status_code == 200
    await desk.admin("PATCH", "switches", {"orderbook_auth": "required"})
    assert (await desk.http.get(path)).status_code == 401
    assert (await user.call("GET", "/markets/M/orderbook")).status_code == 200


# ---------------------------------------------------------------------- faults of requests


@pytest.mark.parametrize(
    ("fault", "status", "body", "happened"),
    [
        ({"kind": "error_before"}, 503, "<html>", False),
        ({"kind": "error_before", "status": 502, "body": "json"}, 502, "internal_server_error", False),
        ({"kind": "error_after", "status": 500}, 500, "<html>", True),
        ({"kind": "rate_limited"}, 429, '{"error":"too many requests"}', False),
        ({"kind": "clock_skew"}, 401, "header_timestamp_expired", False),
        ({"kind": "forbidden"}, 403, "restricted to a single sub-account", False),
        ({"kind": "slow", "delay_ms": 1}, 201, "order_id", True),
        ({"kind": "fill_before_reply", "delay_ms": 1}, 201, "order_id", True),
    ],
)
async def test_a_fault_that_answers(desk, user, fault, status, body, happened):
    await desk.faults(fault | {"account": "demo", "times": 1})
    reply = await user.create("M")
    assert reply.status_code == status
    assert body in reply.text
    assert await accepted(desk) == happened
    assert (await user.create("M")).status_code == 201
    (report,) = (await desk.admin("GET", "faults"))["faults"]
    assert report["hits"] == 1


@pytest.mark.parametrize(
    ("fault", "happened"),
    [
        ({"kind": "reply_lost_before"}, False),
        ({"kind": "reply_lost_after"}, True),
        ({"kind": "connection_reset"}, False),
        ({"kind": "connection_reset", "when": "after"}, True),
    ],
)
async def test_a_fault_that_ends_the_connection(desk, user, fault, happened):
    await desk.faults(fault | {"times": 1})
    peer = await desk.peer()
    peer.send(user.raw("POST", ORDERS, order("M")))
    if fault["kind"] == "connection_reset":
        with pytest.raises(ConnectionResetError):
            await peer.rest()
    else:
        assert await peer.rest() == b""
    assert await accepted(desk) == happened


async def test_a_truncated_reply_is_shorter_than_it_says(desk, user):
    await desk.faults({"kind": "truncated", "times": 1})
    peer = await desk.peer()
    peer.send(user.raw("POST", ORDERS, order("M")))
    head, _, body = (await peer.rest()).partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert 0 < len(body) < length
    assert await accepted(desk) == 1


@pytest.mark.parametrize(("when", "happened"), [("before", False), ("after", True)])
async def test_a_half_open_connection_is_silent_and_others_are_not(desk, user, when, happened):
    await desk.faults({"kind": "half_open", "when": when, "times": 1})
    silent = await desk.peer()
    silent.send(user.raw("POST", ORDERS, order("M")) * 2)

    async def happened_once():
        return (await desk.admin("GET", "faults"))["faults"][0]["hits"] == 1

    await eventually(happened_once)
    assert (await user.create("M")).status_code == 201
    assert await accepted(desk) == 1 + happened
    assert not silent.reader._buffer
    assert not silent.reader.at_eof()


async def test_a_fault_of_one_endpoint_spares_the_others(desk, user):
    await desk.faults({"kind": "error_before", "endpoint": ORDERS + "/{order_id}", "method": "DELETE"})
    made = (await user.create("M")).json()
    assert (await user.call("DELETE", f"{ORDERS}/{made['order_id']}")).status_code == 503


async def test_a_public_call_that_names_a_key_counts_as_its_accounts(desk, user):
    await desk.faults({"kind": "error_before", "account": "demo"})
    assert (await desk.http.get(f"{desk.listening.rest_url}/markets")).status_code == 200
    assert (await user.call("GET", "/markets")).status_code == 503


async def test_a_market_is_paused_in_the_middle_of_a_burst(desk, user):
    await desk.faults({"kind": "market_paused", "ticker": "M", "after": 2, "times": 1, "path": ORDERS})
    replies = [await user.create("M") for _ in range(4)]
    assert [reply.status_code for reply in replies] == [201, 201, 400, 400]
    assert replies[2].json()["error"]["code"] == "MARKET_INACTIVE"
    await desk.admin("POST", "markets/M/activate")
    assert (await user.create("M")).status_code == 201


async def test_a_pause_that_happens_again_says_nothing_that_the_venue_would_not(desk, user):
    await desk.faults({"kind": "market_paused", "ticker": "M", "path": ORDERS})
    replies = [await user.create("M") for _ in range(2)]
    assert [reply.json()["error"]["code"] for reply in replies] == ["MARKET_INACTIVE"] * 2


async def test_a_fill_comes_before_the_reply(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "STOP_S", 0)  # nobody waits for the reply at the end
    async with exchange(tmp_path) as desk:
        user = desk.user("demo")
        await desk.faults({"kind": "fill_before_reply", "times": 1, "delay_ms": 600_000})
        async with user.websocket("fill") as socket:
            trade = asyncio.ensure_future(user.create("M", "bid", "0.60"))
            assert (await frame(socket, "fill"))["msg"]["count_fp"] == "1.00"
            assert not trade.done()
            trade.cancel()
            await asyncio.gather(trade, return_exceptions=True)


async def test_faults_of_keys_turn_switches_and_give_them_back(desk, user):
    await desk.admin("PATCH", "switches", {"key_list_lag_ms": 7})
    await desk.faults(
        {"kind": "revocation_delayed", "delay_ms": 600_000}, {"kind": "key_list_stale", "delay_ms": 9}
    )
    shown = await desk.admin("GET", "switches")
    assert (shown["revocation_delay_ms"], shown["key_list_lag_ms"]) == (600_000, 9)
    assert (await user.call("DELETE", f"/api_keys/{user.signer.key_id}")).status_code == 204
    assert (await user.call("GET", "/portfolio/balance")).status_code == 200
    await desk.faults()
    shown = await desk.admin("GET", "switches")
    assert (shown["revocation_delay_ms"], shown["key_list_lag_ms"]) == (0, 7)
    assert (await user.call("GET", "/portfolio/balance")).status_code == 401


# ---------------------------------------------------------------------- WebSocket


async def test_a_websocket_needs_a_signature(desk, user):
    async with aiohttp.ClientSession() as session:
        for headers in (
            {},
            user.headers("GET", "/trade-api/v2/elsewhere"),
            user.headers("GET", WEBSOCKET_PATH, -60_000),
        ):
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await session.ws_connect(desk.listening.ws_url, headers=headers)
            assert error.value.status == 401


async def test_a_websocket_needs_a_key_that_may_read(desk, user):
    wanted = {"name": "little", "key_type": "ed25519", "scopes": ["read::portfolio_balance"]}
    made = (await user.call("POST", "/api_keys/generate", wanted)).json()
    user.signer = Signer.from_pem(made["api_key_id"], made["private_key"].encode())
    with pytest.raises(aiohttp.WSServerHandshakeError) as error:
        async with user.websocket():
            pass
    assert error.value.status == 403


async def test_a_websocket_is_refused_with_502(desk, user):
    await desk.faults({"kind": "websocket_refused", "account": "demo", "times": 1})
    with pytest.raises(aiohttp.WSServerHandshakeError) as error:
        async with user.websocket():
            pass
    assert error.value.status == 502
    async with user.websocket("fill"):
        pass


async def test_faults_of_requests_spare_the_upgrade_unless_they_name_it(desk, user):
    await desk.faults({"kind": "rate_limited"})
    async with user.websocket():
        pass
    await desk.faults({"kind": "rate_limited", "path": "/ws/v2"})
    with pytest.raises(aiohttp.WSServerHandshakeError) as error:
        async with user.websocket():
            pass
    assert error.value.status == 429


@pytest.mark.parametrize(
    ("how", "type_"), [("with_frame", aiohttp.WSMsgType.CLOSE), ("without_frame", aiohttp.WSMsgType.CLOSED)]
)
async def test_connections_end_with_a_close_frame_or_without(desk, user, how, type_):
    other = desk.user("other")
    async with user.websocket("fill") as socket, other.websocket("fill") as spared:
        ended = await desk.admin("POST", "disconnect", account="demo", how=how)
        assert ended == {"disconnected": 1}
        assert (await asyncio.wait_for(socket.receive(), DEADLINE_S)).type is type_
        await spared.ping()
        assert not spared.closed
    async with user.websocket("fill") as socket:
        await desk.faults({"kind": f"close_{how}", "account": "demo", "path": "fill", "times": 1})
        await user.create("M", "bid", "0.60")
        assert (await asyncio.wait_for(socket.receive(), DEADLINE_S)).type is type_


async def test_a_late_fill_comes_after_the_cancel_of_its_order(desk, user):
    await desk.faults({"kind": "late_fill_after_cancel", "account": "demo", "delay_ms": 600_000})
    async with user.websocket("fill", "user_orders") as socket:
        made = (await user.create("M", "bid", "0.51", count="99.00")).json()
        assert float(made["fill_count"]) > 0
        assert (await user.call("DELETE", f"{ORDERS}/{made['order_id']}")).status_code == 200
        while (await frame(socket, "user_order"))["msg"]["status"] != "canceled":
            pass


async def test_an_account_has_so_many_websockets_and_no_more(desk, user, monkeypatch):
    monkeypatch.setattr(gateway, "WEBSOCKETS_PER_ACCOUNT", 2)
    async with user.websocket(), user.websocket():
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            async with user.websocket():
                pass
        assert error.value.status == 429
        async with desk.user("other").websocket():
            pass


async def test_stopping_says_goodbye_to_every_websocket(tmp_path):
    async with exchange(tmp_path) as desk:
        user = desk.user("demo")
        said = []

        async def listen(ready):
            async with user.websocket("fill") as socket:
                ready.set()
                message = await socket.receive()
                said.append((message.type, message.data))

        ready = [asyncio.Event() for _ in range(3)]
        listeners = [asyncio.create_task(listen(item)) for item in ready]
        for item in ready:
            await asyncio.wait_for(item.wait(), DEADLINE_S)
    await asyncio.gather(*listeners)
    assert said == [(aiohttp.WSMsgType.CLOSE, 1001)] * 3


# ---------------------------------------------------------------------- what is counted


async def test_keys_and_connections_are_counted_now_and_at_most(desk, user):
    second = await user.call("POST", "/api_keys/generate", {"name": "second", "key_type": "ed25519"})
    one, two = await desk.peer(), await desk.peer()
    one.send(user.raw("GET", "/portfolio/balance"))
    await one.reply()
    key = second.json()
    user.signer = Signer.from_pem(key["api_key_id"], key["private_key"].encode())
    two.send(user.raw("GET", "/portfolio/balance"))
    await two.reply()
    async with user.websocket("fill"):
        counts = await concurrent(desk)
        # The kept-alive connection of the test's own client is the third one.
        assert (counts["keys"], counts["connections"], counts["websockets"]) == (2, 4, 1)
    one.writer.transport.abort()
    two.writer.transport.abort()

    async def closed():
        return (await concurrent(desk))["connections"] == 1

    await eventually(closed)
    counts = await concurrent(desk)
    assert (counts["keys"], counts["keys_max"], counts["connections_max"], counts["websockets_max"]) == (
        1,
        2,
        4,
        1,
    )


async def concurrent(desk):
    (account,) = (await desk.admin("GET", "accounts"))["accounts"]
    return account["concurrent"]
