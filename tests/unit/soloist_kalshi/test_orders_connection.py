"""Connections of the order path: what leaves when, what is kept, and what every odd end of a reply means."""

import asyncio
import contextlib
import socket

import msgspec
import pytest
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.orders import Accepted, NotSent, OrderClient, Rejected, Requested, Unknown
from soloist_kalshi.orders_connection import MOST_REPLY_BYTES, Connection
from soloist_kalshi.signing import Signer, generate_private_key

from tests.unit.soloist_kalshi.kalshi_servers import ScriptedServer, eventually, reply, self_signed
from tests.unit.soloist_kalshi.test_orders import CREATED, ORDER, answering, cancel, create

KEYS = generate_private_key("ed25519")
SOURCE = SignerSource(Signer.from_pem("key-1", KEYS.private_pem))
HEAD = f"HTTP/1.1 201 X\r\nContent-Length: {len(CREATED)}\r\n"


def client_of(server, **options):
    return OrderClient(server.base_url, SOURCE, **options)


async def warmed(client, server, connections=1):
    client.warm(connections)
    await eventually(
        lambda: len(client._transport._idle) == connections, lambda: (client._transport._idle, server.open)
    )


# ---------------------------------------------------------------------- when bytes leave


def plain(_):
    return None, None


@pytest.mark.parametrize("secured", [plain, self_signed], ids=["plain", "tls"])
async def test_with_a_free_connection_the_bytes_are_the_kernels_before_the_call_first_waits(
    tmp_path, secured
):
    """No turn of the loop passes: between the first step and the look at the peer's socket this test awaits nothing."""
    context, ca_file = secured(tmp_path)
    listening = socket.create_server(("127.0.0.1", 0))
    scheme = "https" if context else "http"
    url = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/trade-api/v2"

    def accept():
        accepted, _ = listening.accept()
        return context.wrap_socket(accepted, server_side=True) if context else accepted

    order_of_events = []

    def gate():
        order_of_events.append("gate")
        asyncio.get_running_loop().call_soon(order_of_events.append, "another callback")

    async with OrderClient(url, SOURCE, ca_file=ca_file) as client:
        client.warm(1)
        accepted = await asyncio.to_thread(accept)
        await eventually(lambda: client._transport._idle, lambda: "no connection")
        sending = create(client, gate=gate)
        sending.send(None)
        accepted.settimeout(4)
        received = accepted.recv(65_536)
        order_of_events.append("bytes read")
        assert received.startswith(b"POST /trade-api/v2/portfolio/events/orders HTTP/1.1\r\n")
        assert received.endswith(b"}")
        assert order_of_events == ["gate", "bytes read"]
        sending.close()
        accepted.close()
        listening.close()


async def test_a_request_larger_than_the_kernel_takes_arrives_whole_and_once():
    orders = [msgspec.structs.replace(ORDER, client_order_id=f"{n:064}", ticker="T" * 4_000) for n in range(2_000)]  # fmt: skip
    async with ScriptedServer(answering(reply(200, b'{"orders":[]}'))) as server, client_of(server) as client:
        outcomes = await client.create_batch(orders, subaccount=0, deadline_ms=4_000)
        assert {type(outcome) for outcome in outcomes} == {Unknown}  # answered, with other items than ours
        [request] = server.requests
        assert len(msgspec.json.decode(request.body)["orders"]) == 2_000
        assert isinstance(await create(client), Unknown)
        assert server.connections == 1


# ---------------------------------------------------------------------- which connection


async def test_a_connection_that_the_venue_closed_is_noticed_before_anything_is_written():
    async with ScriptedServer(answering(reply(201, CREATED))) as server, client_of(server) as client:
        await warmed(client, server)
        [connection] = client._transport._idle
        # The loop is kept from hearing of the end: only the look before the write can.
        asyncio.get_running_loop().remove_reader(connection._socket)
        for writer in server._writers:
            writer.transport.abort()
        await eventually(lambda: not server.open, lambda: server.open)
        assert isinstance(await create(client), Accepted)
        assert [request.connection for request in server.requests] == [2]


