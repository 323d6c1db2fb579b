"""Whose a private frame is: the account's channels tell of every subaccount, and a venue leaves empty fields out."""

import asyncio

import msgspec
import pytest
from soloist_kalshi import frames
from soloist_kalshi.attempt_budget import AttemptBudget
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.signing import Signer, generate_private_key
from soloist_trader import config
from soloist_trader.core.events import FillSeen, OrderSeen
from soloist_trader.shell.live import LiveEdge

from tests.unit.soloist_trader.test_config import write

OURS, FOREIGN = "s1a2b3c-1-1-1", "s9z9z9z-1-1-1"


def fill(subaccount, client_order_id):
    return frames.FillFrame(
        sid=1,
        msg=frames.FillMessage(
            trade_id="t-1", order_id="o-1", market_ticker="SIM-A", is_taker=True, yes_price_dollars="0.40", count_fp="1.00",
            fee_cost="0.01", ts_ms=1, post_position_fp="1.00", outcome_side="yes", book_side="bid", exchange_index=0,
            client_order_id=client_order_id, subaccount=subaccount,
        ),
    )  # fmt: skip


def order(subaccount, client_order_id):
    return frames.UserOrderFrame(
        sid=1,
        msg=frames.UserOrderMessage(
            order_id="o-1", ticker="SIM-A", status="executed", outcome_side="yes", book_side="bid", yes_price_dollars="0.40",
            fill_count_fp="1.00", remaining_count_fp="0.00", initial_count_fp="1.00", client_order_id=client_order_id or "",
            user_id="u", exchange_index=0, taker_fill_cost_dollars="0.40", maker_fill_cost_dollars="0.00",
            taker_fees_dollars="0.01", maker_fees_dollars="0.00", subaccount_number=subaccount,
        ),
    )  # fmt: skip


@pytest.fixture
def hear(tmp_path):
    """What the edge of a subaccount makes of one frame."""

    def heard(subaccount, frame):
        async def take():
            keys = generate_private_key("ed25519")
            configuration = config.load(write(tmp_path, {"account.subaccount": subaccount}))
            source = SignerSource(Signer.from_pem("key-1", keys.private_pem))
            edge = LiveEdge(configuration, source, lambda _why: None, lambda: None, AttemptBudget())
            events = []
            edge._sink = events.append
            edge._on_frame(msgspec.json.encode(frame))
            await edge.close()
            return [type(event) for event in events]

        return asyncio.run(take())

    return heard


CASES = [
    # ours, what the frame says, client order id, taken
    (3, 3, OURS, True),
    (3, 3, FOREIGN, True),  # the subaccount's, by hand: it moves the position, and the core leaves it alone
    (3, 4, OURS, False),
    (3, None, OURS, True),
    (3, None, FOREIGN, False),
    (3, None, "by-hand", False),
    (
        3,
        None,
        None,
        False,
    ),  # may be anybody's: if it is ours, the order shows more filled than booked, and it is fetched
    (0, None, "by-hand", True),  # the primary's number is the empty one
    (0, None, None, True),
    (0, 3, OURS, False),
]


@pytest.mark.parametrize(("own", "said", "name", "taken"), CASES)
def test_a_fill_frame_that_does_not_say_our_subaccount_needs_an_id_of_ours(hear, own, said, name, taken):
    assert hear(own, fill(said, name)) == ([FillSeen] if taken else [])


@pytest.mark.parametrize(("own", "said", "name", "taken"), CASES)
def test_an_order_frame_that_does_not_say_our_subaccount_needs_an_id_of_ours(hear, own, said, name, taken):
    assert hear(own, order(said, name)) == ([OrderSeen] if taken else [])
