"""A fresh pod's network comes some seconds later than the pod: what is asked first is asked again, and nothing else is."""

from __future__ import annotations

import socket

import certifi
import pytest
from soloist_fence.api import Reason
from soloist_fence.cluster import Cluster, Connection
from soloist_fence.commands import DeleteKey, GenerateKey, ListKeys
from soloist_fence.driver import FIRST_CONTACT_PAUSE_S, FIRST_CONTACT_S, FirstContact, World
from soloist_fence.errors import FenceError, NoAnswerError, NoConnectionError
from soloist_fence.venue import Venue
from soloist_kalshi.signing import Signer, generate_private_key

from tests.unit.soloist_fence.fence_world import CLAIM

REFUSED = NoConnectionError(Reason.VENUE_UNREACHABLE, "connection refused")


class Peer:
    """Answers, or raises what is due; the time goes on with every wait."""

    def __init__(self, *replies: FenceError | str) -> None:
        self.replies = list(replies)
        self.now_s = 0.0
        self.asked = 0

    def contact(self) -> FirstContact:
        return FirstContact(clock=lambda: self.now_s, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    async def once(self) -> str:
        self.asked += 1
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, FenceError):
            raise reply
        return reply


async def test_the_first_look_is_repeated_until_somebody_answers() -> None:
    peer = Peer(REFUSED, REFUSED, REFUSED, "there")
    assert await peer.contact().look("venue", peer.once) == "there"
    assert peer.asked == 4


async def test_patience_ends() -> None:
    peer = Peer(REFUSED)
    with pytest.raises(NoConnectionError):
        await peer.contact().look("venue", peer.once)
    assert FIRST_CONTACT_S <= peer.now_s <= FIRST_CONTACT_S + 2


async def test_after_the_first_answer_a_lost_connection_ends_the_attempt_at_once() -> None:
    peer = Peer("there", REFUSED)
    contact = peer.contact()
    await contact.look("venue", peer.once)
    with pytest.raises(NoConnectionError):
        await contact.look("venue", peer.once)
    assert (peer.asked, peer.now_s) == (2, 0)


@pytest.mark.parametrize(
    "answer",
    [
        FenceError(Reason.MANAGEMENT_KEY_REJECTED, "401"),
        NoAnswerError(Reason.VENUE_UNREACHABLE, "500"),
    ],
)
async def test_a_refusal_is_an_answer(answer: FenceError) -> None:
    peer = Peer(answer, REFUSED)
    contact = peer.contact()
    for _ in range(2):
        with pytest.raises(FenceError):
            await contact.look("venue", peer.once)
    assert (peer.asked, peer.now_s) == (2, 0)


async def test_each_peer_is_met_once() -> None:
    venue, cluster = Peer("there"), Peer(REFUSED, "there")
    contact = FirstContact(clock=lambda: 0.0, sleep=cluster.sleep)
    await contact.look("venue", venue.once)
    assert await contact.look("API server", cluster.once) == "there"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def nobodys_venue() -> Venue:
    """A venue at an address where nobody listens."""
    signer = Signer.from_pem("management", generate_private_key("ed25519").private_pem)
    return Venue(f"http://127.0.0.1:{closed_port()}/trade-api/v2", None, signer, 0)


async def test_a_refused_look_at_the_venue_is_repeated() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with nobodys_venue() as venue:
        contact = FirstContact(clock=lambda: FIRST_CONTACT_S * len(waits), sleep=sleep)
        with pytest.raises(NoConnectionError):
            await World(venue, None, contact).perform(ListKeys())
    assert waits == [FIRST_CONTACT_PAUSE_S]


async def test_nothing_that_changes_something_is_repeated() -> None:
    async def sleep(seconds: float) -> None:
        raise AssertionError(f"waits {seconds} s to send a write again")

    async with nobodys_venue() as venue:
        world = World(venue, None, FirstContact(sleep=sleep))
        for command in (DeleteKey("key-1"), GenerateKey("name", ("read",), None, "ed25519")):
            with pytest.raises(NoConnectionError):
                await world.perform(command)


async def test_an_api_server_that_cannot_be_reached_has_not_answered() -> None:
    connection = Connection(f"http://127.0.0.1:{closed_port()}", "token", certifi.where())
    async with Cluster(connection, namespace="bots", bot="demo", claim=CLAIM) as cluster:
        with pytest.raises(NoConnectionError):
            await cluster.delete_secret("demo-key-e1-nonce0001")
