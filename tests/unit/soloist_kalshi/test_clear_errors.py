"""The six mistakes that everybody makes once: each is named, with what to do, by reads, by the order path and by the WebSocket."""

import asyncio
import socket

import pytest
from soloist_kalshi.errors import (
    VenueClockSkew,
    VenueNotFound,
    VenueProtocolError,
    VenueRejected,
    VenueUnauthorized,
    VenueUnavailable,
    VenueUnreachable,
)
from soloist_kalshi.orders import NotSent, OrderClient, Rejected, Unknown
from soloist_kalshi.rest import ReadPolicy, RestClient
from soloist_kalshi.signing import Signer, generate_private_key
from soloist_kalshi.websocket import WebSocketPolicy

from tests.unit.soloist_kalshi.kalshi_servers import ScriptedServer, reply, self_signed
from tests.unit.soloist_kalshi.test_orders import create
from tests.unit.soloist_kalshi.test_rest import answering
from tests.unit.soloist_kalshi.test_websocket import Consumer, Venue

SIGNER = Signer.from_pem("key-1", generate_private_key("ed25519").private_pem)
ONCE = ReadPolicy(attempts=1, request_ms=4_000, deadline_ms=4_500)
BRIEF = ReadPolicy(attempts=1, request_ms=200, deadline_ms=4_500)
HTML = b"<!doctype html><html><head><title>Kalshi - trade the future</title></head></html>"


def body(code, details=""):
    return f'{{"error":{{"code":"{code}","message":"{code}","details":"{details}"}}}}'.encode()


async def read_error(server_or_url, *, ca_file=None, policy=ONCE):
    url = server_or_url if isinstance(server_or_url, str) else server_or_url.base_url
    async with RestClient(url, SIGNER, ca_file=ca_file, policy=policy) as rest:
        with pytest.raises((VenueRejected, VenueUnreachable, VenueProtocolError, VenueClockSkew)) as caught:
            await rest.get_balance(subaccount=0)
    return caught.value


async def order_outcome(server_or_url, *, ca_file=None, deadline_ms=4_000):
    url = server_or_url if isinstance(server_or_url, str) else server_or_url.base_url
    async with OrderClient(url, SIGNER, ca_file=ca_file) as orders:
        return await create(orders, deadline_ms=deadline_ms)


async def socket_error(url, *, ca_file=None, policy=None):
    policy = policy or WebSocketPolicy(connect_ms=4_000, base_wait_ms=1, cap_wait_ms=1)
    async with Consumer(Venue(), url=url, ca_file=ca_file, policy=policy) as consumer:
        await consumer.until(lambda: consumer.closed)
    return consumer.closed[0]


def as_socket(server):
    return server.base_url.replace("http", "ws", 1)


# Wrong base URL


async def test_a_wrong_base_url_that_the_venue_answers_with_404():
    async with ScriptedServer(answering(reply(404, body("not_found")))) as server:
        error = await read_error(server)
        assert isinstance(error, VenueNotFound)
        assert "no /portfolio/balance at" in str(error)
        assert "check the base URL" in str(error)
        refused = await socket_error(as_socket(server))
    assert isinstance(refused, VenueNotFound)


@pytest.mark.parametrize("status", [200, 404, 405])
async def test_a_wrong_base_url_that_leads_to_the_web_site(status):
    async with ScriptedServer(answering(reply(status, HTML))) as server:
        error = await read_error(server)
        outcome = await order_outcome(server)
        refused = await socket_error(as_socket(server))
    assert "check the base URL" in str(error)
    assert isinstance(outcome, Unknown)  # whoever wrote the page may have passed the order on
    assert "check the base URL" in outcome.why
    assert isinstance(refused, VenueRejected | VenueUnreachable)


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "host/trade-api/v2", "https://", "https://host/x?y=1", "https://u@host/x"]
)
async def test_what_is_no_url_is_said_before_anything_is_sent(url):
    with pytest.raises(ValueError, match="URL"):
        RestClient(url, SIGNER)
    with pytest.raises(ValueError, match="URL"):
        OrderClient(url, SIGNER)
    with pytest.raises(ValueError, match="URL"):
        Consumer(Venue(), url=url)


# Wrong key


