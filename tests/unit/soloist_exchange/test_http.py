from __future__ import annotations

import asyncio

import pytest
from soloist_exchange.http import HttpRequest, Limits

from tests.unit.soloist_exchange.exchange_sockets import eventually, serving

GET = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n"
FAR_S = 1e9


async def test_a_connection_is_kept_alive_and_every_reply_says_what_it_is():
    async with serving() as (_, connect):
        peer = await connect()
        for path in ("/a", "/b?c=d"):
            peer.send(GET.format(path))
            status, headers, body = await peer.reply()
            assert (status, body) == (200, f"GET {path.partition('?')[0]} ".encode())
            assert headers["content-type"] == "text/plain"
            assert headers["date"].endswith("gmt")
            assert "connection" not in headers


async def test_pipelined_requests_are_answered_in_their_order_even_when_the_first_is_the_slowest():
    async with serving() as (toy, connect):
        peer = await connect()
        peer.send(GET.format("/held") + GET.format("/b") + GET.format("/held") + GET.format("/d"))
        await eventually(lambda: len(toy.requests) == 4)
        await eventually(lambda: toy.commits == 1)
        toy.held[1].reply(200, b"third")
        await eventually(lambda: toy.commits == 2)
        toy.held[0].reply(200, b"first")
        bodies = [(await peer.reply())[2] for _ in range(4)]
        assert bodies == [b"first", b"GET /b ", b"third", b"GET /d "]


async def test_requests_that_come_together_share_one_commit():
    async with serving() as (toy, connect):
        peer = await connect()
        peer.send(GET.format("/a") * 20)
        for _ in range(20):
            await peer.reply()
        # Twenty requests in one segment, or in two if the kernel cut it.
        assert toy.commits <= 2


async def test_what_could_not_be_committed_is_not_told():
    async with serving() as (toy, connect):
        peer = await connect()
        toy.fails = True
        peer.send(GET.format("/a"))
        status, headers, body = await peer.reply()
        assert status == 503
        assert headers["connection"] == "close"
        assert b"/a" not in body
        assert await peer.rest() == b""


async def test_a_chunked_body_is_put_together():
    async with serving() as (_, connect):
        peer = await connect()
        peer.send("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        peer.send("2\r\nde\r\n0\r\n\r\n")
        assert (await peer.reply())[2] == b"POST /a abcde"


async def test_one_byte_at_a_time_is_as_good_as_all_at_once():
    async with serving() as (_, connect):
        peer = await connect()
        for byte in b"POST /a%20b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi":
            peer.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await peer.reply())[2] == b"POST /a b hi"


