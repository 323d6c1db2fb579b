"""How long a start takes: `python -m tests.bench.journal_start [--records N]` prints JSON. By hand only; not a test.

A journal of a million records (the life of orders: intended, observed, booked, observed; a cursor now and then, as the
sweep writes it), read by a process that has just begun: with the newest snapshot, from the first record on, and by
`read_journal` alone, which applies nothing. Best and worst of three by the wall clock in seconds, and the least of the
processor's time, which tells more on a machine that others use, too. Then the real engine with that journal, against the
real exchange: from its start as a process to `Ready`, and to its first accepted order.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Booked, CursorMoved, Intended, Observed, Record, Started
from soloist_trader.journal.disk import Disk
from soloist_trader.journal.reader import Tail, read_journal
from soloist_trader.journal.snapshots import take_snapshot
from soloist_trader.journal.writer import Journal

from tests.conformance.engine.engine_processes import CLAIM, Bot, serving
from tests.support import eventually

RECORDS = 1_000_000
BATCH = 4
MARKETS = 20
CURSOR_EVERY = 60
"""Two orders a second and a sweep every 30 s, as the engine does it."""
ORDER_EVERY_MS = 500
ROUNDS = 3
READY_S = 120
EPOCH = 3
"""Of the bots of the conformance cards, one of which runs here."""


def life(count: int) -> Iterator[Record]:
    """Records of an engine that traded without a pause until a minute ago, and holds nothing."""
    began_ms = time.time_ns() // 1_000_000 - 60_000 - count // 4 * ORDER_EVERY_MS
    yield Started(began_ms, CLAIM, 0, EPOCH, 7, "Live")
    made, number = 1, 0
    while made < count or number % (2 * MARKETS):
        number += 1
        now_ms, market, client = (
            began_ms + number * ORDER_EVERY_MS,
            f"KXBENCH-{number % MARKETS}",
            f"s{CLAIM}-{EPOCH}-7-{number}",
        )
        order, side = f"order-{number:012d}", 1 if number // MARKETS % 2 else -1
        yield Intended(
            now_ms, client, number, "maker", market, side, f"level{number % 3}", 4_000, 100, "good_till_canceled", 0,
            reduce_only=False,
        )  # fmt: skip
        yield Observed(now_ms, client, order, 0, closed=False, source="reply")
        yield Booked(
            now_ms, f"fill-{number:012d}", client, order, market, side, 4_000, 100, 70, is_taker=False, fill_time_ms=now_ms
        )  # fmt: skip
        yield Observed(now_ms, client, order, 100, closed=True, source="user_order")
        made += 4
        if number % CURSOR_EVERY == 0:
            yield CursorMoved(now_ms, now_ms)
            made += 1


def write(directory: Path, count: int) -> None:
    """A journal of `count` records; synced once per batch, but not on this disk's time: it is not measured."""

    class Quick(Disk):
        def sync(self, file: int) -> None:
            """Nothing: the journal is thrown away."""

    journal = Journal(directory, disk=Quick())
    journal.open(Ledger())
    for number, record in enumerate(life(count)):
        journal.append(record)
        if number % BATCH == 0:
            journal.commit()
    journal.commit()
    journal.close()


def measured(directory: Path, how: str) -> tuple[float, float, Tail]:
    """Seconds of one start: of the wall clock, and of the processor."""
    began_s, processor_s = time.perf_counter(), time.process_time()
    tail = Tail()
    if how == "read only":
        for _ in read_journal(directory, tail):
            pass
    else:
        journal = Journal(directory)
        tail = journal.open(Ledger())
        journal.close()
    return time.perf_counter() - began_s, time.process_time() - processor_s, tail


def to_trading(journal: Path, scene: Path) -> dict[str, float]:
    """Seconds of the real engine's start with this journal."""
    scene.mkdir()
    with serving(scene) as exchange:
        bot = Bot(scene, exchange, exchange.account("bench"))
        shutil.copytree(journal, bot.state)
        began_s = time.perf_counter()
        try:
            bot.start()
            bot.wait_logged("Ready", READY_S)
            ready_s = time.perf_counter() - began_s
            eventually(lambda: exchange.accepted("bench"), READY_S, bot.log_file.read_text, interval_s=0.05)
            return {"ready_s": round(ready_s, 2), "first_order_s": round(time.perf_counter() - began_s, 2)}
        finally:
            bot.close()


def main() -> None:
    """Write, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    count = parser.parse_args().records
    directory, scenes = (Path(tempfile.mkdtemp(prefix=f"journal-start-{part}-")) for part in "ab")
    try:
        print("writing", count, "records", file=sys.stderr)
        write(directory, count)
        result: dict[str, object] = {
            "records": count,
            "segments": len(list(directory.glob("journal-*"))),
            "megabytes": round(sum(path.stat().st_size for path in directory.iterdir()) / 1e6),
        }
        for how in ("read only", "from zero", "with a snapshot"):
            if how == "with a snapshot":
                began_s = time.perf_counter()
                take_snapshot(directory, Disk(), taken_ms=1, remove=False)
                result["taking the snapshot"] = round(time.perf_counter() - began_s, 2)
                result["snapshot bytes"] = sum(
                    path.stat().st_size for path in directory.glob("snapshot-*.snap")
                )
            found = [measured(directory, how) for _ in range(ROUNDS)]
            walls, processor, tails = zip(*found, strict=True)
            result[how] = {
                "records": tails[-1].records,
                "best_s": round(min(walls), 2),
                "worst_s": round(max(walls), 2),
                "processor_s": round(min(processor), 2),
            }
            print(how, result[how], file=sys.stderr)
            if how != "read only":
                engine = f"engine, {how}"
                result[engine] = to_trading(directory, scenes / how.replace(" ", "-"))
                print(engine, result[engine], file=sys.stderr)
        print(json.dumps(result, indent=1))
    finally:
        shutil.rmtree(directory)
        shutil.rmtree(scenes)


if __name__ == "__main__":
    main()
