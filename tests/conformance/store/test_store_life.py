"""A store that is killed, behind, of another journal or of another version: right, or said to be wrong."""

from __future__ import annotations

import contextlib
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from soloist_trader.cli import main
from soloist_trader.journal.disk import Disk
from soloist_trader.journal.snapshots import take_snapshot
from soloist_trader.store import (
    StoreError,
    StoreStaleError,
    catch_up,
    check,
    open_database,
    project,
    query_names,
    rebuild,
)
from soloist_trader.store.position import read_place
from soloist_trader.store.schema import TABLES, column_names, views

from tests.conformance.store.store_world import Crash, CrashingDatabase, Trader, dump, live

pytestmark = pytest.mark.timeout(30, func_only=True)  # the first use may install the server

DOCUMENT = Path(__file__).parents[3] / "docs" / "store.md"
COMMAND = [sys.executable, "-c", "from soloist_trader.cli import main; main()", "store"]


def run(*words):
    return CliRunner().invoke(main, ["store", *map(str, words)])


@pytest.fixture(scope="session")
def reference(long_life, tmp_path_factory):
    """Every table after one rebuild in one go."""
    path = tmp_path_factory.mktemp("reference") / "store.sqlite"
    with contextlib.closing(open_database(long_life, f"sqlite://{path}")) as database:
        rebuild(database, long_life)
        return dump(database, list(TABLES))


def test_a_store_made_in_many_steps_is_the_store_made_in_one(database, long_life, reference):
    rebuild(database, long_life, chunk=7)
    assert dump(database, list(TABLES)) == reference
    assert catch_up(database, long_life).records == 0
    assert dump(database, list(TABLES)) == reference


def test_a_store_that_follows_a_growing_journal_is_the_store_made_at_its_end(url, trader, tmp_path):
    draw = random.Random(11)
    for _ in range(12):
        live(trader, draw, 10)
        with contextlib.closing(open_database(tmp_path, url)) as database:
            if database.has_table("projected"):
                catch_up(database, trader.journal.directory)
            else:
                rebuild(database, trader.journal.directory)
            assert check(database, trader.journal.directory)[1:] == (0, [])
            followed = dump(database, list(TABLES))
    with contextlib.closing(open_database(tmp_path, url)) as database:
        rebuild(database, trader.journal.directory)
        assert dump(database, list(TABLES)) == followed


