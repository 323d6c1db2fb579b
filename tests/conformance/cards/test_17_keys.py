"""API keys: made, restricted, listed and deleted, which is what a rotation is made of (section 10)."""

from __future__ import annotations

import uuid

import pytest
from soloist_kalshi.errors import VenueForbidden, VenueNotFound, VenueUnauthorized
from soloist_kalshi.messages import SubaccountTransfer
from soloist_kalshi.orders import Accepted, Rejected
from soloist_kalshi.signing import Signer, generate_private_key

from tests.conformance.cards import DEADLINE_MS, card, connected, order, place

RESTRICTED = "this API key is restricted to a single sub-account and cannot access this endpoint"


def key_of(made) -> Signer:
    return Signer.from_pem(made.api_key_id, made.private_key.encode())


@pytest.mark.parametrize("key_type", ["ed25519", "rsa"])
@card(
    "C204",
    section="10",
    title="A rotation: make a key, prove it by a read and a WebSocket, delete it, see its 401",
)
async def test_a_rotation(exchange, desk, key_type):
    made = await desk.reads.generate_api_key("second", key_type=key_type, scopes=["read", "write::trade"])
    listed = {key.api_key_id: key for key in await desk.reads.list_api_keys()}
    assert (listed[made.api_key_id].name, listed[made.api_key_id].key_type) == ("second", key_type)
    second = key_of(made)
    async with exchange.rest(second) as client:
        async with connected(exchange, second):
            await client.get_balance(subaccount=0)
        await desk.reads.delete_api_key(made.api_key_id)
        with pytest.raises(VenueUnauthorized) as refused:
            await client.get_balance(subaccount=0)
    assert refused.value.details == "NOT_FOUND"
    with pytest.raises(VenueNotFound):
        await desk.reads.delete_api_key(made.api_key_id)
    assert made.api_key_id not in {key.api_key_id for key in await desk.reads.list_api_keys()}


@card("C205", section="10", title="The private key is shown once: no list has it")
async def test_the_private_key_is_shown_once(desk):
    reply = desk.raw("POST", "/api_keys/generate", json={"name": "once"})
    assert reply.status_code == 201
    assert set(reply.json()) >= {"api_key_id", "private_key", "key_type", "warning"}
    assert reply.json()["key_type"] == "rsa"
    listed = desk.raw("GET", "/api_keys")
    assert "PRIVATE" not in listed.text
    names = {row["name"] for row in listed.json()["api_keys"]}
    assert "once" in names


@card(
    "C206",
    section="16",
    title="Deleting a key ends its open WebSockets, or by switch leaves them",
    switches=("deleted_key_ends_websocket",),
)
async def test_the_websocket_of_a_deleted_key(exchange, desk):
    first, second = [await desk.reads.generate_api_key(name) for name in ("first", "second")]
    async with connected(exchange, key_of(first)) as socket:
        await desk.reads.delete_api_key(first.api_key_id)
        await socket.until(lambda: socket.closed, "the end of the deleted key's connection")
    exchange.switch(deleted_key_ends_websocket=False)
    async with connected(exchange, key_of(second)) as socket:
        await desk.reads.delete_api_key(second.api_key_id)
        await socket.sid(socket.client.subscribe(["trade"]), "trade")
        assert socket.closed == []


@card(
    "C207",
    section="10",
    title="A deletion takes effect at once, or by switch after D_rev",
    clock="virtual",
    switches=("revocation_delay_ms",),
)
async def test_a_delayed_revocation(exchange, desk):
    exchange.switch(revocation_delay_ms=5_000)
    made = await desk.reads.generate_api_key("lingering")
    async with exchange.rest(key_of(made)) as client:
        await desk.reads.delete_api_key(made.api_key_id)
        exchange.advance(4_000)
        await client.get_balance(subaccount=0)
        exchange.advance(1_001)
        with pytest.raises(VenueUnauthorized):
            await client.get_balance(subaccount=0)


@card(
    "C208",
    section="10",
    title="The list of keys is current, or by switch behind",
    clock="virtual",
    switches=("key_list_lag_ms",),
)
async def test_a_stale_list_of_keys(exchange, desk):
    exchange.switch(key_list_lag_ms=5_000)
    exchange.advance(10_000)

    async def names():
        return {key.name for key in await desk.reads.list_api_keys()}

    made = await desk.reads.generate_api_key("hidden")
    assert "hidden" not in await names()
    exchange.advance(5_001)
    assert "hidden" in await names()
    await desk.reads.delete_api_key(made.api_key_id)
    assert "hidden" in await names()
    exchange.advance(5_001)
    assert "hidden" not in await names()


