"""Agreeing with a venue whose readings the test writes: the wait, two equal passes, the comparison, sweeps, the proof at a stop."""

import asyncio
import json

import pytest
from soloist_kalshi.errors import VenueUnreachable
from soloist_trader.core import events
from soloist_trader.core.records import CursorMoved
from soloist_trader.core.units import BID, HALTED, REDUCING
from soloist_trader.journal.reader import Tail, read_journal
from soloist_trader.journal.writer import Journal
from soloist_trader.shell import recovery, venue_start
from soloist_trader.shell.clock import monotonic_ms
from soloist_trader.shell.gate import SendGate
from soloist_trader.shell.recovery import (
    FLIGHT_MS,
    OVERLAP_MS,
    READS_SHARE,
    SWEEP_AGAIN_S,
    SWEEP_S,
    Reconciler,
)
from soloist_trader.shell.runtime import Runtime
from soloist_trader.shell.venue import Reading
from soloist_trader.shell.venue_recovery import Evidence, OwnOrder, SafetyRecord

from tests.unit.soloist_trader.core_world import ENTRY, CoreWorld

STEP_MS = 250
CLAIM = "unit00"


class Account:
    """A venue that answers from a list of readings, the last one for good. Its clock moves when it is asked for its time."""

    def __init__(self, now_ms):
        self.now_ms = now_ms
        self.lag_ms = 0
        self.ahead_ms = 0
        self.readings = [{}]
        self.resting = []
        self.froms = []
        self.wanted = []
        self.shown_ms = []
        self.listings = 0
        self.failures = 0
        self.on_read = lambda: None
        self.commands = []

    async def as_of_ms(self):
        self.now_ms += STEP_MS
        return self.now_ms + self.ahead_ms - self.lag_ms

    def venue_ms(self, moment_ms):
        return moment_ms + self.ahead_ms

    async def read(self, from_ms, wanted):
        if self.failures:
            self.failures -= 1
            raise VenueUnreachable("down")
        self.froms.append(from_ms)
        self.wanted.append(wanted)
        self.shown_ms.append(self.now_ms - self.lag_ms)
        self.on_read()
        contents = self.readings[min(len(self.froms), len(self.readings)) - 1]
        return Reading(await self.as_of_ms(), **contents)

    async def own_resting(self):
        self.listings += 1
        return self.resting

    async def evidence(self, _from_ms):
        self.shown_ms.append(self.now_ms - self.lag_ms)
        return self.found

    async def execute(self, command, _gate):
        self.commands.append(command)
        return []


def seen(client_order_id, *, closed=False, filled=0):
    return events.OrderSeen(
        1, client_order_id, f"v-{client_order_id}", "M", BID, 4_000, 100, filled, closed, source="listing"
    )


def fill(number, time_ms):
    return events.FillSeen(
        1, f"f{number}", "v-x", "", "M", BID, 4_000, 100, 0, is_taker=True, fill_time_ms=time_ms
    )


class Scene:
    def __init__(self, directory, monkeypatch):
        self.world = CoreWorld(ready=False)
        self.world.step(events.SweepEnded(self.world.now_ms, self.world.now_ms))
        self.directory = directory
        journal = Journal(directory)
        journal.open(lambda _record: None)
        self.account = Account(self.world.now_ms)
        self.runtime = Runtime(self.world.engine, journal, SendGate(lambda _market: 1), self.account)
        self.runtime.hold_own_events()
        self.reconciler = Reconciler(self.runtime, self.world.now_ms)
        monkeypatch.setattr(recovery, "LOOKS_AGAIN_S", 0)
        for module in (recovery, venue_start):
            monkeypatch.setattr(module, "now_ms", lambda: self.account.now_ms)

    @property
    def ledger(self):
        return self.world.ledger

    def recover(self):
        asyncio.run(self.reconciler.recover())
        assert self.reconciler.phase == "Ready"
        self.runtime.flush_journal()

    def cursors(self):
        """Cursors in the journal, in order."""
        found = [row for _, _, rows in read_journal(self.directory, Tail()) for row in rows]
        return [row.cursor_ms for row in found if isinstance(row, CursorMoved)]


@pytest.fixture
def scene(tmp_path, monkeypatch):
    return Scene(tmp_path, monkeypatch)


# -- start


