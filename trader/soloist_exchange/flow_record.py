"""Record a tape: the participants of a scenario trade alone, on a clock that jumps from one event to the next."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path

from soloist_exchange import tape
from soloist_exchange.errors import ScenarioError
from soloist_exchange.flow import Flow
from soloist_exchange.orders import TimeInForce
from soloist_exchange.scenario_plan import Scenario
from soloist_exchange.tape import Cancelled, Placed, Summary, Tape, TapeWriter
from soloist_exchange.venue import Venue

__all__ = ["record"]

# Any start does: a tape holds times after it only.
START_MS = 1_700_000_000_000
MINUTE_MS = 60_000
# Progress is told in twentieths.
PROGRESS_PARTS = 20


class _Clock:
    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


class _Recorder:
    """Writes down what the desk tells."""

    def __init__(self, writer: TapeWriter, tickers: list[str]) -> None:
        self._writer = writer
        self._places = {ticker: index for index, ticker in enumerate(tickers)}
        self.orders = 0

    def placed(
        self, time_ms: int, ticker: str, account_id: int, side: int, price: int, count: int, life: TimeInForce
    ) -> None:
        self.orders += 1
        offset_ms = time_ms - START_MS
        self._writer.placed(Placed(offset_ms, self._places[ticker], account_id, side, price, count, life))

    def cancelled(self, time_ms: int, number: int) -> None:
        self._writer.cancelled(Cancelled(time_ms - START_MS, number))


def record(
    scenario: Scenario,
    seed: int,
    minutes: int | None,
    out: Path,
    progress: Callable[[int, int], None] = lambda _done_ms, _all_ms: None,
) -> Summary:
    """Write the tape of a scenario and return what it has; `progress` is told the milliseconds done and to do.

    A scenario that is a tape is recorded again: its seed is the tape's, and its minutes are, when `minutes` is None.
    The file appears when it is whole. Raises ScenarioError when it cannot be written, and TapeError.
    """
    header = _header(scenario, seed, minutes)
    unfinished = out.with_name(f"{out.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            writer = TapeWriter(file, header)
            recorder = _Recorder(writer, header.tickers)
            _run(scenario, header, recorder, progress)
            writer.close(header.minutes * MINUTE_MS)
        os.replace(unfinished, out)  # noqa: PTH105 - the name of the call that is atomic
    except OSError as error:
        raise ScenarioError(f"{error.filename}: {error.strerror}; choose another --out") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return Summary(writer.records, header.minutes * MINUTE_MS, recorder.orders)


def _header(scenario: Scenario, seed: int, minutes: int | None) -> Tape:
    if scenario.tape is not None:
        played = tape.read_header(Path(scenario.tape))
        seed = played.seed
        minutes = played.minutes if minutes is None else minutes
    said = scenario.described()
    for name in ("name", "description", "tape"):
        said.pop(name, None)
    return Tape(
        soloist_tape=tape.VERSION,
        seed=seed,
        minutes=10 if minutes is None else minutes,
        tickers=[plan.ticker for plan in scenario.plans],
        scenario=said,
    )


def _run(scenario: Scenario, header: Tape, recorder: _Recorder, progress: Callable[[int, int], None]) -> None:
    """Let the participants trade until the time is over; what is due at the last millisecond happens."""
    clock, numbers = _Clock(), itertools.count(1)
    venue = Venue(clock, lambda: str(next(numbers)), lambda _account, _subaccount, _name: False)
    flow = Flow(venue, scenario, header.seed)
    flow.desk.recorder = recorder
    flow.begin()
    all_ms = header.minutes * MINUTE_MS
    told_ms = all_ms // PROGRESS_PARTS
    while True:
        due = [item for item in (flow.step(), venue.tick()) if item is not None]
        next_ms = min(due, default=None)
        if next_ms is None or next_ms > START_MS + all_ms:
            return
        clock.now_ms = max(next_ms, clock.now_ms)
        done_ms = clock.now_ms - START_MS
        if done_ms >= told_ms:
            told_ms = done_ms + all_ms // PROGRESS_PARTS
            progress(done_ms, all_ms)
