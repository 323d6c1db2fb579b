"""Who may speak at all: signatures, timestamps and the bytes of a refusal (section 2)."""

from __future__ import annotations

import asyncio
import base64
import dataclasses

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from soloist_kalshi.clock import ServerClock
from soloist_kalshi.endpoint import tls_context
from soloist_kalshi.errors import (
    VenueClockSkew,
    VenueError,
    VenueRejected,
    VenueUnauthorized,
    VenueUnreachable,
)
from soloist_kalshi.orders import NotSent, OrderClient
from soloist_kalshi.rest import ReadPolicy, RestClient
from soloist_kalshi.signing import (
    HEADER_KEY,
    HEADER_SIGNATURE,
    HEADER_TIMESTAMP,
    Signer,
    generate_private_key,
)

from tests.conformance.cards import Socket, card, order, place, signed
from tests.conformance.kit import wall_ms

BALANCE = "/portfolio/balance"
EXPIRED = '{"error":{"code":"header_timestamp_expired","message":"header timestamp expired"}}'
NOBODY = "00000000-0000-4000-8000-000000000000"
ONCE = ReadPolicy(attempts=1)


def stranger(key_id: str) -> Signer:
    return Signer.from_pem(key_id, generate_private_key("ed25519").private_pem)


@pytest.mark.parametrize("key_type", ["ed25519", "rsa"])
@card("C001", section="2", title="A request signed with Ed25519 or RSA-PSS is answered", demo=True)
async def test_a_signed_request_is_answered(exchange, account, key_type):
    async with exchange.rest(account("250.00", key_type=key_type).signer) as client:
        balance = await client.get_balance(subaccount=0)
    whole, _, fraction = balance.balance_dollars.partition(".")
    assert balance.balance == int(whole) * 100 + int(fraction[:2])


@card("C002", section="2", title="A bad signature: 401, to the byte", demo=True)
def test_a_bad_signature(exchange, account):
    reply = signed(exchange, stranger(account().key_id), "GET", BALANCE)
    assert (reply.status_code, reply.text.rstrip()) == (
        401,
        '{"error":{"code":"authentication_error","message":"authentication_error","details":"INCORRECT_API_KEY_SIGNATURE"}}',
    )


@card("C003", section="2", title="An unknown key: 401 with details NOT_FOUND, to the byte", demo=True)
def test_an_unknown_key(exchange):
    reply = signed(exchange, stranger(NOBODY), "GET", BALANCE)
    assert (reply.status_code, reply.text.rstrip()) == (
        401,
        '{"error":{"code":"authentication_error","message":"authentication_error","details":"NOT_FOUND"}}',
    )


@pytest.mark.parametrize("off_ms", [-300_000, 300_000])
@card(
    "C004", section="2", title="A timestamp outside the window, past or future: 401, to the byte", demo=True
)
def test_a_timestamp_outside_the_window(exchange, account, off_ms):
    reply = signed(exchange, account().signer, "GET", BALANCE, timestamp_ms=wall_ms() + off_ms)
    assert (reply.status_code, reply.text.rstrip()) == (401, EXPIRED)


@card(
    "C005",
    section="2",
    title="The window has a limit for the past and another for the future",
    switches=("clock_past_ms", "clock_future_ms"),
)
def test_the_window_has_two_limits(exchange, account):
    signer = account().signer

    def status(off_ms):
        return signed(exchange, signer, "GET", BALANCE, timestamp_ms=wall_ms() + off_ms).status_code

    # The edges are 15 s away from each other, so a slow machine does not blur them.
    assert [status(off_ms) for off_ms in (-35_000, -5_000, 5_000, 35_000)] == [401, 200, 200, 401]
    exchange.switch(clock_past_ms=50_000, clock_future_ms=0)
    assert [status(off_ms) for off_ms in (-65_000, -35_000, 5_000)] == [401, 200, 401]


@pytest.mark.parametrize("text", ["", "soon", "1e12", "9" * 5000])
@card("C006", section="2", title="A timestamp that is no number of milliseconds: 401")
def test_a_timestamp_that_is_none(exchange, account, text):
    reply = signed(exchange, account().signer, "GET", BALANCE, headers={HEADER_TIMESTAMP: text})
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "header_timestamp_expired")


@pytest.mark.parametrize("without", [[HEADER_SIGNATURE], [HEADER_KEY, HEADER_TIMESTAMP, HEADER_SIGNATURE]])
@card("C007", section="2", title="A missing signature: 401, to the byte", demo=True)
def test_a_missing_signature(exchange, account, without):
    reply = signed(exchange, account().signer, "GET", BALANCE, without=without)
    assert (reply.status_code, reply.text.rstrip()) == (
        401,
        '{"error":{"code":"signature_is_missing_from_headers","message":"signature is missing from headers"}}',
    )


@card("C008", section="2", title="Method and path are signed, query and body are not", demo=True)
def test_what_is_signed(exchange, account):
    demo = account()
    assert signed(exchange, demo.signer, "GET", BALANCE, params={"subaccount": "0"}).status_code == 200
    for method, path in (("GET", "/trade-api/v2/portfolio/orders"), ("POST", f"/trade-api/v2{BALANCE}")):
        stolen = demo.signer.headers(method, path, wall_ms())
        assert signed(exchange, demo.signer, "GET", BALANCE, headers=stolen).status_code == 401