@pytest.mark.parametrize(("lag_ms", "ahead_ms"), [(0, 0), (5_000, 0), (4_000, 4_500), (2_000, -4_500)])
def test_nothing_is_read_before_the_read_model_shows_the_start_and_what_was_in_flight(
    scene, lag_ms, ahead_ms
):
    scene.account.lag_ms, scene.account.ahead_ms = lag_ms, ahead_ms
    started_ms = scene.account.now_ms
    scene.recover()
    assert scene.account.shown_ms[0] > started_ms + FLIGHT_MS, (
        "on one clock: the venue's may be ahead of ours"
    )


A, B = {"fills": [fill(1, 5)]}, {"fills": [fill(1, 5), fill(2, 6)]}


@pytest.mark.parametrize(
    ("readings", "reads"), [([A], 2), ([A, B], 3), ([A, B, A, B], 5), ([{}, {"orders": [seen("x")]}], 3)]
)
def test_two_passes_have_to_be_equal_and_the_cursor_is_what_was_read_before_the_first_of_them(
    scene, readings, reads
):
    scene.account.readings = readings
    scene.recover()
    # One reading more compares, from the new cursor on.
    assert len(scene.account.froms) == reads + 1
    first_ms = scene.world.now_ms + OVERLAP_MS * 0
    assert scene.account.froms[:reads] == [first_ms - OVERLAP_MS] * reads
    cursor_ms = scene.cursors()[0]
    assert scene.account.froms[reads] == cursor_ms - OVERLAP_MS
    asked_before = scene.account.shown_ms[reads - 2]
    assert cursor_ms == asked_before + STEP_MS, "the first of both: what came between them is read again"


@pytest.mark.parametrize("during", [1, 2], ids=["the first pass", "the second pass"])
def test_an_own_event_during_two_equal_passes_makes_them_worth_nothing(scene, during):
    def happen():
        if len(scene.account.froms) == during:
            scene.runtime.sink(fill(7, scene.account.now_ms))

    scene.account.on_read = happen
    scene.recover()
    assert len(scene.account.froms) == during + 3


def test_a_venue_that_cannot_be_read_is_asked_again_and_readiness_says_why(scene):
    scene.account.failures = 3
    said = []
    scene.account.on_read = lambda: said.append(scene.reconciler.last_error)
    scene.recover()
    assert said[0] == "down"
    assert scene.reconciler.last_error == ""


def test_an_account_that_never_stands_still_is_read_a_bounded_number_of_times(scene):
    scene.account.readings = [{"fills": [fill(number, number)]} for number in range(100)]
    scene.recover()
    assert len(scene.account.froms) == recovery._MAXIMUM_PASSES + 2


def test_orders_of_others_are_reported_and_left_alone(scene):
    scene.account.readings = [{"orders": [seen("by-hand"), seen("s9z9z9z-1-1-1")]}]
    scene.recover()
    assert scene.reconciler.foreign == ("v-by-hand", "v-s9z9z9z-1-1-1")
    assert (scene.account.commands, scene.ledger.unsettled_count()) == ([], 0)


def test_a_position_that_differs_lets_it_reduce_only_until_a_comparison_is_clean(scene):
    scene.account.readings = [{"positions": (("M", 300, 1_200_000),)}]
    scene.recover()
    assert scene.ledger.latches["reconcile"][0] == REDUCING
    assert scene.account.commands == [], "never a trade that balances"
    scene.runtime.dispatch(events.PositionsSeen(2, scene.account.now_ms, (), ()))
    assert "reconcile" not in scene.ledger.latches


def test_without_a_comparison_of_every_position_it_reduces_only(scene):
    scene.world.engine.account.note_fill(10**15, "M")  # a fill that no reading can contain yet
    scene.account.readings = [{"positions": (("M", 0, 0), ("N", 0, 0))}]
    scene.ledger.positions["M"] = scene.ledger.position("M")
    scene.recover()
    assert scene.ledger.latches["reconcile"] == (
        REDUCING,
        "not every position could be compared with the venue's yet",
    )


# -- run


@pytest.mark.parametrize(
    ("took_s", "differs", "quiet_s"),
    [
        (0.1, False, SWEEP_S),
        (0.1, True, SWEEP_AGAIN_S),
        (20, False, 20 * READS_SHARE),
        (20, True, 20 * READS_SHARE),
    ],
)
def test_a_slow_sweep_makes_sweeps_rarer_whatever_it_found(took_s, differs, quiet_s):
    assert recovery.quiet_after_s(took_s, differs=differs) == quiet_s


