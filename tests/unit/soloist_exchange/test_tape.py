from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from soloist_exchange import tape
from soloist_exchange.flow_record import record
from soloist_exchange.orders import TimeInForce
from soloist_exchange.scenario import SCENARIOS, Scenario, load
from soloist_exchange.tape import Cancelled, Placed, Tape, TapeError, TapeWriter

from tests.unit.soloist_exchange.exchange_venues import World

RECORD = (
    "import sys; from pathlib import Path; from soloist_exchange.flow_record import record;"
    "from soloist_exchange.scenario import load; record(load(sys.argv[1]), 7, 1, Path(sys.argv[2]))"
)
BUSY = {
    "name": "busy",
    "markets": [
        {"ticker": "A", "informed": {"ahead_steps": 3}, "news": {"per_mille": 20}, "cross_percent": 5},
        {"ticker": "B", "create_at_ms": 5000, "close_at_ms": 40_000, "determine_at_ms": 45_000},
    ],
    "script": [
        {"at_ms": 0, "do": "price_ranges", "ticker": "A", "price_level_structure": "deci_cent"},
        {"at_ms": 8000, "do": "news", "ticker": "A", "ticks": 5},
        {"at_ms": 9000, "do": "deactivate", "ticker": "*"},
        {"at_ms": 12_000, "do": "activate", "ticker": "*"},
        {"at_ms": 15_000, "do": "pull", "ticker": "A", "for_ms": 2000},
        {
            "at_ms": 20_000,
            "do": "order",
            "ticker": "A",
            "side": "bid",
            "price_dollars": "0.6",
            "contracts": 9,
        },
        {"at_ms": 30_000, "do": "pause"},
        {"at_ms": 33_000, "do": "resume"},
    ],
}


def busy():
    return Scenario.model_validate(BUSY)


