"""What a reply promised is there after kill -9: the exchange runs in a process of its own, which the test kills right after a reply."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from soloist_exchange.orders import Status
from soloist_exchange.store import Range

from tests.unit.soloist_exchange.exchange_starts import Starts

# Replies are lines on a pipe, told after their commit; the next step waits for a line, so that the kill comes between the two.
PROGRAM = """
import json, sys
from pathlib import Path
from soloist_exchange.orders import ASK, BID, TimeInForce
from tests.unit.soloist_exchange.exchange_starts import Starts
starts = Starts(Path(sys.argv[1]))
account_id, together = int(sys.argv[2]), int(sys.argv[3])
exchange = starts.start()
group = exchange.venue.groups.create(account_id, 0, 1_000_000)
for number in range(100_000):
    done = []
    for part in range(together):
        starts.clock.now_ms += 1
        side = BID if (number + part) % 3 else ASK
        life = TimeInForce.IMMEDIATE_OR_CANCEL if number % 2 else TimeInForce.GOOD_TILL_CANCELED
        price = (6000 if side == BID else 4000) if number % 2 else (100 if side == BID else 9900)
        order = starts.send(exchange, account_id, side, price, 10 + part, time_in_force=life, group_id=group.group_id)
        done.append(order)
    if number % 10 == 0:
        exchange.venue.cancel(done[0])
    starts.clock.now_ms += 1
    exchange.commit()
    account = exchange.account(account_id)
    print(json.dumps({
        "orders": [[order.order_id, order.client_order_id, order.status.value, order.filled] for order in done],
        "cash": account.cash[0, 0], "positions": {t: [h.count, h.cost, h.fees] for (_, t), h in account.positions.items()},
        "matched": group.matched, "trades": len(exchange.history.trades(limit=1_000_000)),
    }), flush=True)
    sys.stdin.readline()
"""
REPLIES = 26
ROOT = Path(__file__).parents[3]


def replies_before_the_kill(directory: Path, account_id: int, together: int) -> list[dict[str, Any]]:
    """Let the program work, kill it after some replies, and return what it has told."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(directory), str(account_id), str(together)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        replies = [json.loads(process.stdout.readline())]
        while len(replies) < REPLIES:
            process.stdin.write(b"\n")
            process.stdin.flush()
            replies.append(json.loads(process.stdout.readline()))
        process.kill()
    return replies


@pytest.mark.timeout(60)  # it starts a process
@pytest.mark.parametrize("together", [1, 7])
def test_every_reply_before_a_kill_is_true_after_it(tmp_path, together):
    starts = Starts(tmp_path)
    account_id = starts.account("one")
    replies = replies_before_the_kill(tmp_path, account_id, together)

    exchange = starts.start()
    known = {order.order_id: order for order in exchange.store.orders(account_id, Range(limit=1_000_000))}
    told = [order for reply in replies for order in reply["orders"]]
    for order_id, client_order_id, status, filled in told:
        found = known[order_id]
        assert (found.client_order_id, found.status.value, found.filled) == (client_order_id, status, filled)
        assert exchange.store.has_client_order_id(account_id, client_order_id)
    assert len(known) == len(told)
    last, account = replies[-1], exchange.account(account_id)
    assert account.cash[0, 0] == last["cash"]
    assert {t: [h.count, h.cost, h.fees] for (_, t), h in account.positions.items()} == last["positions"]
    assert len(exchange.history.trades(limit=1_000_000)) == last["trades"] > 0
    resting = {order_id for order_id, order in known.items() if order.status is Status.RESTING}
    assert {order.order_id for order in exchange.venue.resting(account_id)} == resting
    assert resting
    (group,) = exchange.venue.groups.of(account_id)
    assert {order.order_id for order in group.orders} == resting
    exchange.venue.ledger.recount()
    starts.stop()
