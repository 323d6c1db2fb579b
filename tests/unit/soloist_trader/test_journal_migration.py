"""Journals of every format that an engine ever wrote. The bytes were written by the engines of that time, not by this one."""

import base64
import zlib

import pytest
from soloist_trader.core import records
from soloist_trader.core.ledger import Ledger
from soloist_trader.journal.disk import Disk
from soloist_trader.journal.frames import FORMAT_VERSION
from soloist_trader.journal.reader import Tail, read_journal, segment_path
from soloist_trader.journal.snapshots import rebuild, take_snapshot
from soloist_trader.journal.writer import Journal

FORMAT_1 = (
    "c-jm0_wn}(4)J1SU|;}Y7;ru5#2)P96ao{2(c(~gs<!z7ue+7(lcqB;E-TH;EHN-(U}Rt7lUbHJnVX3TSt}Ei4hLe8mUq?a&q|rh"
    "nkUU=WL{Kk$hfd%p)cdo)Vz|S%Cr0nQZ}XM=cmM%Wai|=Cnx45r{<)lFdPCaHDUrO{l6r&BD3VIctOhM%-r16l+47E)cE`&sAA5;"
    "$W}8$X$2q#S*a3e`cd|)OT(n;tSmsQ7v&o=99mkGT98vYg$XENw7euUH#NVs1lbH0C>;XCAidr`Q{^q%tE8vQVP{>GW(Y9`=mU`3"
    "-43%(XJv&5r5s*WTAW%0bXrPk(PU;epz%{#*n#90ut<DjPEl%NN@YCIH^n8zOOr~A@=)w$h0-xV46@I06Vo5JJ74ZkpTWklsMvB*"
    "zU4wcMy`}89Gr{N3>c?!axU~cbK)%Xi>X{(%L-D9iu3c9c{uunxVkLO$<NO&p2EX@)=z<T3Lg(p^BT9z)SQ%Jm&~-Z)S@Z8yoZ++"
    "6y=wt<^cdryPul"
)
"""Commit 8b6717c with segments of 400 bytes: one sealed by its successor, which holds a header only. One of each kind."""
FORMAT_1_SUCCESSOR = "c-jm0_wn}(4)J1SU|?WkfB?5UU+yPW^{4>=Q#uCz"
WRITTEN = [
    ("Started", (1, "unit00", 0, 1, 7, "Live")),
    ("CursorMoved", (2, 2)),
    ("Intended", (3, "s1", 1, "t", "M", 1, "entry", 4000, 100, "good_till_canceled", 0, False)),
    ("Intended", (3, "s2", 2, "t", "M", -1, "exit", 6000, 100, "immediate_or_cancel", 9, True)),
    ("Observed", (4, "s1", "o1", 0, False, "reply")),
    ("Doubted", (4, "s2", "timeout")),
    ("Booked", (5, "f1", "s1", "o1", "M", 1, 4000, 100, 70, True, 5)),
    ("Observed", (5, "s1", "o1", 100, True, "user_order")),
    ("Tombstoned", (6, "s2")),
    ("Released", (7, "s2", "order_already_exists", "burnt")),
    ("Found", (8, "s9", "o9", "N", 1, 10, 100)),
    ("Excluded", (9, "f0", 1)),
    ("PositionAdopted", (9, "N", 200, 1000)),
    ("Latched", (10, "person", "HALTED", "looks")),
    ("DayBegan", (11, 20000, 5)),
    ("Contradicted", (12, "s9", "FieldsDiffer")),
    ("Stopped", (13, True, "proven")),
]


@pytest.fixture
def old(tmp_path):
    for number, content in enumerate((FORMAT_1, FORMAT_1_SUCCESSOR), start=1):
        segment_path(tmp_path, number).write_bytes(zlib.decompress(base64.b85decode(content)))
    assert {segment_path(tmp_path, number).read_bytes()[8] for number in (1, 2)} == {1}
    return tmp_path


def read(directory):
    tail = Tail()
    found = [
        record for _, _, records_of_batch in read_journal(directory, tail) for record in records_of_batch
    ]
    return found, tail


def test_every_kind_of_record_of_format_1_means_what_it_meant(old):
    found, tail = read(old)
    assert [
        (type(record).__name__, tuple(record)[: len(fields)])
        for record, (_, fields) in zip(found, WRITTEN, strict=True)
    ] == WRITTEN
    assert tail.damage == ""
    # Fields that were added since then have the value that stands for "nobody said so".
    for record, (kind, fields) in zip(found, WRITTEN, strict=True):
        assert record == getattr(records, kind)(*fields)


def test_a_journal_of_format_1_goes_on_in_the_present_one_with_snapshots(old):
    ledger = Ledger()
    journal = Journal(old, segment_bytes=400)
    journal.open(ledger)
    assert ledger.latches == {"person": ("HALTED", "looks")}
    assert (ledger.position("M").count, ledger.position("N").count) == (100, 200)
    fact = records.CursorMoved(20, 20)
    journal.append(fact)
    journal.seal()
    journal.close()
    ledger.apply(fact)
    assert segment_path(old, 2).read_bytes()[8] == FORMAT_VERSION
    take_snapshot(old, Disk(), taken_ms=1)
    again, tail = Ledger(), Tail()
    rebuild(old, Disk(), again, tail)
    assert (tail.records, again.state_hash()) == (0, ledger.state_hash())