@pytest.mark.parametrize("seed", range(4))
def test_a_kill_in_the_middle_of_a_rebuild_leaves_a_store_that_goes_on(url, long_life, reference, seed):
    lines = random.Random(seed).randrange(0, 40)
    words = [*COMMAND, "rebuild", "--state-dir", str(long_life), "--url", url, "--chunk", "25"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for _ in range(lines):
        assert process.stderr.readline()
    process.kill()
    process.communicate()
    with contextlib.closing(open_database(long_life, url)) as database:
        if lines:
            found = check(database, long_life)
            assert found.differences == []
            assert (
                found.place.records + found.behind == sum(1 for _ in reference["logs"]) or found.behind >= 0
            )
            catch_up(database, long_life)
        else:  # it may have been killed before there was anything
            rebuild(database, long_life)
        assert dump(database, list(TABLES)) == reference


@pytest.mark.parametrize("first", range(3))
def test_a_crash_before_any_statement_leaves_a_store_that_goes_on(url, trader, tmp_path, first):
    live(trader, random.Random(8), 20)
    directory = trader.journal.directory
    with contextlib.closing(open_database(tmp_path, f"sqlite://{tmp_path / 'whole.sqlite'}")) as whole:
        rebuild(whole, directory)
        expected = dump(whole, list(TABLES))
    crashes, crash_at = 0, first
    with contextlib.closing(open_database(tmp_path, url)) as database:
        rebuild(database, directory)
        while True:
            dying = CrashingDatabase(database, crash_at)
            try:
                rebuild(dying, directory, chunk=20)
                break
            except Crash:
                crashes, crash_at = crashes + 1, crash_at + 6
            assert check(database, directory).differences == []
            catch_up(database, directory, chunk=50)
            assert dump(database, list(TABLES)) == expected, crash_at
        assert dump(database, list(TABLES)) == expected
    assert crashes > 10


def test_check_sees_one_unit_of_money(database, long_life):
    rebuild(database, long_life)
    database.execute("UPDATE trades SET realised = realised + 1 WHERE number = 3")
    (difference,) = check(database, long_life).differences
    assert difference.startswith("M: its trades add up to")


def test_the_store_of_another_journal_is_refused(database, long_life, trader):
    rebuild(database, long_life)
    trader.buy(4_000, 100)
    with pytest.raises(StoreStaleError, match="another journal"):
        catch_up(database, trader.journal.directory)


def test_a_batch_of_the_same_number_is_not_enough_to_be_the_same_journal(database, trader, tmp_path):
    trader.buy(4_000, 100)
    rebuild(database, trader.journal.directory)
    other = Trader(tmp_path / "other")
    other.buy(4_100, 100)
    other.sell(4_500, 100)
    other.close()
    with pytest.raises(StoreStaleError, match="another journal"):
        catch_up(database, tmp_path / "other")


def test_the_store_of_another_compacted_journal_is_refused(database, long_life, tmp_path):
    rebuild(database, long_life)
    other = Trader(tmp_path / "other", segment_bytes=4096)
    live(other, random.Random(77), 60)
    other.close()
    last = read_place(database)[0].segment
    for number in range(1, last + 1):
        (tmp_path / "other" / f"journal-{number:016x}.log").unlink()
    with pytest.raises(StoreStaleError, match="does not continue"):
        catch_up(database, tmp_path / "other")


def test_a_journal_that_lost_its_end_is_noticed(database, trader, tmp_path):
    trader.buy(4_000, 100)
    rebuild(database, trader.journal.directory)
    shorter = Trader(tmp_path / "shorter")
    shorter.close()
    with pytest.raises(StoreStaleError, match="not in this"):
        catch_up(database, tmp_path / "shorter")


def test_another_schema_version_asks_for_a_rebuild_which_repairs_it(database, long_life, reference):
    rebuild(database, long_life)
    database.execute("UPDATE projected SET schema_version = 0")
    with pytest.raises(StoreStaleError, match="schema version 0"):
        catch_up(database, long_life)
    rebuild(database, long_life)
    assert dump(database, list(TABLES)) == reference


def test_a_second_process_that_writes_is_noticed(url, trader, tmp_path):
    trader.buy(4_000, 100)
    directory = trader.journal.directory
    with (
        contextlib.closing(open_database(tmp_path, url)) as first,
        contextlib.closing(open_database(tmp_path, url)) as second,
    ):
        rebuild(first, directory)
        trader.sell(4_500, 100)
        trader.buy(4_500, 100)

        def interfere(_):
            catch_up(second, directory)

        with pytest.raises(StoreError, match="changed by another process"):
            catch_up(first, directory, chunk=1, report=interfere)
        assert check(second, directory).differences == []


def test_a_compacted_journal_is_followed_but_not_rebuilt_without_a_word(url, tmp_path):
    directory = tmp_path / "state"
    trader = Trader(directory, segment_bytes=4096)
    draw = random.Random(3)
    live(trader, draw, 60)
    with contextlib.closing(open_database(tmp_path, url)) as database:
        rebuild(database, directory)
        whole = len(database.rows("SELECT 1 FROM trades"))
        for _ in range(2):
            live(trader, draw, 60)
            catch_up(database, directory)
            taken = take_snapshot(directory, Disk(), taken_ms=trader.now_ms)
        assert taken.removed, "nothing was compacted"
        live(trader, draw, 60)
        catch_up(database, directory)
        assert len(database.rows("SELECT 1 FROM trades")) > whole
        assert check(database, directory)[1:] == (0, [])
        before = dump(database, ["positions"])
        with pytest.raises(StoreError, match="--forget"):
            rebuild(database, directory)
        rebuild(database, directory, forget=True)
        assert check(database, directory)[1:] == (0, [])
        assert [row[:8] for row in dump(database, ["positions"])["positions"]] == [
            row[:8] for row in before["positions"]
        ]
    trader.close()


def test_a_follower_that_was_away_while_the_journal_was_compacted_says_so(url, tmp_path):
    directory = tmp_path / "state"
    trader = Trader(directory, segment_bytes=4096)
    draw = random.Random(4)
    live(trader, draw, 5)
    with contextlib.closing(open_database(tmp_path, url)) as database:
        rebuild(database, directory)
        for _ in range(3):
            live(trader, draw, 60)
            take_snapshot(directory, Disk(), taken_ms=trader.now_ms)
        with pytest.raises(StoreStaleError, match="compacted away"):
            catch_up(database, directory)
    trader.close()


def test_project_builds_and_then_follows(trader):
    trader.buy(4_000, 100)
    directory = trader.journal.directory
    first = project(directory)
    trader.sell(4_500, 100)
    second = project(directory)
    assert second.records > 0
    assert second.place.records == first.records + second.records


def test_the_commands_work_one_after_the_other(url, trader):
    trader.buy(4_000, 100)
    common = ("--state-dir", trader.journal.directory, "--url", url)
    refused = run("query", "recent-trades", *common)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "store rebuild" in refused.stderr
    made = run("follow", "--once", *common)
    assert made.exit_code == 0, made.stderr
    assert re.search(r"^\d+ records, segment 1$", made.stderr, re.MULTILINE)
    shown = run("query", "active-positions", *common)
    header, row = shown.stdout.splitlines()
    assert header.split("\t")[:3] == ["market", "side", "contracts"]
    assert row.split("\t")[:3] == ["M", "YES", "1.00"]
    (trade,) = json.loads(run("query", "recent-trades", "--json", *common).stdout)
    assert trade["entry_price_dollars"] == "0.4000"
    trader.sell(4_500, 100)
    behind = json.loads(run("check", "--json", *common).stdout)
    assert behind["behind"] > 0
    assert behind["differences"] == []
    rebuilt = json.loads(run("rebuild", "--json", *common).stdout)
    assert rebuilt["records"] == behind["records"] + behind["behind"]
    with contextlib.closing(open_database(trader.journal.directory, url)) as database:
        database.execute("UPDATE positions SET fees = fees + 1")
    wrong = run("check", *common)
    assert wrong.exit_code == 1
    assert "differences\t2" in wrong.stdout


def test_wrong_words_get_a_sentence_that_helps(tmp_path, trader):
    directory = trader.journal.directory
    assert "holds no journal" in run("rebuild", "--state-dir", tmp_path).stderr
    assert "--url is neither" in run("rebuild", "--state-dir", directory, "--url", "mysql://x").stderr
    away = run("rebuild", "--state-dir", directory, "--url", f"postgresql://a:secret@/b?host={tmp_path}")
    assert "cannot be reached" in away.stderr
    assert "secret" not in away.stderr
    run("rebuild", "--state-dir", directory)
    assert "there is no query 'x'" in run("query", "x", "--state-dir", directory).stderr
    (directory / "store.sqlite").write_bytes(b"something else entirely, and long enough to be read" * 100)
    assert "is not a store" in run("check", "--state-dir", directory).stderr


def test_postgresql_without_its_driver_says_what_to_install(monkeypatch, trader):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    refused = run("rebuild", "--state-dir", trader.journal.directory, "--url", "postgresql://x/y")
    assert refused.exit_code == 1
    assert "soloist[store]" in refused.stderr


def test_a_torn_end_of_the_journal_is_left_for_later(database, trader):
    trader.buy(4_000, 100)
    directory = trader.journal.directory
    rebuild(database, directory)
    trader.sell(4_500, 100)
    (path,) = directory.glob("journal-*.log")
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0"))
    path.write_bytes(whole[: end - 3])
    torn = catch_up(database, directory).records
    path.write_bytes(whole)
    assert catch_up(database, directory).records > 0
    assert torn >= 0
    assert check(database, directory)[1:] == (0, [])
    assert read_place(database)[1].export() == trader.ledger.export()


def test_every_table_view_column_and_query_is_described(tmp_path):
    text = DOCUMENT.read_text(encoding="utf-8")
    with contextlib.closing(open_database(tmp_path, None)) as database:
        for name in [*TABLES, *views(database)]:
            assert f"### `{name}`" in text, name
        for table in TABLES:
            section = text.split(f"### `{table}`")[1].split("\n### ")[0]
            missing = [column for column in column_names(table) if f"`{column}`" not in section]
            assert not missing, (table, missing)
    for query in query_names():
        assert f"store query {query}" in text, query