def test_a_sweep_asks_for_old_orders_only_moves_the_cursor_and_says_how_long_it_took(scene, monkeypatch):
    took = []

    def quiet_after_s(took_s, *, differs):
        took.append((took_s, differs))
        return 3_600

    async def sweep():
        clock = iter(range(0, 10**9, 7_000))
        monkeypatch.setattr(recovery, "monotonic_ms", lambda: next(clock))
        monkeypatch.setattr(recovery, "quiet_after_s", quiet_after_s)
        monkeypatch.setattr(recovery, "SWEEP_AGAIN_S", 0)
        sweeping = asyncio.create_task(scene.reconciler.sweep())
        scene.reconciler.hurry()
        async with asyncio.timeout(4):
            while not took:  # noqa: ASYNC110 the sweep tells no event
                await asyncio.sleep(0)
        sweeping.cancel()

    scene.world.step(events.Readied(scene.world.now_ms))
    old = scene.world.place(ENTRY)
    scene.account.now_ms = scene.world.now_ms + recovery.SETTLED_AFTER_MS + 1
    scene.world.now_ms = scene.account.now_ms
    fresh = scene.world.place(ENTRY, ENTRY._replace(level="second"))
    scene.account.failures = 1
    asyncio.run(sweep())
    assert took == [(7, False)]
    assert scene.account.wanted[0].keys() == {old.client_order_id}
    assert fresh.client_order_id in recovery.wanted(scene.ledger)
    assert scene.ledger.cursor_ms == scene.account.now_ms


# -- stop


def prove(scene, budget_ms=100):
    return asyncio.run(scene.reconciler.prove_nothing_rests(monotonic_ms() + budget_ms))


@pytest.mark.parametrize(("lag_ms", "ahead_ms"), [(0, 0), (3_000, 0), (3_000, 3_500)])
def test_nothing_rests_is_proven_by_a_listing_of_a_later_moment(scene, lag_ms, ahead_ms):
    scene.account.lag_ms, scene.account.ahead_ms = lag_ms, ahead_ms
    asked_ms = scene.account.now_ms
    assert prove(scene, 4_000) == ""
    assert scene.account.now_ms - scene.account.lag_ms > asked_ms
    assert scene.account.listings == 1


def test_an_old_listing_proves_nothing(scene):
    scene.account.lag_ms = 10**12
    assert "do not show the end of the last order yet" in prove(scene)
    assert scene.account.listings == 0


def test_what_rests_at_the_deadline_is_said(scene):
    scene.account.resting = [seen(f"s{CLAIM}-1-1-1")]
    assert prove(scene).startswith("1 own orders rest, 1 are unsettled; unsettled: sunit00-1-1-1")


def test_an_order_that_stays_in_doubt_is_said_and_nothing_is_listed_for_it(scene):
    scene.world.step(events.Readied(scene.world.now_ms))
    order = scene.world.place(ENTRY)
    said = prove(scene)
    assert said.startswith("nothing was listed yet; unsettled: ")
    assert order.client_order_id in said
    assert scene.account.listings == 0


def test_a_read_that_hangs_does_not_outlast_the_deadline(scene):
    async def hang():
        await asyncio.Event().wait()

    scene.account.own_resting = hang
    assert prove(scene).endswith("unsettled: none")


# -- the journal is gone


def recover_from_venue(scene, record, found):
    scene.account.found = found
    return asyncio.run(
        venue_start.recover_from_venue(scene.runtime, scene.account, record, 0, scene.directory)
    )


def test_the_evidence_is_not_older_than_the_start(scene):
    scene.account.lag_ms = 5_000
    started_ms = scene.account.now_ms
    order = OwnOrder("s1", "v-1", "M", is_resting=True, created_ms=1)
    assert recover_from_venue(scene, None, Evidence([order], [], []))
    assert scene.account.shown_ms[0] > started_ms + FLIGHT_MS
    report = json.loads((scene.directory / venue_start.REPORT_FILE).read_text())
    assert (report["trusted"], report["resting"]) == (False, ["s1"])


def test_what_the_watchdog_did_outlives_the_volume_and_only_a_person_lifts_it(scene):
    record = SafetyRecord(
        scene.account.now_ms + 10**6,
        2,
        7,
        0,
        0,
        {"watchdog": (HALTED, "silent"), "lease": (REDUCING, "lost")},
    )
    assert recover_from_venue(scene, record, Evidence([], [], []))
    assert scene.ledger.latches == {"recovery": (HALTED, "safety record: silent")}


def test_a_bot_that_is_new_finds_nothing_and_reports_nothing(scene):
    assert not recover_from_venue(scene, None, Evidence([], [], []))
    assert not (scene.directory / venue_start.REPORT_FILE).exists()
    assert scene.ledger.latches == {}
