"""What a commit costs: `python -m tests.bench.journal_commit [--batches N]` prints JSON. By hand only; not a test.

p50 and p99 in microseconds of making one intent durable, in the loop and by the commit process, and below them what the
disk takes by itself for the kinds of file that a journal could use: while nothing else runs, beside processes that keep
cores busy, and beside others that write to the same file system, with and without syncs of their own.

Of each, how much of p50 and p99 the thread was ready to go on, and waited for a core.

What was found on a virtual machine with two cores, Linux 6.18 and ext4: a sync takes 0.1 to 0.3 ms by itself, twice that
if the file grows, because its length is written, too; so segments are reserved. With some ten processes that all want
a core now and then, p50 is 2 to 3 ms, of which all but 0.3 ms is waiting for a core after the disk has answered: that is
what p50 of 2 to 5 ms was, not the disk. One process that spins does less harm than many that come and go. A commit
process makes it worse, not better, since it waits for a core as well: the measurement at start leaves that time out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Intended
from soloist_trader.journal.disk import Disk
from soloist_trader.journal.quantiles import Quantiles, core_wait_us, measure_syncs, now_us
from soloist_trader.journal.writer import Commit, Journal

BATCHES = 1_000
PAUSE_S = 0.002
"""Between two commits, as a loop that has other work; without it the commits would keep the disk awake."""
RESERVED = 4 * 1024 * 1024
BATCH_BYTES = 300
DIRTY = """
import os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_TRUNC)
while True:
    os.pwrite(file, bytes(1_000_000), 0)
    os.ftruncate(file, 0)
"""
SPIN = "while True: pass"
WRITE = """
import os, sys
while True:
    file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.write(file, bytes(4_000_000))
    os.fsync(file)
    os.close(file)
"""


@contextmanager
def others(program: str, count: int, *arguments: str) -> Iterator[None]:
    """Processes that do this meanwhile."""
    processes = [subprocess.Popen([sys.executable, "-c", program, *arguments]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.wait()


def intent(number: int) -> Intended:
    """One order."""
    return Intended(
        number, f"sbench0-1-7-{number}", number, "maker", "KXBENCH-1", 1, "entry", 4_000, 100, "good_till_canceled", 0,
        reduce_only=False,
    )  # fmt: skip


def commits(directory: Path, mode: Commit, batches: int) -> dict[str, int]:
    """Quantiles of commits with one intent each."""
    journal = Journal(directory, commit=mode)
    journal.open(Ledger())
    watch = Stopwatch()
    for number in range(1, batches + 1):
        time.sleep(PAUSE_S)
        with watch.time():
            journal.append(intent(number))
            journal.commit()
    journal.close()
    return watch.read()


class Stopwatch:
    """Durations, and how much of each was waiting for a core."""

    def __init__(self) -> None:
        self._all, self._core = Quantiles(), Quantiles()

    @contextmanager
    def time(self) -> Iterator[None]:
        """Take the time of a block."""
        core_us, began_us = core_wait_us(), now_us()
        yield
        self._all.observe(now_us() - began_us)
        self._core.observe(core_wait_us() - core_us)

    def read(self) -> dict[str, int]:
        """As JSON."""
        (p50_us, p99_us), (core_p50_us, core_p99_us) = self._all.read(), self._core.read()
        return {"p50_us": p50_us, "p99_us": p99_us, "core_p50_us": core_p50_us, "core_p99_us": core_p99_us}


def bare(directory: Path, kind: str, batches: int) -> dict[str, int]:
    """A write and an fdatasync into a file that grows, is reserved, or was written before."""
    path = directory / "bare"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    if kind == "reserved":
        os.posix_fallocate(file, 0, RESERVED)
    if kind == "written before":
        os.write(file, bytes(RESERVED))
        os.lseek(file, 0, os.SEEK_SET)
    os.fsync(file)
    watch = Stopwatch()
    for _ in range(batches):
        time.sleep(PAUSE_S)
        with watch.time():
            os.write(file, b"x" * BATCH_BYTES)
            os.fdatasync(file)
    os.close(file)
    path.unlink()
    return watch.read()


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=BATCHES)
    parser.add_argument("--only", help="Only this surrounding, such as 'alone'.")
    arguments = parser.parse_args()
    batches = arguments.batches
    directory = Path(tempfile.mkdtemp(prefix="journal-commit-"))
    cores = os.cpu_count() or 1
    around = {
        "alone": (SPIN, 0),
        "one core busy": (SPIN, 1),
        "every core busy": (SPIN, cores),
        "every core busy twice": (SPIN, 2 * cores),
        "another writes": (DIRTY, 1, str(directory / "other")),
        "another writes and syncs": (WRITE, 1, str(directory / "other")),
    }
    result: dict[str, object] = {"batches": batches, "cores": cores, "load": os.getloadavg()[0]}
    try:
        for name, (program, count, *words) in around.items():
            if arguments.only not in {None, name}:
                continue
            print(name, file=sys.stderr)
            with others(program, count, *words):
                result[name] = {
                    "start-up measurement": measure_syncs(Disk(), directory),
                    **{
                        mode.value: commits(directory / f"{name}-{mode.value}", mode, batches)
                        for mode in (Commit.INLINE, Commit.PROCESS)
                    },
                    **{
                        f"bare, file {kind}": bare(directory, kind, batches)
                        for kind in ("grows", "reserved", "written before")
                    },
                }
        print(json.dumps(result, indent=1))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
