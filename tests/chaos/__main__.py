"""`python -m tests.chaos`: every disaster, on a real cluster. See --help."""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path

from tests.chaos import accounts, engines, nodes, operators, record, rollouts, second_cluster, stage  # noqa: F401 they fill the catalogue
from tests.chaos.catalogue import SCENARIOS, Scenario, in_order
from tests.chaos.running import play
from tests.cluster import cluster as clusters
from tests.cluster import images, release
from tests.cluster.paths import folder
from tests.cluster.progress import Progress
from tests.e2e.scene import Oracle


def main() -> int:
    """Play what is still missing; 0 when every run kept the scenario's promise."""
    options = _options()
    if options.list:
        for each in in_order():
            print(f"{each.number}\t{each.runs}\t{each.title}")
        return 0
    runs = _play(options)
    print(json.dumps(record.rows(runs)) if options.json else record.table(runs))
    for run in runs:
        if run.failure:
            print(f"\n{run.scenario} failed after {run.took_s} s: {run.failure}", file=sys.stderr)
    return int(any(run.failure for run in runs) or not runs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Make every ordinary disaster on a real cluster of two nodes, and let the exchange's log judge: how many "
        "engines held the account at once, what was accepted from the old one after the new one was armed, how often a living "
        "zombie was refused, and how long nobody traded. The whole set takes hours; it goes on where it was interrupted, as long "
        "as the images are the same.",
    )
    parser.add_argument(
        "--scenario",
        action="append",
        choices=list(SCENARIOS),
        metavar="N",
        help="only this one; may be repeated",
    )
    parser.add_argument(
        "--runs", type=int, help="runs of each scenario (default: its own number, see --list)"
    )
    parser.add_argument(
        "--minutes", type=float, default=300.0, help="begin nothing after this time (default 300)"
    )
    parser.add_argument(
        "--name", default=clusters.DEFAULT_NAME, help=f"the cluster (default {clusters.DEFAULT_NAME})"
    )
    parser.add_argument(
        "--backwards",
        action="store_true",
        help="begin with the last scenario: a second cluster (--name) that meets the first one in the middle",
    )
    parser.add_argument("--again", action="store_true", help="forget the runs that were already made")
    parser.add_argument("--list", action="store_true", help="print number, runs and title of every scenario")
    parser.add_argument("--table", action="store_true", help="print the table of what was played so far")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    return parser.parse_args()


def _play(options: argparse.Namespace) -> list[record.Run]:
    """Play what is missing of the code as it is (a run of other images says nothing about these), and return all of its runs."""
    until_s = time.monotonic() + options.minutes * 60
    progress = Progress()
    tags = images.ensure_images(progress)
    revisions = {each.number: " ".join((*astuple(tags), _sources(each))) for each in in_order()}
    file = folder("chaos") / "runs.jsonl"
    if options.table:
        return record.load(file, revisions)
    cluster = clusters.ensure_up(options.name, progress)
    images.load(cluster, tags, progress)
    if options.again:
        file.unlink(missing_ok=True)
    stage.install(cluster, tags)
    chosen = [each for each in in_order() if not options.scenario or each.number in options.scenario]
    if options.backwards:
        chosen.reverse()
    with release.port_forward(cluster, release.SYSTEM_NAMESPACE, "deploy/soloist-exchange", 8444) as url:
        oracle = Oracle(url)
        for scenario in chosen:
            for _ in range(options.runs or scenario.runs):
                done = _passed(file, revisions, scenario.number)
                if done >= (options.runs or scenario.runs):
                    break
                if time.monotonic() > until_s:
                    progress.note("out of time; the same command goes on from here")
                    return record.load(file, revisions)
                run = play(cluster, oracle, scenario, revisions[scenario.number])
                record.append(file, run)
                progress.note(
                    f"{scenario.number} run {done + 1}: {run.failure.splitlines()[0] if run.failure else 'ok'} "
                    f"({run.took_s} s) {run.verdict}"
                )
        oracle.close()
    if any(each.number == "12" for each in chosen):
        second_cluster.close_second()
    return record.load(file, revisions)


def _sources(scenario: Scenario) -> str:
    """Which judge, stage and disasters, and which file of scenarios: a run before they changed says nothing about this one."""
    own = Path(inspect.getfile(scenario.act))
    others = {Path(inspect.getfile(each.act)) for each in SCENARIOS.values()} - {own}
    others |= {Path(__file__), Path(record.__file__)}  # they count and show
    sources = sorted(set(Path(__file__).parent.glob("*.py")) - others)
    return "chaos:" + hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:12]


def _passed(file: Path, revisions: Mapping[str, str], number: str) -> int:
    """Runs that kept the promise, of every cluster that plays into this file."""
    return sum(run.scenario == number and not run.failure for run in record.load(file, revisions))


if __name__ == "__main__":
    sys.exit(main())