def recorded(tmp_path, scenario=None, name="a.tape", minutes=1):
    path = tmp_path / name
    record(scenario or busy(), 7, minutes, path)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a tape that is whole."""
    return recorded(tmp_path_factory.mktemp("whole")).read_bytes()


@pytest.fixture
def path(tmp_path, whole):
    """A whole tape in a file of its own."""
    file = tmp_path / "a.tape"
    file.write_bytes(whole)
    return file


def replayed(tmp_path, path):
    file = tmp_path / "again.yaml"
    file.write_text(f"name: again\ntape: {path.name}\n")
    return load(str(file))


@pytest.mark.timeout(60)  # two interpreters start
def test_two_processes_with_other_hash_seeds_make_the_same_bytes(tmp_path):
    tapes = []
    for hash_seed in ("1", "2024"):
        out = tmp_path / f"{hash_seed}.tape"
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", RECORD, "informed", str(out)], env=environment, check=True)
        tapes.append(out.read_bytes())
    assert tapes[0] == tapes[1]
    assert len(tapes[0]) > 50_000


@pytest.mark.parametrize("name", ["quiet", "life", "busy"])
def test_a_replay_that_is_recorded_again_is_the_same_tape(tmp_path, name):
    first = recorded(tmp_path, SCENARIOS.get(name, busy()))
    second = tmp_path / "second.tape"
    summary = record(replayed(tmp_path, first), 99, None, second)
    assert second.read_bytes() == first.read_bytes()
    assert summary.records > 40


def test_a_replay_makes_the_same_market(tmp_path):
    """Books and trades, not only what was sent."""
    first = World(busy(), 7)
    again = World(replayed(tmp_path, recorded(tmp_path)), 1)
    for world in (first, again):
        while world.clock() < world.flow.start_ms + 60_000:
            due = [item for item in (world.flow.step(), world.venue.tick()) if item is not None]
            world.clock.now_ms = min(due)
    assert first.tape.lines == again.tape.lines
    assert len(first.tape.lines) > 1000
    assert again.flow.desk.orders == first.flow.desk.orders


def test_a_replay_goes_on_when_somebody_else_trades_too(tmp_path):
    world = World(replayed(tmp_path, recorded(tmp_path)))
    world.account(100, 100_000)
    for step in range(400):
        world.run(1)
        if step % 7 == 0 and world.venue.markets["A"].status == "active" and world.venue.trading_active:
            world.order(100, 1 if step % 2 else -1, 9900 if step % 2 else 100, 50_000, ticker="A")
    world.venue.recount()
    assert world.flow.step() is not None


def test_other_seeds_make_other_tapes(tmp_path):
    record(busy(), 1, 1, tmp_path / "1")
    record(busy(), 2, 1, tmp_path / "2")
    assert (tmp_path / "1").read_bytes() != (tmp_path / "2").read_bytes()


def test_a_replay_takes_what_its_file_adds(tmp_path):
    path = recorded(tmp_path)
    file = tmp_path / "again.yaml"
    file.write_text(
        f"name: again\ntape: {path}\nswitches: {{read_model_lag_ms: 5}}\nfaults: [{{kind: slow}}]\n"
        "script: [{at_ms: 1, do: pause}]\n"
    )
    found = load(str(file))
    assert found.switches == {"read_model_lag_ms": 5}
    assert len(found.faults) == 1
    assert len(found.script) == len(BUSY["script"]) + 1


# ---------------------------------------------------------------------- damage


@pytest.mark.parametrize("kept", [1, 2, 50])
def test_a_tape_that_was_cut_off_names_the_record_that_is_missing(path, kept):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:kept]))
    with pytest.raises(
        TapeError, match=rf"a\.tape: record {kept}: .*cut off; copy the tape again.*tape record"
    ):
        tape.verify(path)


def test_a_tape_that_was_cut_off_within_a_line(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:10]) + lines[10][:-5])
    with pytest.raises(TapeError, match="record 10: damaged: the line was cut off"):
        tape.verify(path)


@pytest.mark.parametrize("record_number", [1, 17, 400])
def test_a_changed_digit_is_found_where_it_is(path, record_number):
    lines = path.read_bytes().splitlines(keepends=True)
    digits = [index for index, letter in enumerate(lines[record_number]) if letter in b"123456789"]
    line = bytearray(lines[record_number])
    line[digits[1]] ^= 1
    lines[record_number] = bytes(line)
    path.write_bytes(b"".join(lines))
    with pytest.raises(TapeError, match=rf"record {record_number}: "):
        tape.verify(path)


def test_a_record_that_is_missing_in_the_middle(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:20] + lines[21:]))
    with pytest.raises(TapeError, match="record 20: damaged"):
        tape.verify(path)


def test_something_behind_the_end(path):
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(TapeError, match="something follows the last line"):
        tape.verify(path)


@pytest.mark.parametrize("text", [b"", b"name: demo\n", b'{"tape": 1}\n', b"\xff\xfe\n", b"[1]\n"])
def test_a_file_that_is_no_tape(tmp_path, text):
    path = tmp_path / "a.tape"
    path.write_bytes(text)
    with pytest.raises(TapeError, match=r"a\.tape: first line: this is not a tape"):
        tape.verify(path)


def test_a_tape_of_another_version(path):
    path.write_bytes(path.read_bytes().replace(b'"soloist_tape":1', b'"soloist_tape":2'))
    with pytest.raises(TapeError, match="first line: version 2, and this program reads version 1"):
        tape.verify(path)


def test_a_tape_that_is_not_there(tmp_path):
    with pytest.raises(TapeError, match=r"none\.tape: No such file"):
        tape.verify(tmp_path / "none.tape")


def test_a_scenario_with_a_damaged_tape_is_refused(tmp_path, path):
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TapeError, match=r"a\.tape: record"):
        replayed(tmp_path, path)


def test_nothing_is_left_where_recording_failed(tmp_path):
    busy_out = tmp_path / "there"
    busy_out.mkdir()
    with pytest.raises(Exception, match="choose another --out"):
        record(busy(), 1, 1, busy_out / "no" / "a.tape")
    assert list(tmp_path.rglob("*.unfinished")) == []


# ---------------------------------------------------------------------- format

records = st.lists(
    st.tuples(
        st.integers(0, 10**6), st.integers(0, 2), st.integers(1, 4), st.sampled_from([1, -1]),
        st.integers(1, 9999), st.integers(1, 10**12), st.sampled_from(list(TimeInForce)), st.booleans(),
    ),
    max_size=30,
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(records)
def test_what_is_written_is_read(tmp_path_factory, items):
    file = io.BytesIO()
    writer = TapeWriter(
        file, Tape(soloist_tape=1, seed=-3, minutes=5, tickers=["A", "B", "C"], scenario={"markets": []})
    )
    wanted, now_ms, placed = [], 0, 0
    for wait_ms, market, account, side, price, size, life, cancels in items:
        now_ms += wait_ms
        wanted.append(Placed(now_ms, market, account, side, price, size, life))
        writer.placed(wanted[-1])
        placed += 1
        if cancels:
            wanted.append(Cancelled(now_ms, placed))
            writer.cancelled(wanted[-1])
    writer.close(now_ms)
    path = Path(tmp_path_factory.mktemp("tape")) / "a.tape"
    path.write_bytes(file.getvalue())
    assert list(tape.records(path)) == wanted
    assert tape.verify(path) == (len(wanted), now_ms, placed)
    assert tape.read_header(path).seed == -3
