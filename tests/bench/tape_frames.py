"""What the tape costs beside the feed: `python -m tests.bench.tape_frames [--frames N] [--markets N]` prints JSON. By hand only.

The real Live edge and the real core take frames of many markets in reads of a few, one delta in seven changes a top;
without a tape, and with one in a file. Processor time, because other work on the machine does not count in it: of the
loop's thread per frame, of the tape's own thread per frame, and of one anchor with all books. The least of the rounds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from soloist_trader.core import events
from soloist_trader.core.engine import Engine
from soloist_trader.core.intake import Identity
from soloist_trader.core.ledger import Ledger
from soloist_trader.strategies.threshold import Threshold, ThresholdParameters
from soloist_trader.tape import FileSink, Tape

from tests.unit.soloist_trader.core_world import LIMITS, TICKS
from tests.unit.soloist_trader.feed_world import SID, frame, make_edge

FRAMES = 200_000
MARKETS = 50
READ = 4
TOP_EVERY = 7
ROUNDS = 3


def payloads(count: int, markets: list[str]) -> list[bytes]:
    """A snapshot of twenty levels a side for each market, and deltas after that."""
    made = [frame("subscribed", id=1, msg={"channel": "orderbook_delta", "sid": SID})]
    levels = [[f"0.{price:02d}00", "100.00"] for price in range(20, 40)]
    for number, market in enumerate(markets, 1):
        body = {
            "market_ticker": market,
            "market_id": f"id-{market}",
            "yes_dollars_fp": levels,
            "no_dollars_fp": levels,
        }
        made.append(frame("orderbook_snapshot", sid=SID, seq=number, msg=body))
    for number in range(count):
        price = "0.3900" if number % TOP_EVERY == 0 else f"0.{20 + number % 19}00"
        body = {
            "market_ticker": markets[number % len(markets)], "market_id": f"id-{markets[number % len(markets)]}",
            "price_dollars": price, "delta_fp": "2.00" if number // len(markets) % 2 else "-2.00", "side": "yes",
            "ts": "2026-01-01T00:00:00Z", "ts_ms": 1_780_000_000_000 + number,
        }  # fmt: skip
        made.append(frame("orderbook_delta", sid=SID, seq=len(markets) + 1 + number, msg=body))
    return made


def measure(feed: list[bytes], markets: list[str], directory: Path | None) -> dict[str, float]:
    """One run over the whole feed."""
    strategy = Threshold(ThresholdParameters.model_validate({}))
    engine = Engine(Ledger(), Identity("bench0", 0, 1, 7, "Live"), strategy, LIMITS, markets)
    edge = make_edge()
    sink = FileSink(directory, 1) if directory is not None else None
    tape = edge.tape = Tape(engine, sink, edge.port) if sink is not None else None

    def step(event: events.Event) -> None:
        if tape is not None:
            tape.write_event(event)
        commands = engine.step(event)
        if commands and tape is not None:
            tape.write_commands(commands)

    edge._sink = step
    step(events.Began(1))
    for market in markets:
        step(events.MarketSeen(1, market, True, 0, TICKS, 0))  # noqa: FBT003 a tuple's field
    whole_ns, own_ns = time.process_time_ns(), time.thread_time_ns()
    for begin in range(0, len(feed), READ):
        for payload in feed[begin : begin + READ]:
            edge._on_frame(payload)
        edge._on_read_end()
    own_ns = time.thread_time_ns() - own_ns
    found = {"loop_us_per_frame": own_ns / len(feed) / 1_000}
    if tape is not None and sink is not None and directory is not None:
        began_ns = time.thread_time_ns()
        tape._anchor()
        found["anchor_ms"] = (time.thread_time_ns() - began_ns) / 1_000_000
        tape.close()
        found["tape_thread_us_per_frame"] = (time.process_time_ns() - whole_ns - own_ns) / len(feed) / 1_000
        found["bytes_per_frame"] = sum(file.stat().st_size for file in directory.iterdir()) / len(feed)
        found["gaps"] = tape.gaps
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--markets", type=int, default=MARKETS)
    arguments = parser.parse_args()
    markets = [f"KXBENCH-{number:03d}" for number in range(arguments.markets)]
    feed = payloads(arguments.frames, markets)
    without, recorded = [], []
    for _ in range(ROUNDS):
        without.append(measure(feed, markets, None))
        with tempfile.TemporaryDirectory() as directory:
            recorded.append(measure(feed, markets, Path(directory) / "tape"))
    least = {name: min(one[name] for one in recorded) for name in recorded[0]}
    base = min(one["loop_us_per_frame"] for one in without)
    figures = {
        "frames": arguments.frames,
        "markets": arguments.markets,
        "frame_bytes": sum(map(len, feed)) / len(feed),
        "loop_us_per_frame_without": base,
        **least,
        "tape_us_per_frame": least["loop_us_per_frame"] - base,
    }
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
