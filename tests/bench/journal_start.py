"""How long a start takes: `python -m tests.bench.journal_start [--records N]` prints JSON. By hand only; not a test.

A journal of a million records (the life of orders: intended, observed, booked, observed; a cursor now and then, as the
sweep writes it), read by a process that has just begun: with the newest snapshot, from the first record on, and by
`read_journal` alone, which applies nothing. Best and worst of three by the wall clock in seconds, and the least of the
processor's time, which tells more on a machine that others use, too.
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

RECORDS = 1_000_000
BATCH = 4
MARKETS = 20
CURSOR_EVERY = 60
"""Two orders a second and a sweep every 30 s, as the engine does it."""
ORDER_EVERY_MS = 500
ROUNDS = 3


def life(count: int) -> Iterator[Record]:
    """Records of an engine that trades without a pause."""
    yield Started(1, "bench0", 0, 1, 7, "Live")
    made, number = 1, 0
    while made < count:
        number += 1
        now_ms, market, client = (
            number * ORDER_EVERY_MS,
            f"KXBENCH-{number % MARKETS}",
            f"sbench0-1-7-{number}",
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


def main() -> None:
    """Write, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    count = parser.parse_args().records
    directory = Path(tempfile.mkdtemp(prefix="journal-start-"))
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
        print(json.dumps(result, indent=1))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
