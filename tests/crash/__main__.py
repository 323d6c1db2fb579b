"""`python -m tests.crash`: the whole crash test. See --help."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.crash.killing import Killed, kill_again_and_again
from tests.crash.mutations import MUTATIONS
from tests.crash.plan import CRASHES_PER_WORLD, bots_of, catch, world_of
from tests.crash.world import Result

KILLS_PER_RUN = 10
SAY_EVERY_S = 10.0


def main() -> int:
    """Run the parts that were asked for; 0 if all of it was done, nothing was found and every broken build was caught."""
    options = _options()
    logging.disable(logging.CRITICAL)
    until_s = time.monotonic() + options.minutes * 60
    failed = False
    with ProcessPoolExecutor(options.workers) as pool:
        if options.part in {"all", "memory"}:
            failed |= _memory(pool, options, until_s)
        if options.part in {"all", "kills"}:
            failed |= _kills(pool, options, until_s)
        if options.part in {"all", "mutations"}:
            failed |= _mutations(pool, options)
    return int(failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash",
        description="Crash the engine again and again, and let the exchange judge it each time it is quiet. "
        "memory: the real core, journal and edge in one process with the real exchange, on a virtual clock and a disk that "
        "forgets what was not synced. kills: SIGKILL of the real engine process against the real exchange over TLS. "
        "mutations: broken builds, each of which must be caught. All parts have faults on.",
        epilog="A seed makes its world again: go on with --first-seed where the last run ended, or run one with --crashes 1.",
    )
    parser.add_argument(
        "--part", choices=["all", "memory", "kills", "mutations"], default="all", help="default: all"
    )
    parser.add_argument("--crashes", type=int, default=10_000, help="crashes in memory (default 10000)")
    parser.add_argument("--kills", type=int, default=500, help="SIGKILLs (default 500)")
    parser.add_argument("--first-seed", type=int, default=0, help="seed to begin with (default 0)")
    parser.add_argument("--workers", type=int, default=2, help="processes at once (default 2)")
    parser.add_argument(
        "--minutes",
        type=float,
        default=240.0,
        help="begin nothing after this time (default 240); what is missing then is a failure",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object per part instead of tab-separated lines"
    )
    return parser.parse_args()


def _memory_world(seed: int) -> Result:
    return world_of(seed).run()


def _killed(seed: int, kills: int, until_s: float) -> Killed:
    with tempfile.TemporaryDirectory(prefix="soloist-kill-") as directory:
        return kill_again_and_again(Path(directory), seed, kills, until_s=until_s, bots=bots_of(seed))


def _memory(pool: ProcessPoolExecutor, options: argparse.Namespace, until_s: float) -> bool:
    result, began_s = Result(), time.monotonic()
    seeds = range(options.first_seed, options.first_seed + -(-options.crashes // CRASHES_PER_WORLD))

    def take(done: Result) -> str:
        result.add(done)
        return f"{result.crashes} crashes, {result.orders} orders, {len(result.findings)} findings"

    ended = _over(pool, ((_memory_world, seed) for seed in seeds), options.workers, until_s, take)
    row = {
        "part": "memory", "crashes": result.crashes, "boundaries": len(result.where), "checks": result.checks, "journals deleted": result.deleted, "disks failed": result.disks_failed,
        "orders": result.orders, "fills": result.fills, "doubles": result.doubles, "lost": result.lost,
        "worst recovery, virtual s": result.worst_recovery_ms / 1000, "real s": round(time.monotonic() - began_s),
        "seeds": f"{seeds.start}-{seeds.start + ended - 1}", "findings": len(result.findings),
    }  # fmt: skip
    _print(row, result.findings, as_json=options.json)
    short = _short(result.crashes, options.crashes, "crashes", options.first_seed + ended)
    return bool(result.findings) or short


def _kills(pool: ProcessPoolExecutor, options: argparse.Namespace, until_s: float) -> bool:
    result, began_s = Killed(), time.monotonic()
    seeds = range(options.first_seed, options.first_seed + -(-options.kills // KILLS_PER_RUN))

    def take(done: Killed) -> str:
        result.add(done)
        return f"{result.kills} kills, {result.orders} orders, {len(result.findings)} findings"

    work = ((_killed, seed, KILLS_PER_RUN, until_s) for seed in seeds)
    ended = _over(pool, work, options.workers, until_s, take)
    row = {
        "part": "kills",
        **asdict(result),
        "real s": round(time.monotonic() - began_s),
        "seeds": f"{seeds.start}-{seeds.start + ended - 1}",
    }
    row["findings"] = len(result.findings)
    _print(row, result.findings, as_json=options.json)
    short = _short(result.kills, options.kills, "kills", options.first_seed + ended)
    return bool(result.findings) or short


def _short(done: int, asked: int, what: str, next_seed: int) -> bool:
    """Whether less was done than was asked for, which must not pass for the whole."""
    if done >= asked:
        return False
    print(
        f"only {done} of {asked} {what}: the time was up, or a finding ended a world. Give more --minutes, or go on with "
        f"--first-seed {next_seed}",
        file=sys.stderr,
        flush=True,
    )
    return True


def _mutations(pool: ProcessPoolExecutor, options: argparse.Namespace) -> bool:
    """A table: which build was broken, after how many crashes that was found, and by what."""
    missed = False
    if not options.json:
        print("broken build\tcaught\tafter crashes\tby")
    for build, found in zip(MUTATIONS, pool.map(catch, MUTATIONS), strict=True):
        caught = bool(found.findings)
        missed |= not caught
        row = {
            "part": "mutation", "build": build.name, "caught": caught, "crashes": found.crashes,
            "by": found.findings[0] if caught else "",
        }  # fmt: skip
        if options.json:
            _print(row, [], as_json=True)
        else:
            print(build.name, "yes" if caught else "NO", found.crashes, row["by"], sep="\t", flush=True)
    return missed


def _over(
    pool: ProcessPoolExecutor,
    work: Iterator[tuple[Any, ...]],
    workers: int,
    until_s: float,
    take: Callable[[Any], str],
) -> int:
    """Keep the workers busy until the work or the time is up; how many pieces were done."""
    running: set[Future[Any]] = set()
    done = 0
    said_s = time.monotonic()
    while True:
        while (
            len(running) < workers and time.monotonic() < until_s and (piece := next(work, None)) is not None
        ):
            running.add(pool.submit(*piece))
        if not running:
            return done
        ended, running = wait(running, timeout=SAY_EVERY_S, return_when=FIRST_COMPLETED)
        words = [take(future.result()) for future in ended]
        done += len(ended)
        if words and time.monotonic() - said_s > SAY_EVERY_S:
            said_s = time.monotonic()
            print(words[-1], file=sys.stderr, flush=True)


def _print(row: dict[str, Any], findings: list[str], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**row, "found": findings}), flush=True)
        return
    for name, value in row.items():
        print(f"{name}\t{value}")
    for finding in findings[:20]:
        print(f"found\t{finding}")
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
