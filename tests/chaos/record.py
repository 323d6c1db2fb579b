"""What the runs showed: one line of JSON each, kept outside the repository so that a long set can go on; and the table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.catalogue import Scenario, in_order
from tests.chaos.judge import Verdict

COLUMNS = (
    "scenario", "what happens", "runs", "failed", "double holders", "accepted after re-arm", "rejected zombie requests",
    "rejected zombie orders", "recovery median s", "recovery maximum s", "limit s",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One run. `failure` is empty when everything that the scenario promises happened."""

    scenario: str
    revision: str
    took_s: float
    failure: str
    verdict: Verdict | None
    notes: list[str] = field(default_factory=list)


def judged(scenario: Scenario, verdict: Verdict) -> str:
    """What a verdict fails of the scenario's promise, empty for nothing."""
    if not verdict.is_safe():
        return f"not safe: {verdict}"
    if scenario.zombie and verdict.zombie_requests_rejected == 0:
        return "no zombie was seen trying, so this run shows nothing"
    if scenario.recovery_limit_ms is not None:
        if verdict.recovery_ms is None:
            return "nobody traded afterwards"
        if verdict.recovery_ms > scenario.recovery_limit_ms:
            return f"recovery took {verdict.recovery_ms} ms, more than {scenario.recovery_limit_ms} ms"
    return ""


def append(file: Path, run: Run) -> None:
    """Keep a run."""
    with file.open("a") as lines:
        lines.write(json.dumps(asdict(run)) + "\n")


def load(file: Path, revisions: Mapping[str, str]) -> list[Run]:
    """The runs of these revisions, by scenario; those of another say nothing about it as it is."""
    if not file.exists():
        return []
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [_run(row) for row in rows if row["revision"] == revisions.get(row["scenario"])]


def _run(row: dict[str, Any]) -> Run:
    verdict = None if row["verdict"] is None else Verdict(**row["verdict"])
    return Run(row["scenario"], row["revision"], row["took_s"], row["failure"], verdict, row["notes"])


def rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """One row per scenario that ran."""
    by_scenario: dict[str, list[Run]] = {}
    for run in runs:
        by_scenario.setdefault(run.scenario, []).append(run)
    return [_row(each, by_scenario[each.number]) for each in in_order() if each.number in by_scenario]


def _row(scenario: Scenario, runs: list[Run]) -> dict[str, Any]:
    verdicts = [run.verdict for run in runs if run.verdict is not None]
    recoveries = [v.recovery_ms / 1000 for v in verdicts if v.recovery_ms is not None]
    limit_ms = scenario.recovery_limit_ms
    values = (
        scenario.number,
        scenario.title,
        len(runs),
        sum(bool(run.failure) for run in runs),
        sum(v.double_holders for v in verdicts),
        sum(v.accepted_after_rearm for v in verdicts),
        sum(v.zombie_requests_rejected for v in verdicts),
        sum(v.zombie_orders_rejected for v in verdicts),
        round(statistics.median(recoveries), 1) if recoveries else None,
        round(max(recoveries), 1) if recoveries else None,
        None if limit_ms is None else limit_ms / 1000,
    )
    return dict(zip(COLUMNS, values, strict=True))


def table(runs: Iterable[Run]) -> str:
    """The rows as a table of Markdown."""
    cells = [["" if row[name] is None else str(row[name]) for name in COLUMNS] for row in rows(runs)]
    lines = [list(COLUMNS), ["---"] * len(COLUMNS), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