async def test_a_venue_that_closes_at_once_gets_nothing_and_is_not_asked_again():
    async def closing(_reader, writer):
        connections.append(1)
        writer.transport.abort()

    connections = []
    server = await asyncio.start_server(closing, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        async with OrderClient(url, SOURCE) as client:
            outcome = await create(client)
    # Whether its end came before or after the write is the kernel's affair; there is one connection in any case.
    assert isinstance(outcome, NotSent | Unknown)
    assert connections == [1]


async def test_no_more_connections_than_allowed_and_the_rest_waits_in_turn():
    release = asyncio.Event()

    async def when_released(_):
        await release.wait()
        return reply(201, CREATED)

    async with ScriptedServer(when_released) as server, client_of(server, connections=2) as client:
        sending = [asyncio.create_task(create(client)) for _ in range(7)]
        await eventually(lambda: len(server.requests) == 2, lambda: server.requests)
        release.set()
        assert {type(outcome) for outcome in await asyncio.gather(*sending)} == {Accepted}
        assert server.connections == 2
        assert len(server.requests) == 7


async def test_a_write_that_waits_for_a_connection_until_its_deadline_is_not_sent():
    async def never(_):
        await asyncio.Event().wait()

    async with ScriptedServer(never) as server, client_of(server, connections=1) as client:
        busy = asyncio.create_task(create(client, deadline_ms=60_000))
        await eventually(lambda: server.requests, lambda: server.requests)
        outcome = await cancel(client, deadline_ms=50)
        assert isinstance(outcome, NotSent)
        assert "no answer in time" in outcome.reason
        assert len(server.requests) == 1
        await client.close()
        assert isinstance(await busy, Unknown)


async def test_a_peer_that_never_agrees_on_tls_costs_the_deadline_and_no_byte():
    async with ScriptedServer(answering(None)) as server:
        async with OrderClient(server.base_url.replace("http:", "https:"), SOURCE) as client:
            outcome = await create(client, deadline_ms=100)
        assert isinstance(outcome, NotSent)
    assert server.requests == []


async def test_a_call_cancelled_while_it_waits_passes_the_connection_on():
    async with ScriptedServer(answering(reply(201, CREATED))) as server, client_of(server, connections=1) as client:  # fmt: skip
        pool = client._transport
        await warmed(client, server)
        [connection] = pool._idle
        pool._idle.clear()  # as if it were busy
        first, second = (asyncio.create_task(create(client)) for _ in range(2))
        await eventually(lambda: len(pool._waiting) == 2, lambda: pool._waiting)
        pool._offer(connection)  # given to the first, which is cancelled before it hears of it
        first.cancel()
        assert isinstance(await second, Accepted)
        assert first.cancelled()
    assert server.connections == len(server.requests) == 1


async def test_a_call_dropped_while_it_waits_gets_no_connection():
    async with ScriptedServer(answering(reply(201, CREATED))) as server, client_of(server, connections=1) as client:  # fmt: skip
        dropped = create(client)
        dropped.send(None)  # the dial begins for it
        dropped.close()
        assert isinstance(await create(client), Accepted)
    assert server.connections == len(server.requests) == 1


async def test_when_the_venue_is_gone_everybody_who_waits_hears_of_it_at_once():
    async with ScriptedServer(answering(None)) as server:
        url = server.base_url
    async with OrderClient(url, SOURCE, connections=1) as client:
        outcomes = await asyncio.gather(*(create(client, deadline_ms=60_000) for _ in range(3)))
    assert all("connection refused" in outcome.reason for outcome in outcomes)


async def test_warming_opens_only_what_is_missing():
    async with ScriptedServer(answering(reply(201, CREATED))) as server, client_of(server, connections=3) as client:  # fmt: skip
        await warmed(client, server, 2)
        client.warm(2)
        assert not client._transport._dials
        client.warm(50)
        await eventually(lambda: server.open == 3, lambda: server.open)
        assert not client._transport._dials, "no more than there may be"


async def test_warming_without_a_venue_harms_nothing():
    async with ScriptedServer(answering(None)) as server:
        url = server.base_url
    async with OrderClient(url, SOURCE) as client:
        client.warm(2)
        await eventually(lambda: not client._transport._dials, lambda: client._transport._dials)
        assert isinstance(await create(client), NotSent)


async def test_an_idle_connection_is_given_up_before_the_venue_does_it(monkeypatch):
    monkeypatch.setattr("soloist_kalshi.orders_transport._KEEP_ALIVE_S", 0.01)
    async with ScriptedServer(answering(reply(201, CREATED))) as server, client_of(server) as client:
        assert isinstance(await create(client), Accepted)
        await eventually(lambda: not server.open and not client._transport._open, lambda: server.open)


# ---------------------------------------------------------------------- how replies end


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        pytest.param(f"{HEAD}\r\n".encode() + CREATED, True, id="plain"),
        pytest.param(b"HTTP/1.1 100 X\r\n\r\nHTTP/1.1 103 X\r\nLink: x\r\n\r\n" + f"{HEAD}\r\n".encode() + CREATED, False, id="announced"),
        pytest.param(f"HTTP/1.1 201 X\r\nTransfer-Encoding: chunked\r\n\r\n{len(CREATED):x}\r\n{CREATED.decode()}\r\n0\r\n\r\n".encode(), True, id="chunked"),
        pytest.param(f"{HEAD}Connection: close\r\n\r\n".encode() + CREATED, False, id="last"),
        pytest.param(f"{HEAD.replace('1.1', '1.0')}\r\n".encode() + CREATED, False, id="old"),
        pytest.param(f"{HEAD}\r\n".encode() + CREATED + b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n", False, id="another follows"),
        pytest.param(f"{HEAD}\r\n".encode() + CREATED + b"\0\0nonsense", False, id="rubbish follows"),
    ],
)  # fmt: skip
async def test_a_complete_reply_is_taken_and_only_a_clean_connection_is_kept(answer, kept):
    async with ScriptedServer(answering(answer)) as server, client_of(server) as client:
        for _ in range(2):
            assert isinstance(await create(client), Accepted)
        assert [request.connection for request in server.requests] == ([1, 1] if kept else [1, 2])


