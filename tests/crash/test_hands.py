"""The judge of two bots in memory sees a hand on the other one's orders."""

import logging

import pytest

from tests.crash.test_dead_man import LastLife
from tests.crash.world import ORDERS, strange_hands


def event(kind, order, key):
    return {"kind": kind, "order_id": order, "key_id": key}


OURS, THEIRS = event("accepted", "v1", "key-0"), event("accepted", "v2", "key-1")


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ([], 0),
        ([event("cancel", "v1", "key-0"), event("cancel", "v2", "key-1")], 0),
        ([event("cancel", "v2", "key-0")], 1),
        ([event("amend", "v2", "key-0")], 1),
        ([event("decrease", "v1", "key-1")], 1),
        ([event("cancel", "v3", "key-0")], 1),
        ([event("cancel_all", "", "key-0")], 1),
    ],
)
def test_touching_what_another_key_sent_is_found(more, found):
    assert strange_hands([OURS, THEIRS, *more]) == more[:found]


class Meddling(LastLife):
    """The first bot's key cancels what the second bot left, as a bot would that asks for neither claim nor subaccount."""

    number = 1
    meddles = True

    def _after_death(self):
        if self.meddles:
            order = self._resting()[0]
            self.venue.call(
                self.bots[0].key_id, "DELETE", f"{ORDERS}/{order.order_id}", "?subaccount=1", None
            )


@pytest.mark.parametrize("meddles", [False, True])
def test_the_exchanges_own_log_shows_it(meddles):
    logging.disable(logging.CRITICAL)
    world = Meddling(0, 1 << 30, bots=2)  # the second bot of this seed joins the book
    world.meddles = meddles
    try:
        found = world.run().findings
    finally:
        logging.disable(logging.NOTSET)
    assert len(found) == meddles, found
    assert all("touched what is not its own" in finding for finding in found)