@pytest.mark.parametrize(
    ("details", "advice"),
    [
        ("NOT_FOUND", "does not know the key id"),
        ("INCORRECT_API_KEY_SIGNATURE", "does not belong to this key id"),
    ],
)
async def test_a_wrong_key(details, advice):
    async with ScriptedServer(answering(reply(401, body("authentication_error", details)))) as server:
        error = await read_error(server)
        outcome = await order_outcome(server)
        refused = await socket_error(as_socket(server))
    for each in (error, refused):
        assert isinstance(each, VenueUnauthorized)
        assert advice in str(each)
    assert outcome == Rejected(401, "authentication_error", f"authentication_error ({details})")


# Wrong host clock


async def test_a_wrong_host_clock_is_named_at_once_and_nothing_is_signed_after():
    stale = reply(401, body("header_timestamp_expired"), date="Fri, 15 Jan 2021 08:00:00 GMT")
    async with ScriptedServer(answering(stale)) as server:
        error = await read_error(server)
        async with OrderClient(server.base_url, SIGNER) as orders:
            first = await create(orders, deadline_ms=4_000)
            second = await create(orders, deadline_ms=4_000)
        refused = await socket_error(as_socket(server))
    assert isinstance(error, VenueClockSkew)
    assert isinstance(first, Rejected)
    assert isinstance(second, NotSent)
    for text in (str(error), second.reason, str(refused)):
        assert "synchronise this machine's clock" in text


# Unreachable host


async def test_an_unreachable_host_that_refuses():
    async with ScriptedServer(answering(None)) as server:
        url = server.base_url
    error, outcome, refused = (
        await read_error(url),
        await order_outcome(url),
        await socket_error(f"ws{url[4:]}"),
    )
    assert isinstance(outcome, NotSent)
    for text in (str(error), outcome.reason, str(refused)):
        assert "connection refused" in text
        assert "does it run?" in text


async def test_an_unreachable_host_that_swallows():
    silent = socket.create_server(("127.0.0.1", 0))  # connects, and never says a word
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/trade-api/v2"
    error = await read_error(url, policy=BRIEF)
    outcome = await order_outcome(url, deadline_ms=200)
    refused = await socket_error(
        f"ws{url[4:]}", policy=WebSocketPolicy(connect_ms=200, base_wait_ms=1, cap_wait_ms=1)
    )
    silent.close()
    for text in (str(error), outcome.why, str(refused)):
        assert "no answer in time" in text


# TLS


async def test_tls_with_a_certificate_that_nobody_vouches_for(tmp_path):
    context, _ = self_signed(tmp_path)
    async with ScriptedServer(answering(reply(200)), context) as server:
        error, outcome = await read_error(server), await order_outcome(server)
        refused = await socket_error(as_socket(server))
    assert isinstance(outcome, NotSent)
    for text in (str(error), outcome.reason, str(refused)):
        assert "TLS certificate refused" in text
        assert "check the CA file" in text


async def test_tls_to_a_port_that_speaks_none(tmp_path):
    _, ca_file = self_signed(tmp_path)

    async def greet(_, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    plain = await asyncio.start_server(greet, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}/trade-api/v2"
    error = await read_error(url, ca_file=ca_file)
    outcome = await order_outcome(url, ca_file=ca_file)
    refused = await socket_error(f"wss{url[5:]}", ca_file=ca_file)
    plain.close()
    await plain.wait_closed()
    for text in (str(error), outcome.reason, str(refused)):
        assert "is this a TLS port?" in text


async def test_a_ca_file_that_is_none(tmp_path):
    broken = tmp_path / "ca.pem"
    broken.write_text("not a certificate")
    for ca_file in (str(broken), str(tmp_path / "absent.pem")):
        with pytest.raises(VenueUnreachable, match=r"the CA file .* cannot be used .* check venue.ca_file"):
            RestClient("https://127.0.0.1:1/x", SIGNER, ca_file=ca_file)


# A venue that answers HTML


@pytest.mark.parametrize("status", [502, 503])
async def test_the_edge_answers_html(status):
    async with ScriptedServer(answering(reply(status, b"<html><title>upstream</title></html>"))) as server:
        error, outcome = await read_error(server), await order_outcome(server)
        refused = await socket_error(as_socket(server))
    assert isinstance(error, VenueUnavailable)
    assert isinstance(outcome, Unknown)
    for text in (str(error), outcome.why):
        assert f"HTTP {status} html: the edge answered an HTML page (upstream)" in text
    assert isinstance(refused, VenueUnavailable)


async def test_html_with_a_success_keeps_the_page():
    async with ScriptedServer(answering(reply(200, HTML))) as server:
        error = await read_error(server)
    assert isinstance(error, VenueProtocolError)
    assert error.raw == HTML
    assert "an HTML page instead of Balance" in str(error)
