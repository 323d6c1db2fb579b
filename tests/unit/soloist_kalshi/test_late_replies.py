"""A reply is the reply of one request: what comes late or in pieces is never taken for the next one's.

Real sockets, and no races: the venue answers when the test lets it, which is after the request was given up, and in the sequence of the
requests on a connection, as HTTP/1.1 does.
"""

import asyncio
import contextlib

import msgspec
import pytest
from soloist_kalshi.orders import Accepted, Unknown

from tests.unit.soloist_kalshi.kalshi_servers import ScriptedServer, eventually, reply, self_signed
from tests.unit.soloist_kalshi.test_orders import CREATED, ORDER
from tests.unit.soloist_kalshi.test_orders_connection import client_of, plain, warmed

FIRST, SECOND = "first", "second"
GIVEN_UP_MS = 50
NEVER_MS = 60_000


async def send(client, name, deadline_ms=NEVER_MS):
    order = msgspec.structs.replace(ORDER, client_order_id=name)
    return await client.create(order, subaccount=0, deadline_ms=deadline_ms)


def name_of(request):
    return msgspec.json.decode(request.body)["client_order_id"]


def answering_first_when(release):
    """Orders are accepted under the client's own id, which tells whose reply it is; the first one's waits."""

    async def answer(request):
        name = name_of(request)
        if name == FIRST:
            await release.wait()
        body = msgspec.json.decode(CREATED) | {"order_id": name, "client_order_id": name}
        return reply(201, msgspec.json.encode(body))

    return answer


async def by_deadline(client, server, early):
    sending = asyncio.create_task(send(client, FIRST, GIVEN_UP_MS))
    await begin_to_answer(server, early)
    outcome = await sending
    assert isinstance(outcome, Unknown)
    assert "no answer in time" in outcome.why


async def by_cancelling(client, server, early):
    [connection] = client._transport._idle
    sending = asyncio.create_task(send(client, FIRST))
    await begin_to_answer(server, early)
    await eventually(lambda: connection._received == len(early), lambda: connection._received)
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending


async def by_dropping(client, server, early):
    """As a coroutine that nobody drives on."""
    [connection] = client._transport._idle
    sending = send(client, FIRST)
    sending.send(None)
    await begin_to_answer(server, early)
    await eventually(lambda: connection._received == len(early), lambda: connection._received)
    sending.close()


async def begin_to_answer(server, early):
    await eventually(lambda: server.requests, lambda: server.requests)
    for writer in server._writers:  # none, where the deadline came first
        writer.write(early)


@pytest.mark.parametrize("secured", [plain, self_signed], ids=["plain", "tls"])
@pytest.mark.parametrize("give_up", [by_deadline, by_cancelling, by_dropping])
@pytest.mark.parametrize(
    "early",
    [
        b"",
        b"HTTP/1.1 103 X\r\nLink: x\r\n\r\n",
        b"HTTP/1.1 201 X\r\nConte",
        b'HTTP/1.1 201 X\r\nContent-Length: 900\r\n\r\n{"order_id":',
    ],
    ids=["nothing yet", "an announcement", "half a head", "half a body"],
)
async def test_a_reply_that_comes_after_its_request_was_given_up_is_nobodys(
    tmp_path, secured, give_up, early
):
    context, ca_file = secured(tmp_path)
    release = asyncio.Event()
    async with (
        ScriptedServer(answering_first_when(release), context) as server,
        client_of(server, ca_file=ca_file) as client,
    ):
        await warmed(client, server)
        await give_up(client, server, early)
        assert not client._transport._idle, "a connection that owes a reply is not for the next request"
        assert not client._transport._open
        second = asyncio.create_task(send(client, SECOND))
        await asyncio.sleep(0)  # its bytes left, on whatever connection it found, before the late reply comes
        release.set()
        outcome = await second
        assert isinstance(outcome, Accepted), outcome
        assert (outcome.order_id, outcome.client_order_id) == (SECOND, SECOND)
        assert [(name_of(request), request.connection) for request in server.requests] == [
            (FIRST, 1),
            (SECOND, 2),
        ]


async def test_a_call_cancelled_after_its_reply_came_leaves_the_next_requests_connection_alone():
    """The reply is there and the connection was passed on, but the task has not gone on yet."""
    release = asyncio.Event()
    async with (
        ScriptedServer(answering_first_when(release)) as server,
        client_of(server, connections=1) as client,
    ):
        await warmed(client, server)
        [connection] = client._transport._idle
        first = asyncio.create_task(send(client, FIRST))
        await eventually(lambda: server.requests, lambda: server.requests)
        second = asyncio.create_task(send(client, SECOND))
        await eventually(lambda: client._transport._waiting, lambda: client._transport._waiting)
        pass_on = connection._on_idle

        def pass_on_and_cancel(idle):
            pass_on(idle)
            first.cancel()

        connection._on_idle = pass_on_and_cancel
        release.set()
        outcome = await second
        assert isinstance(outcome, Accepted)
        assert outcome.order_id == SECOND
        assert first.cancelled()
        assert server.connections == 1
