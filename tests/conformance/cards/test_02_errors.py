"""How the venue says no: four shapes of bodies, status codes, and the paths that are gone (sections 3.1 to 3.3 and 8.7)."""

from __future__ import annotations

import pytest
from soloist_kalshi.errors import VenueNotFound, VenueRateLimited, VenueRejected, parse_error_body

from tests.conformance.cards import card, signed
from tests.conformance.kit import ORDERS, raw_order

LEGACY = [
    ("POST", "/portfolio/orders"),
    ("POST", "/portfolio/orders/batched"),
    ("DELETE", "/portfolio/orders/batched"),
    ("DELETE", "/portfolio/orders/some-id"),
    ("POST", "/portfolio/orders/some-id/amend"),
    ("POST", "/portfolio/orders/some-id/decrease"),
]


@card("C019", section="3.1", title="Shape one: exchange errors are nested in `error`", demo=True)
def test_the_nested_shape(exchange, account, ticker):
    reply = signed(exchange, account().signer, "POST", ORDERS, json=raw_order(ticker, price="0.0150"))
    assert reply.status_code == 400
    assert set(reply.json()) == {"error"}
    assert reply.json()["error"]["code"] == "invalid_price"
    assert isinstance(reply.json()["error"]["message"], str)


@pytest.mark.parametrize(
    "changes",
    [{"count": 1}, {"price": 0.01}, {"side": "yes"}, {"ticker": None}, {"self_trade_prevention_type": None}],
)
@card(
    "C020",
    section="3.1",
    title="Shape two: a body that cannot be decoded, JSON numbers included, is a flat bad_request",
)
def test_the_flat_shape(exchange, account, ticker, changes):
    reply = signed(exchange, account().signer, "POST", ORDERS, json=raw_order(ticker, **changes))
    assert (reply.status_code, reply.json()["code"]) == (400, "bad_request")
    assert reply.json()["details"].startswith("json: cannot unmarshal")
    assert parse_error_body(400, reply.content).code == "bad_request"


@card("C021", section="5", title="A JSON number as price or count is refused, never rounded", demo=True)
def test_numbers_are_refused(exchange, account, ticker):
    for changes in ({"count": 1}, {"price": 0.01}):
        reply = signed(exchange, account().signer, "POST", ORDERS, json=raw_order(ticker, **changes))
        assert (reply.status_code, parse_error_body(400, reply.content).code) == (400, "bad_request")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
@card("C022", section="3.1", title="A body that is no JSON object is a bad_request, too")
def test_a_body_that_is_no_order(exchange, account, body):
    reply = signed(exchange, account().signer, "POST", ORDERS, content=body)
    assert (reply.status_code, reply.json()["code"]) == (400, "bad_request")


@card(
    "C023",
    section="3.1",
    title="Shape three: a query that cannot be understood is answered with `msg`",
    demo=True,
)
def test_the_parameter_shape(exchange, account):
    reply = signed(exchange, account().signer, "GET", "/markets", params={"limit": "1001"})
    assert reply.status_code == 400
    assert set(reply.json()) == {"msg"}
    assert reply.json()["msg"].startswith("Parameter validation failed")
    assert parse_error_body(400, reply.content).code == "parameter_validation"


@card("C024", section="3.1", title="Shape four: 429 has a text in `error`, and no Retry-After")
def test_the_text_shape(exchange, account, ticker):
    demo = account()
    while (reply := signed(exchange, demo.signer, "POST", ORDERS, json=raw_order(ticker))).status_code == 201:
        pass
    assert (reply.status_code, reply.text.rstrip()) == (429, '{"error":"too many requests"}')
    assert not {name for name in reply.headers if name.startswith(("retry-after", "x-ratelimit"))}
    assert isinstance(parse_error_body(429, reply.content), VenueRateLimited)


@card("C025", section="3.2", title="A call that does not exist is 404 in the nested shape")
def test_a_call_that_does_not_exist(exchange, account):
    reply = signed(exchange, account().signer, "GET", "/portfolio/no-such-call")
    assert reply.status_code == 404
    assert parse_error_body(404, reply.content).code == "not_found"


@card("C026", section="6", title="An unknown market is 404", demo=True)
async def test_an_unknown_market(exchange):
    async with exchange.rest(None) as reads:
        with pytest.raises(VenueNotFound):
            await reads.get_market("NO-SUCH-MARKET")


@pytest.mark.parametrize(("method", "path"), LEGACY)
@card("C027", section="8.7", title="The V1 write paths are gone: 410 deprecated_v1_order_endpoint")
def test_the_old_write_paths_are_gone(exchange, account, method, path):
    reply = signed(exchange, account().signer, method, path, json={})
    assert (reply.status_code, reply.json()["error"]["code"], reply.json()["error"]["message"]) == (
        410,
        "deprecated_v1_order_endpoint",
        "Please switch to the V2 endpoints",
    )


@card(
    "C028",
    section="16",
    title="By switch, the V1 answer comes with a status of success, and still nothing was ordered",
    switches=("v1_status",),
)
async def test_a_v1_answer_that_looks_like_success(exchange, desk):
    exchange.switch(v1_status=200)
    reply = desk.raw("POST", "/portfolio/orders", json={"ticker": desk.ticker, "side": "yes"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (200, "deprecated_v1_order_endpoint")
    assert await desk.reads.list_orders(subaccount=0) == []


@card(
    "C029",
    section="3.1",
    title="An error's code may carry an id: the client keeps code, message and details apart",
)
async def test_the_client_keeps_what_was_said(exchange, desk):
    refused = await desk.bid("0.4050")
    assert (refused.status, refused.code) == (400, "invalid_price")
    with pytest.raises(VenueRejected) as error:
        await desk.reads.delete_api_key("00000000-0000-4000-8000-000000000000")
    assert (error.value.status, error.value.code) == (404, "not_found")
