"""The venue against a second one that was written separately, over random streams of calls; and the conservation laws over the same."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.property.soloist_exchange.order_streams import drawn_stream, drawn_world
from tests.property.soloist_exchange.venue_pair import played, shrunk

SEED = "soloist-4"
PARTS = 10
STREAMS = 10_000
# Most streams are short, so that there can be many; one in fifty is long, so that books, windows and accumulators fill up.
SHORT, LONG, LONG_EVERY = 20, 150, 50
LEAST_SEEN = 1


@pytest.mark.parametrize("part", range(PARTS))
def test_the_reference_agrees_on_every_fill_every_status_and_every_queue(part):
    seen: Counter[str] = Counter()
    for number in range(part, STREAMS, PARTS):
        rng = random.Random(f"{SEED}/{number}")
        world = drawn_world(rng)
        calls = drawn_stream(rng, SHORT if number // PARTS % LONG_EVERY else LONG)
        try:
            pair = played(world, calls)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in a stream is its failure
            shorter, failure = shrunk(world, calls)
            listed = "\n".join(map(repr, shorter))
            pytest.fail(
                f"stream {SEED}/{number} fails after {len(shorter)} of {len(calls)} calls: {failure!r}\n"
                f"world {world}\n{listed}\n(first seen as {error!r})"
            )
        seen["streams"] += 1
        seen["calls"] += len(calls)
        seen["refused"] += pair.refused
        seen["trades"] += pair.reference.trades
        seen["steps"] += pair.venue.steps
        seen["settled"] += sum(market["status"] == "finalized" for market in pair.reference.markets.values())
        seen.update(order["why"] or "unnamed" for order in pair.reference.orders.values())
    print(f"seed {SEED}: {dict(seen)}")
    assert seen["streams"] == STREAMS // PARTS
    # A stream that does nothing proves nothing.
    assert seen["trades"] > seen["streams"]
    rare = (
        "ORDER_GROUP_CANCEL", "ReduceOnlyCancel", "SelfTradeCancel", "PostOnlyCrossCancel", "ExpiryCancel", "HaltCancel",
        "CloseCancel", "Decrease", "Amend", "settled",
    )  # fmt: skip
    assert not {what: seen[what] for what in rare if seen[what] < LEAST_SEEN}
