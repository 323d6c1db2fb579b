"""`soloist-trader replay`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from soloist_trader.modes.frame_replay import FrameResult
    from soloist_trader.modes.replay import JournalComparison, MakeStrategy, Result
    from soloist_trader.tape.reader import Item

EXIT_DIFFERENT = 1
EXIT_UNUSABLE = 2
PROGRESS_EVERY = 100_000


@click.command()
@click.argument("tape", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--compare",
    "journal",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="State directory of the same bot: also compare the records with its journal.",
)
@click.option(
    "--parameters",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML of strategy parameters to decide with instead of the recorded ones; shows the first decision that changes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def replay(tape: Path, journal: Path | None, parameters: Path | None, as_json: bool) -> None:
    """Put a TAPE (a file, or a directory of them) through the same core and compare every decision with the recorded one.

    A tape of a Live engine also holds the venue's raw frames: the books are made of them again and compared with the events
    that the core was stepped with. Prints decisions and changes of books compared, the first difference with the events
    before it, gaps, and what could not be compared.
    Exit codes: 0 identical, 1 something differs, is damaged or is missing, 2 the tape cannot be read by this version.
    Equality is promised for the image that recorded the tape.
    """
    from soloist_trader.errors import EngineError  # noqa: PLC0415 `--help` does not need it
    from soloist_trader.modes.replay import Replay  # noqa: PLC0415 as above
    from soloist_trader.tape.reader import TapeReader  # noqa: PLC0415 as above

    try:
        make = _other_parameters(parameters) if parameters is not None else None
        result = Replay(make).run(_shown(TapeReader(tape)))
        comparison = _compare(result, journal) if journal is not None else None
    except EngineError as error:
        click.echo(error, err=True)
        sys.exit(EXIT_UNUSABLE)
    click.echo(json.dumps(_facts(result, comparison), indent=2) if as_json else _text(result, comparison))
    if not result.identical or (comparison is not None and comparison.difference):
        sys.exit(EXIT_DIFFERENT)


def _shown(items: Iterable[Item]) -> Iterator[Item]:
    """The items, with a sign of life on stderr for long tapes."""
    for number, item in enumerate(items):
        if number and number % PROGRESS_EVERY == 0:
            click.echo(f"{number} entries", err=True)
        yield item


def _other_parameters(path: Path) -> MakeStrategy:
    import yaml  # noqa: PLC0415 `--help` does not need it
    from pydantic import ValidationError  # noqa: PLC0415 as above

    from soloist_trader import strategies  # noqa: PLC0415 as above
    from soloist_trader.core.strategy import Strategy  # noqa: PLC0415 as above
    from soloist_trader.tape.errors import TapeError  # noqa: PLC0415 as above

    try:
        mapping = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TapeError(f"{path} is not YAML: {' '.join(str(error).split())}") from error

    def make(recorded: dict[str, Any]) -> Strategy:
        try:
            return strategies.load(recorded["name"]).from_mapping(
                {**(recorded["parameters"] or {}), **mapping}
            )
        except (KeyError, ValidationError) as error:
            raise TapeError(f"{path}: {error}") from error

    return make


def _compare(result: Result, directory: Path) -> JournalComparison:
    from soloist_trader.journal.reader import Tail, read_journal  # noqa: PLC0415 `--help` does not need it
    from soloist_trader.modes.replay import compare_with_journal  # noqa: PLC0415 as above

    journal = [
        record for _, _, records in read_journal(directory, Tail(), partial=True) for record in records
    ]
    return compare_with_journal(result.records, journal)


def _lost(result: Result) -> list[str]:
    """What could not be compared."""
    lost = [
        f"gap      events {gap.first} to {gap.last}, {gap.frames} raw frames: {gap.reason}"
        for gap in result.gaps
    ]
    lost += [
        f"missing  events {gap.first} to {gap.last}: the tape does not say why" for gap in result.missing
    ]
    lost += [f"damage   {one.path} at byte {one.offset}: {one.what}" for one in result.damage]
    uncompared = result.events - result.compared
    if uncompared:
        lost.append(f"not compared  {uncompared} events between an interruption and the next anchor")
    frames = result.frames
    if frames.frames and frames.not_compared:
        lost.append(f"not compared  {frames.not_compared} changes of books and trades with raw frames")
    return lost + [f"not compared  {note}" for note in result.notes + frames.notes]


def _facts(result: Result, comparison: JournalComparison | None) -> dict[str, Any]:
    first, frames = result.first, result.frames
    facts: dict[str, Any] = {
        "identical": result.identical,
        "events": result.events,
        "eventsCompared": result.compared,
        "decisionsCompared": result.decisions,
        "anchors": result.anchors,
        "frames": {
            "frames": frames.frames,
            "batches": frames.batches,
            "eventsCompared": frames.compared,
            "connectionsEnded": frames.connections_ended,
            "gaps": frames.gaps,
            "listedGaps": frames.listed_gaps,
        },
        "differences": result.differences,
        "firstDifference": first
        and {
            "eventSeq": first.event_seq,
            "what": first.what,
            "recorded": first.recorded,
            "replayed": first.replayed,
            "context": list(first.context),
        },
        "notCompared": _lost(result),
    }
    if comparison is not None:
        facts["journal"] = {
            "compared": comparison.compared,
            "notOnTape": comparison.not_on_tape,
            "notInJournal": comparison.not_in_journal,
            "difference": comparison.difference,
        }
    return facts


def _frames_text(frames: FrameResult) -> list[str]:
    """What ran again from raw frames, and what the venue's frames themselves lacked."""
    if not frames.frames:
        return ["frames     none on the tape: books were recorded as events only"]
    return [
        f"frames     {frames.frames} in {frames.batches} reads, {frames.connections_ended} connections ended",
        f"           {frames.compared} changes of books and trades made of them again are equal",
        f"feed gaps  {frames.gaps}: frames that never came" if frames.gaps else "feed gaps  none",
        *(f"  {gap}" for gap in frames.listed_gaps),
    ]


def _text(result: Result, comparison: JournalComparison | None) -> str:
    lines = [
        f"events     {result.events}, {result.compared} compared between {result.anchors} anchors",
        f"decisions  {result.decisions} compared, {result.differences} differences",
        *_frames_text(result.frames),
        *_lost(result),
    ]
    if result.first is not None:
        first = result.first
        lines += [f"first difference: {first.what}", *(f"  {line}" for line in first.context)]
        lines += [f"  recorded  {first.recorded}", f"  replayed  {first.replayed}"]
    if comparison is not None:
        lines.append(
            f"journal    {comparison.compared} records equal, {comparison.not_on_tape} not on the tape, "
            f"{comparison.not_in_journal} older than the journal"
            + (f"; differs: {comparison.difference}" if comparison.difference else "")
        )
    lines.append("identical" if result.identical else "NOT identical")
    return "\n".join(lines)