@card("C009", section="2", title="The same signed request may be sent again within the window")
def test_no_replay_protection(exchange, account):
    demo = account()
    headers = demo.signer.headers("GET", f"/trade-api/v2{BALANCE}", wall_ms())
    statuses = [
        httpx.get(
            exchange.rest_url + BALANCE, headers=headers, verify=tls_context(exchange.ca_file)
        ).status_code
        for _ in range(2)
    ]
    assert statuses == [200, 200]


@card(
    "C010",
    section="2",
    title="An RSA-PSS salt that is not 32 bytes is refused, or accepted by switch",
    switches=("pss_salt",),
)
def test_another_salt(exchange, account):
    demo = account(key_type="rsa")
    key = serialization.load_pem_private_key(demo.pem, None)
    timestamp_ms = wall_ms()
    text = f"{timestamp_ms}GET/trade-api/v2{BALANCE}".encode()
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.MAX_LENGTH)
    signature = base64.b64encode(key.sign(text, scheme, hashes.SHA256())).decode()

    def reply():
        return signed(
            exchange,
            demo.signer,
            "GET",
            BALANCE,
            timestamp_ms=timestamp_ms,
            headers={HEADER_SIGNATURE: signature},
        )

    assert (reply().status_code, reply().json()["error"]["details"]) == (401, "INCORRECT_API_KEY_SIGNATURE")
    exchange.switch(pss_salt="any")
    assert reply().status_code == 200


@card("C011", section="2", title="Market data and the exchange's status need no key", demo=True)
def test_public_calls_need_no_key(exchange, ticker):
    for path in ("/exchange/status", "/markets", f"/markets/{ticker}", "/markets/trades", "/events"):
        reply = httpx.get(exchange.rest_url + path, verify=tls_context(exchange.ca_file))
        assert reply.status_code == 200, path


@card("C012", section="2", title="A WebSocket with an unknown key gets 401 instead of 101", demo=True)
async def test_a_websocket_with_an_unknown_key(exchange):
    socket = Socket(exchange, stranger(NOBODY))
    running = asyncio.create_task(socket.client.run())
    await socket.until(lambda: socket.closed, "a refused upgrade")
    await socket.client.close()
    await running
    assert isinstance(socket.closed[0], VenueUnauthorized)
    assert socket.closed[0].details == "NOT_FOUND"


@card(
    "C013",
    section="2",
    title="A wrong host clock: nothing is signed, and the error says by how much it is off",
)
async def test_a_wrong_host_clock(exchange, account, ticker):
    demo = account()
    slow = ServerClock(wall_ms=lambda: wall_ms() - 6_000)
    async with RestClient(exchange.rest_url, demo.signer, ca_file=exchange.ca_file, clock=slow) as client:
        await client.get_exchange_status()  # its Date header is the measurement
        with pytest.raises(VenueClockSkew, match=r"behind the venue's.*synchronise this machine's clock"):
            await client.get_balance(subaccount=0)
    async with OrderClient(exchange.rest_url, demo.signer, ca_file=exchange.ca_file, clock=slow) as orders:
        refused = await place(orders, order(ticker, "bid", "0.01"))
        assert isinstance(refused, NotSent)
        assert "synchronise this machine's clock" in refused.reason


@card("C014", section="1", title="A wrong base URL: an error that names what to check")
async def test_a_wrong_base_url(exchange, account):
    origin = exchange.rest_url.removesuffix("/trade-api/v2")
    async with RestClient(f"{origin}/api", account().signer, ca_file=exchange.ca_file) as client:
        with pytest.raises(VenueError):
            await client.get_balance(subaccount=0)
    with pytest.raises(ValueError, match=r"is not a URL of the form https://host/path"):
        RestClient("venue.example/trade-api/v2", None)


@card("C015", section="1", title="An unreachable host: an error that names address and port", demo=True)
async def test_an_unreachable_host(exchange, account, unused_tcp_port):
    nowhere = f"https://127.0.0.1:{unused_tcp_port}/trade-api/v2"
    async with RestClient(nowhere, account().signer, policy=ONCE) as client:
        with pytest.raises(VenueUnreachable, match=r"connection refused: is the venue's address and port"):
            await client.get_balance(subaccount=0)


@card("C016", section="1", title="A certificate that nobody vouches for: an error that names TLS")
async def test_an_untrusted_certificate(exchange, account):
    async with RestClient(exchange.rest_url, account().signer, policy=ONCE) as client:
        with pytest.raises(VenueUnreachable, match=r"TLS certificate refused .*: check the CA file"):
            await client.get_balance(subaccount=0)


@card("C017", section="3.1", title="A venue that answers HTML: an error that says so, never an empty result")
async def test_a_venue_that_answers_html(exchange, account):
    demo = account()
    exchange.faults({"kind": "error_before", "account": demo.name, "method": "GET"})
    client = RestClient(exchange.rest_url, demo.signer, ca_file=exchange.ca_file, policy=ONCE)
    async with client:
        with pytest.raises(VenueRejected) as refused:
            await client.get_balance(subaccount=0)
    assert (refused.value.status, refused.value.code) == (503, "html")
    assert "check the base URL" in refused.value.message


@card(
    "C018",
    section="2",
    title="A wrong private key for the key id: an error that says 401 and the venue's reason",
)
async def test_a_wrong_key(exchange, account):
    wrong = dataclasses.replace(account(), signer=stranger(account().key_id))
    async with exchange.rest(wrong.signer) as client:
        with pytest.raises(VenueUnauthorized, match="INCORRECT_API_KEY_SIGNATURE"):
            await client.get_balance(subaccount=0)