async def serve_once(answer):
    """A server that sends this and closes in an orderly way, whatever it is asked."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 200 X\r\n\r\n{}", Requested),
        (b'HTTP/1.1 429 X\r\n\r\n{"error":"too many requests"}', Rejected),
        (b"HTTP/1.1 204 X\r\n\r\n", Requested),
        (b"HTTP/1.1 200 X\r\nContent-Length: 3\r\n\r\n{}", Unknown),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", Unknown),
        (b"HTTP/1.1 200 X\r\nConte", Unknown),
        (b"HTTP/1.1 100 X\r\n\r\n", Unknown),
        (b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", Unknown),
        (b"", Unknown),
    ],
)
async def test_an_orderly_end_completes_only_a_body_without_a_length(answer, kind):
    server, url = await serve_once(answer)
    async with server, OrderClient(url, SOURCE) as client:
        assert isinstance(await client.cancel_all(subaccount=0, deadline_ms=2_000), kind)


@pytest.mark.parametrize("place", ["head", "body"])
async def test_a_reply_without_an_end_is_given_up(place):
    begin = b"HTTP/1.1 200 X\r\n"
    endless = begin + b"X: " if place == "head" else begin + b"Content-Length: 99999999999\r\n\r\n"
    async with ScriptedServer(answering(endless + b"x" * (MOST_REPLY_BYTES + 1))) as server, client_of(server) as client:  # fmt: skip
        outcome = await create(client)
        assert isinstance(outcome, Unknown)
        assert "bytes" in outcome.why or "not HTTP" in outcome.why
        assert not client._transport._open


async def test_what_the_venue_says_without_being_asked_ends_the_connection():
    writers = []

    async def speaking(_reader, writer):
        writers.append(writer)
        writer.write(b"HTTP/1.1 408 X\r\nContent-Length: 0\r\n\r\n")

    server = await asyncio.start_server(speaking, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        async with OrderClient(url, SOURCE) as client:
            client.warm(1)
            pool = client._transport
            await eventually(lambda: writers and not pool._dials and not pool._open, lambda: pool._open)
        for writer in writers:
            writer.transport.abort()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_a_truncated_tls_stream_is_unknown(tmp_path):
    context, ca_file = self_signed(tmp_path)
    async with (
        ScriptedServer(answering(None), context) as server,
        OrderClient(server.base_url, SOURCE, ca_file=ca_file) as client,
    ):
        assert isinstance(await create(client), Unknown)
        assert len(server.requests) == 1


async def test_a_certificate_of_another_name_sends_nothing(tmp_path):
    context, ca_file = self_signed(tmp_path)
    async with (
        ScriptedServer(answering(reply(201, CREATED)), context) as server,
        OrderClient(server.base_url.replace("127.0.0.1", "localhost"), SOURCE, ca_file=ca_file) as client,
    ):
        outcome = await create(client)
    assert isinstance(outcome, NotSent)
    assert "TLS certificate refused" in outcome.reason
    assert server.requests == []


@pytest.mark.parametrize("url", ["https://h\u00f6st/x", "https://host/a b", "https://host/x\r\nY: z"])
def test_a_base_url_with_impossible_characters_is_an_error(url):
    with pytest.raises(ValueError, match="no URL may have"):
        OrderClient(url, SOURCE)


async def test_the_end_of_a_connection_is_no_end_of_the_reply_before():
    """A kept 204 has no length; the end that follows must not complete the next request with it."""
    closing = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 X\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        closing.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    async with server, OrderClient(url, SOURCE) as client:
        assert isinstance(await client.cancel_all(subaccount=0, deadline_ms=2_000), Requested)
        assert isinstance(await client.cancel_all(subaccount=0, deadline_ms=2_000), Unknown)
        assert closing.is_set()


async def test_an_order_that_the_kernel_does_not_take_at_once_is_given_up():
    """Its gate was asked for this moment. Without a gate the bytes follow when they can."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(b"x" * 65_536)
    ended = []
    connection = Connection(ours, idle_s=30, on_idle=lambda _: None, on_end=ended.append)
    answer = await connection.begin(b"POST", asyncio.get_running_loop().time() + 5, at_once=True)
    assert isinstance(answer, OSError)
    assert "at once" in str(answer)
    assert ended == [connection]
    theirs.close()


async def test_an_old_connection_stays_until_a_young_one_is_there():
    async with ScriptedServer(answering(reply(201, CREATED))) as server, client_of(server) as client:
        await warmed(client, server)
        pool = client._transport
        (old,) = pool._idle
        old.idle_since_s -= 20
        client.warm(1)
        assert pool._idle == [old], "an order at this moment finds a connection"
        await eventually(lambda: len(pool._idle) == 2, lambda: pool._idle)


async def test_an_address_that_says_nothing_does_not_take_the_time_of_the_next(monkeypatch):
    silent = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = []
    for _ in range(3):  # a full queue: the kernel answers no further connection
        one = socket.socket()
        one.settimeout(0)
        one.connect_ex(silent.getsockname())
        waiting.append(one)
    async with ScriptedServer(answering(reply(201, CREATED))) as server:
        loop = asyncio.get_running_loop()

        async def two_addresses(*_, **__):
            kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
            return [(*kind, silent.getsockname()), (*kind, ("127.0.0.1", server.port))]

        monkeypatch.setattr(loop, "getaddrinfo", two_addresses, raising=False)
        async with client_of(server) as client:
            assert isinstance(await create(client, deadline_ms=4_000), Accepted)
    for one in (*waiting, silent):
        one.close()