@card("C209", section="10", title="Scopes: a reader places nothing, a trader manages no keys")
async def test_scopes(exchange, desk):
    reader = key_of(await desk.reads.generate_api_key("reader", scopes=["read"]))
    trader = key_of(await desk.reads.generate_api_key("trader", scopes=["read", "write::trade"]))
    async with exchange.orders(reader) as orders, exchange.rest(reader) as client:
        refused = await place(orders, order(desk.ticker, "bid", "0.40"))
        assert isinstance(refused, Rejected)
        assert refused.status == 403
        with pytest.raises(VenueForbidden):
            await client.generate_api_key("more")
    async with exchange.orders(trader) as orders, exchange.rest(trader) as client:
        assert isinstance(await place(orders, order(desk.ticker, "bid", "0.40")), Accepted)
        for call in (client.generate_api_key("more"), client.delete_api_key(trader.key_id)):
            with pytest.raises(VenueForbidden):
                await call


@card("C210", section="10", title="write::trade moves no money, write::transfer places no order")
async def test_scopes_of_money(exchange, desks):
    desk = await desks(tier="advanced")
    sub = await desk.funded_subaccount("1.00")
    trader = key_of(await desk.reads.generate_api_key("trader", scopes=["read", "write::trade"]))
    payer = key_of(await desk.reads.generate_api_key("payer", scopes=["read", "write::transfer"]))

    def wanted():
        return SubaccountTransfer(
            client_transfer_id=str(uuid.uuid4()), from_subaccount=0, to_subaccount=sub, amount_cents=100
        )

    async with exchange.rest(trader) as client, exchange.orders(trader) as orders:
        with pytest.raises(VenueForbidden):
            await client.transfer(wanted())
        assert isinstance(await place(orders, order(desk.ticker, "bid", "0.40")), Accepted)
    async with exchange.rest(payer) as client, exchange.orders(payer) as orders:
        await client.transfer(wanted())
        assert (await place(orders, order(desk.ticker, "bid", "0.40"))).status == 403
    assert await desk.balance(sub) == "2.000000"


@card("C211", section="10", title="A key without scopes has read and write")
async def test_default_scopes(desk):
    made = await desk.reads.generate_api_key("default")
    (shown,) = [key for key in await desk.reads.list_api_keys() if key.api_key_id == made.api_key_id]
    assert set(shown.scopes) == {"read", "write"}


@card(
    "C212",
    section="2",
    title="A key restricted to a subaccount: 403 with the documented text outside of its set",
)
async def test_a_restricted_key(exchange, desk):
    made = await desk.reads.generate_api_key("zero", scopes=["read", "write::trade"], subaccount=0)
    placed = await desk.bid("0.40")
    restricted = key_of(made)
    async with exchange.rest(restricted) as client, exchange.orders(restricted) as orders:
        assert [item.order_id for item in await client.list_orders(subaccount=0)] == [placed.order_id]
        assert (await client.get_order(placed.order_id)).order_id == placed.order_id
        for call in (
            client.list_api_keys(),
            client.get_balance(subaccount=1),
            client.list_orders(subaccount=1),
        ):
            with pytest.raises(VenueForbidden, match=RESTRICTED):
                await call
        wanted = order(desk.ticker, "bid", "0.40")
        refused = await orders.create(wanted, subaccount=1, deadline_ms=DEADLINE_MS)
        assert (refused.status, refused.message) == (403, RESTRICTED)


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "scopes": ["write"]},
        {"name": "x", "scopes": ["everything"]},
        {"name": "x", "subaccount": 64},
        {"name": "x", "key_type": "dsa"},
        {"scopes": ["read"]},
    ],
)
@card(
    "C213", section="10", title="Keys that cannot be made: write without read, unknown scope or type, no name"
)
async def test_keys_that_cannot_be_made(desk, body):
    assert desk.raw("POST", "/api_keys/generate", json=body).status_code == 400
    assert len(await desk.reads.list_api_keys()) == 1


@pytest.mark.parametrize("key_type", ["ed25519", "rsa"])
@card(
    "C214", section="10", title="An own public key is taken from tier premier on, and refused with 403 below"
)
async def test_an_own_public_key(exchange, desks, key_type):
    pair = generate_private_key(key_type)
    low, high = await desks(), await desks(tier="premier")
    with pytest.raises(VenueForbidden):
        await low.reads.create_api_key("mine", pair.public_pem.decode())
    key_id = await high.reads.create_api_key("mine", pair.public_pem.decode())
    key_id = getattr(key_id, "api_key_id", key_id)
    async with exchange.rest(Signer.from_pem(key_id, pair.private_pem)) as client:
        await client.get_balance(subaccount=0)


@card("C215", section="10", title="Keys of another account cannot be seen or deleted")
async def test_keys_of_another_account(desks):
    one, two = await desks(), await desks()
    assert {key.api_key_id for key in await two.reads.list_api_keys()} == {two.account.key_id}
    with pytest.raises(VenueNotFound):
        await two.reads.delete_api_key(one.account.key_id)
    await one.reads.get_balance(subaccount=0)


@card(
    "C216",
    section="10",
    title="The keys of the account are listed with scopes, never with a secret",
    demo=True,
)
async def test_the_list_of_keys(desk):
    keys = await desk.reads.list_api_keys()
    assert desk.account.key_id in {key.api_key_id for key in keys}
    assert all("read" in key.scopes for key in keys if key.api_key_id == desk.account.key_id)
