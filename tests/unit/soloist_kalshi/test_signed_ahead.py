"""Signatures made ahead are used once, while they are fresh, and only those of the current key."""

import asyncio

import pytest
from soloist_kalshi.clock import ServerClock
from soloist_kalshi.errors import VenueClockSkew
from soloist_kalshi.keys import KeySlot, SignerSource
from soloist_kalshi.orders import Accepted, OrderClient
from soloist_kalshi.signed_ahead import FRESH_MS, SignedAhead
from soloist_kalshi.signing import Signer, Verifier, generate_private_key, signed_text

from tests.unit.soloist_kalshi.kalshi_servers import ScriptedServer, eventually, reply
from tests.unit.soloist_kalshi.test_orders import CREATED, create

PAIR = generate_private_key("rsa")
PATH = "/trade-api/v2/portfolio/events/orders"


class Scene:
    """Signatures made ahead on a clock that the test moves."""

    def __init__(self):
        self.now_ms = 1_800_000_000_000
        self.source = SignerSource(Signer.from_pem("key-1", PAIR.private_pem))
        self.clock = ServerClock(wall_ms=lambda: self.now_ms, monotonic_ms=lambda: 0)
        self.ahead = SignedAhead(self.source, self.clock, "POST", PATH)

    async def __aenter__(self):
        self.ahead.begin()
        await self.until_ready()
        return self

    async def __aexit__(self, *_):
        self.ahead.end()

    async def until_ready(self):
        """Wait until there are as many as there will be, made at this time."""
        ready = self.ahead._ready
        await eventually(
            lambda: len(ready) == 4 and all(signed.timestamp_ms == self.now_ms for signed in ready),
            lambda: list(ready),
        )


def fields(lines):
    return dict(line.split(": ") for line in lines.split("\r\n") if line)


def is_signed(lines, public_pem=PAIR.public_pem):
    found = fields(lines)
    text = signed_text(found["KALSHI-ACCESS-TIMESTAMP"], "POST", PATH)
    return Verifier.from_public_pem(public_pem).verify(text, found["KALSHI-ACCESS-SIGNATURE"])


async def test_each_is_given_out_once_and_what_is_missing_is_signed_on_the_spot():
    async with Scene() as scene:
        given = [scene.ahead.take() for _ in range(6)]
        assert scene.ahead.used == 4
        assert len(set(given)) == 6, "RSA-PSS is salted, so equal lines would be the same signature"
        assert all(is_signed(lines) for lines in given)
        await scene.until_ready()  # and they are made again


@pytest.mark.parametrize(("late_ms", "used"), [(FRESH_MS, 1), (FRESH_MS + 1, 0), (-1, 0)])
async def test_one_that_is_too_old_or_from_the_future_is_thrown_away(late_ms, used):
    async with Scene() as scene:
        scene.now_ms += late_ms
        lines = scene.ahead.take()
        assert scene.ahead.used == used
        made_ms = scene.now_ms - late_ms if used else scene.now_ms
        assert fields(lines)["KALSHI-ACCESS-TIMESTAMP"] == str(made_ms)
        assert is_signed(lines)


async def test_after_a_rotation_nothing_leaves_with_the_old_key():
    second = generate_private_key("ed25519")
    async with Scene() as scene:
        scene.source.load([*scene.source.slots, KeySlot(2, Signer.from_pem("key-2", second.private_pem))])
        scene.source.promote(2)
        lines = scene.ahead.take()
        assert fields(lines)["KALSHI-ACCESS-KEY"] == "key-2"
        assert is_signed(lines, second.public_pem)
        assert scene.ahead.used == 0


async def test_with_a_skewed_clock_nothing_is_signed():
    async with Scene() as scene:
        scene.clock.observe("Fri, 15 Jan 2027 08:01:00 GMT", 0)
        with pytest.raises(VenueClockSkew):
            scene.ahead.take()
        await asyncio.sleep(0)
        assert len(scene.ahead._ready) == 4, "and none is made either"


async def test_an_order_after_warm_carries_one_that_was_made_ahead():
    async def answer(_):
        return reply(201, CREATED)

    source = SignerSource(Signer.from_pem("key-1", PAIR.private_pem))
    async with ScriptedServer(answer) as server, OrderClient(server.base_url, source) as client:
        ahead = client._transport.signed
        assert isinstance(await create(client), Accepted)
        assert ahead.used == 0, "nobody asked to be warm"
        client.warm(1)
        await eventually(lambda: ahead._ready, lambda: "none is made")
        assert isinstance(await create(client), Accepted)
        assert ahead.used == 1
        for request in server.requests:
            lines = "\r\n".join(
                f"{name.upper()}: {value}"
                for name, value in request.headers.items()
                if "access" in name.lower()
            )
            assert is_signed(lines)
        await client.close()
        assert not ahead._ready
        assert ahead._timer is None