async def test_a_body_is_asked_for_when_the_client_waits_for_that():
    async with serving() as (_, connect):
        peer = await connect()
        peer.send("POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await peer.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.send("ok")
        assert (await peer.reply())[2] == b"POST /a ok"


async def test_head_has_the_length_and_not_the_body():
    async with serving() as (_, connect):
        peer = await connect()
        peer.send("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, _ = await peer.reply(to_head=True)
        assert (status, headers["content-length"]) == (200, "8")
        peer.send(GET.format("/b"))
        assert (await peer.reply())[2] == b"GET /b "


async def test_no_content_has_neither_type_nor_length():
    async with serving() as (_, connect):
        peer = await connect()
        peer.send(GET.format("/nothing") + GET.format("/b"))
        status, headers, _ = await peer.reply()
        assert status == 204
        assert not {"content-length", "content-type"} & headers.keys()
        assert (await peer.reply())[2] == b"GET /b "


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("NONSENSE\r\n\r\n", 400),
        ("GET /a HTTP/1.1\r\n\r\n", 400),  # no Host
        ("GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET /a HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n", 400),
        ("GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (f"GET /a HTTP/1.1\r\nHost: x\r\nBig: {'y' * 600}\r\n\r\n", 431),
        (f"GET /{'y' * 600} HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        ("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 51\r\n\r\n", 413),
        (
            "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + "10\r\n0123456789abcdef\r\n" * 4,
            413,
        ),
    ],
)
async def test_what_no_request_may_be_is_answered_and_ends_the_connection(request_text, status):
    async with serving(Limits(head_bytes=512, body_bytes=50)) as (toy, connect):
        peer = await connect()
        peer.send(request_text)
        answered, headers, _ = await peer.reply()
        assert (answered, headers["connection"]) == (status, "close")
        assert await peer.rest() == b""
        assert not toy.requests


async def test_a_head_that_never_ends_is_cut_off():
    async with serving(Limits(head_bytes=512)) as (_, connect):
        peer = await connect()
        peer.send("GET /a HTTP/1.1\r\nHost: x\r\nEndless: ")
        for _ in range(20):
            peer.send("y" * 100)
            await asyncio.sleep(0)
        assert (await peer.reply())[0] == 431


async def test_many_whole_requests_are_not_taken_for_one_endless_head():
    async with serving(Limits(head_bytes=512)) as (_, connect):
        peer = await connect()
        peer.send(GET.format("/a") * 40)
        assert [(await peer.reply())[0] for _ in range(40)] == [200] * 40


async def test_good_requests_before_a_bad_one_are_answered():
    async with serving() as (_, connect):
        peer = await connect()
        peer.send(GET.format("/a") + "NONSENSE\r\n\r\n" + GET.format("/never"))
        assert [(await peer.reply())[0] for _ in range(2)] == [200, 400]
        assert await peer.rest() == b""


@pytest.mark.parametrize(
    "part",
    [
        "GET /a HTT",
        "GET /a HTTP/1.1\r\nHost: x\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab",
    ],
)
async def test_a_request_that_takes_too_long_is_ended(part):
    async with serving() as (toy, connect):
        peer = await connect()
        peer.send(part)
        connection = await opened(toy)
        await eventually(lambda: connection._in_head or connection._in_body)
        toy.connections.sweep(connection.deadline_s - 0.001)
        assert len(toy.connections) == 1
        toy.connections.sweep(connection.deadline_s)
        assert (await peer.reply())[0] == 408
        assert await peer.rest() == b""


async def test_a_whole_request_buys_no_time_for_the_next_one():
    async with serving() as (toy, connect):
        peer = await connect()
        peer.send(GET.format("/a") + "GET /slow HTT")
        await peer.reply()
        now_s = asyncio.get_running_loop().time()
        toy.connections.sweep(now_s + Limits().request_s)
        assert (await peer.reply())[0] == 408


def test_a_query_is_decoded_and_repeated_names_are_kept():
    query = HttpRequest("GET", "/a", "t=A%2CB&t=C&empty=&x+y=1", {}, b"").query
    assert dict(query) == {"t": "A,B", "empty": "", "x y": "1"}
    assert query.getall("t", []) == ["A,B", "C"]
    assert (query.get("u"), query.getall("u", [])) == (None, [])
    assert not HttpRequest("GET", "/a", "", {}, b"").query


async def test_a_connection_that_idles_is_closed_and_one_that_waits_for_its_reply_is_not():
    async with serving() as (toy, connect):
        idle, waits = await connect(), await connect()
        waits.send(GET.format("/held"))
        await eventually(lambda: toy.held and len(toy.opened_ever) == 2)
        toy.connections.sweep(FAR_S)
        assert await idle.rest() == b""
        toy.held[0].reply(200, b"late")
        assert (await waits.reply())[2] == b"late"


async def opened(toy):
    await eventually(lambda: toy.opened_ever)
    return toy.opened_ever[0]


async def test_http_1_0_and_connection_close_end_after_the_reply():
    async with serving() as (toy, connect):
        for text in ("GET /a HTTP/1.0\r\n\r\n", "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
            peer = await connect()
            peer.send(text + GET.format("/never"))
            _, headers, body = await peer.reply()
            assert (headers["connection"], body) == ("close", b"GET /a ")
            assert await peer.rest() == b""
        assert [request.path for request in toy.requests] == ["/a", "/a"]


async def test_a_client_that_closes_its_half_gets_its_reply():
    async with serving() as (toy, connect):
        peer = await connect()
        peer.send(GET.format("/held"))
        peer.writer.write_eof()
        await eventually(lambda: toy.held)
        toy.held[0].reply(200, b"late")
        assert (await peer.reply())[2] == b"late"
        assert await peer.rest() == b""


async def test_an_offer_of_another_protocol_is_not_taken():
    async with serving() as (_, connect):
        peer = await connect()
        peer.send("GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n")
        assert (await peer.reply())[2] == b"GET /a "
        peer.send(GET.format("/b"))
        assert (await peer.reply())[2] == b"GET /b "


async def test_more_requests_than_are_taken_at_once_wait_in_the_kernel():
    async with serving(Limits(pipelined=3)) as (toy, connect):
        peer = await connect()
        peer.send(GET.format("/held") * 5)
        await eventually(lambda: len(toy.held) == 5)
        peer.send(GET.format("/after"))
        for slot in toy.held:
            slot.reply(200, b"")
        assert [(await peer.reply())[2] for _ in range(6)][-1] == b"GET /after "


async def test_a_truncated_reply_promises_more_than_it_sends():
    async with serving() as (_, connect):
        peer = await connect()
        peer.send(GET.format("/short"))
        text = await peer.rest()
        assert b"Content-Length: 10\r\n" in text
        assert text.endswith(b"\r\n\r\n01234")


async def test_a_reset_connection_is_reset():
    async with serving() as (toy, connect):
        peer = await connect()
        peer.send(GET.format("/held"))
        await eventually(lambda: toy.held)
        toy.held[0].connection.reset()
        with pytest.raises(ConnectionResetError):
            await peer.rest()


async def test_a_half_open_connection_answers_nothing_and_stays():
    async with serving() as (toy, connect):
        peer = await connect()
        peer.send(GET.format("/held") + GET.format("/mute") + GET.format("/behind"))
        await eventually(lambda: toy.held)
        toy.held[0].reply(200, b"never")
        peer.send(GET.format("/b"))
        toy.connections.sweep(FAR_S)
        other = await connect()
        other.send(GET.format("/c"))
        assert (await other.reply())[2] == b"GET /c "
        assert len(toy.connections) == 2
        assert [request.path for request in toy.requests] == ["/held", "/mute", "/c"]
        assert not peer.reader._buffer


async def test_stopping_lets_replies_out_that_are_due():
    async with serving() as (toy, connect):
        idle, busy = await connect(), await connect()
        busy.send(GET.format("/held"))
        await eventually(lambda: toy.held and len(toy.opened_ever) == 2)
        stopping = asyncio.ensure_future(toy.connections.stop(20))
        assert await idle.rest() == b""
        toy.held[0].reply(200, b"last")
        assert (await busy.reply())[2] == b"last"
        await stopping
        assert not len(toy.connections)
