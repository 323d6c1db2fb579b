"""What the operator's word in the Lease does to an engine."""

import errno
import json
import os

import pytest
from soloist_kalshi.signing import generate_private_key
from soloist_trader import config
from soloist_trader.core import events
from soloist_trader.core.commands import Place
from soloist_trader.core.records import Latched
from soloist_trader.errors import FatalError, StateError
from soloist_trader.journal.reader import Tail, read_journal
from soloist_trader.journal.writer import Commit
from soloist_trader.shell.clock import now_ms
from soloist_trader.shell.control import Request, RequestError
from soloist_trader.shell.latch_file import write_latch
from soloist_trader.shell.lease import Word
from soloist_trader.shell.service import Options, Service
from soloist_trader.shell.verbs import Verbs

from tests.unit.soloist_trader.test_config import write


@pytest.fixture
async def make_service(tmp_path):
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "key-id").write_text("k")
    (keys / "private-key.pem").write_bytes(generate_private_key("ed25519").private_pem)
    (keys / "private-key.pem").chmod(0o400)
    services = []

    def make(changes=None, *, state="state"):
        configuration = config.load(write(tmp_path, changes or {"account.epoch": 3}))
        # A busy machine must not choose another way to commit in the middle of a test.
        options = Options(
            configuration, keys, tmp_path / state, "127.0.0.1:0", None, "pod-1", commit=Commit.INLINE
        )
        service = Service(options)
        services.append(service)
        service._open_journal()
        service._assemble()
        return service

    yield make
    for service in services:
        service.journal.close()
        if hasattr(service, "edge"):
            await service.edge.close()


def fatal_reason(service):
    error = service._fatal.result()
    assert isinstance(error, FatalError)
    service.gate.open()
    assert service.gate.closed, "sending stops before anything else, and for good"
    return error.reason


async def test_only_the_epoch_and_pod_that_the_operator_admits_may_begin(make_service):
    service = make_service()
    for word in (Word(0, "", ""), Word(2, "Running", "pod-1"), Word(3, "Running", "pod-0")):
        service.admission.on_word(word)
        assert not service.admission.admitted.is_set()
    service.admission.on_word(Word(3, "Running", "pod-1"))
    assert service.admission.admitted.is_set()
    assert not service._fatal.done()


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        (Word(4, "Running", "pod-1"), "EpochMismatch"),
        (Word(2, "Running", "pod-1"), "EpochMismatch"),
        (Word(3, "Running", "pod-2"), "NotAdmitted"),
    ],
)
async def test_another_epoch_or_pod_ends_an_engine_that_was_admitted(make_service, word, reason):
    service = make_service()
    service.admission.on_word(Word(3, "Running", "pod-1"))
    service.admission.on_word(word)
    assert fatal_reason(service) == reason


async def test_a_higher_epoch_ends_an_engine_before_it_began(make_service):
    service = make_service()
    service.admission.on_word(Word(4, "Running", "pod-2"))
    assert fatal_reason(service) == "EpochMismatch"


async def test_desired_states_and_a_lost_lease_are_latches(make_service):
    service = make_service()
    for desired, state in (("Reducing", "REDUCING"), ("Halted", "HALTED"), ("Running", "ACTIVE")):
        service.admission.on_word(Word(3, desired, "pod-1"))
        assert service.ledger.state == state
    service.admission.on_silence("ConnectError")
    assert service.ledger.latches == {"lease": ("HALTED", "lost: ConnectError")}, (
        "nobody can take a Static key away"
    )
    service.admission.on_word(Word(3, "Running", "pod-1"))
    assert service.ledger.state == "ACTIVE"


async def test_the_report_has_every_field_and_fits_the_annotation(make_service):
    service = make_service()
    service.runtime.dispatch(events.Verb(1, "operator", "HALTED", "x" * 5_000))
    report = service.publisher.report("pod-1")
    assert set(report) == {
        "podUid",
        "epoch",
        "incarnation",
        "keyId",
        "generation",
        "state",
        "ready",
        "reason",
        "message",
        "safety",
    }
    assert (report["state"], report["ready"], report["keyId"], report["generation"]) == (
        "HALTED",
        False,
        "k",
        1,
    )
    assert len(json.dumps(report, separators=(",", ":"))) < 1_000


async def test_a_state_directory_of_another_account_or_mode_is_refused(make_service):
    make_service().journal.close()
    with pytest.raises(StateError, match=r"belongs to claim 1a2b3c.*Use another --state-dir"):
        make_service({"account.epoch": 3, "account.claim_hash": "zzzzzz"})


async def test_a_journal_of_a_later_epoch_is_fatal(make_service):
    make_service().journal.close()
    with pytest.raises(FatalError, match="epoch 3, this engine of 2"):
        make_service({"account.epoch": 2})


async def test_a_lost_lease_reduces_where_the_fence_can_take_the_key_away(make_service, tmp_path):
    (tmp_path / "keys" / "epoch").write_text("3")
    service = make_service()
    service.admission.on_word(Word(3, "Running", "pod-1"))
    service.admission.on_silence("ConnectError")
    assert service.ledger.latches == {"lease": ("REDUCING", "lost: ConnectError")}


async def test_a_key_in_doubt_keeps_the_gate_although_recovery_ends(make_service):
    service = make_service()
    service.key_doubt.refused("401")
    service.gate.open()
    assert service.gate.closed == "key in doubt: 401"
    for task in service._tasks:
        task.cancel()


async def test_the_watchdogs_latch_halts_at_start_and_keeps_the_gate_until_it_is_proven(
    make_service, tmp_path
):
    (tmp_path / "state").mkdir()
    write_latch(tmp_path / "state", "silent for 5 s")
    service = make_service()
    assert service.ledger.latches["watchdog"] == ("HALTED", "watchdog: silent for 5 s")
    place = Place(
        f"s{service.identity.claim_hash}-3-1-1", "M", 1, 5_000, 100, "x", 0, reduce_only=False,
        deadline_ms=now_ms() + 60_000, book_generation=1, decided_ms=0,
    )  # fmt: skip
    assert service._objection(place) == "watchdog: silent for 5 s"
    write_latch(tmp_path / "state", "silent for 5 s", proven=True)
    service._look_at_latch_file()
    assert service.ledger.state == "ACTIVE"
    assert service._objection(place) == ""
    assert (
        service._objection(place._replace(client_order_id="sunit00-2-1-1")) == "the order is not of epoch 3"
    )
    service.runtime.dispatch(events.Verb(1, "person", "REDUCING", "x"))
    assert service._objection(place) == "REDUCING since the decision"


async def test_a_stop_claims_only_what_was_seen(make_service):
    service = make_service()
    service.reconciler.phase = "WaitingForLease"
    proven, reason, message = await service._end_orders(0)
    assert (proven, reason) == (False, "StopUnproven")
    assert "looked at nothing" in message
    other = make_service({"account.epoch": 3, "trading.cancel_on_stop": False}, state="other")
    other.reconciler.phase = "Ready"
    proven, reason, message = await other._end_orders(0)
    assert (proven, reason) == (False, "OrdersLeft")
    assert "cancelOnStop is false" in message
    assert other.ledger.state == "ACTIVE", "a latch would keep the next start from trading"


async def test_verbs_of_a_person_are_latches_in_the_journal_and_only_their_own_are_lifted(make_service):
    service = make_service()
    verbs = Verbs(service)
    answer = await verbs.carry(Request("reduce", "ada", "look"))
    assert answer["latches"] == {"person": ["REDUCING", "ada: look"]}
    await verbs.carry(Request("halt", "ada", "worse"))
    await verbs.carry(Request("halt", "bob", "me too"))
    assert service.ledger.latches["person"] == ("HALTED", "ada: worse")
    service.runtime.dispatch(events.Verb(1, "operator", "REDUCING", "spec"))
    answer = await verbs.carry(Request("resume", "ada", "fine"))
    assert (answer["state"], answer["lifted"]) == ("REDUCING", ["person"])
    with pytest.raises(RequestError, match=r"spec\.desiredState"):
        await verbs.carry(Request("resume", "ada", "all", latch="operator"))
    with pytest.raises(RequestError, match="held by operator"):
        await verbs.carry(Request("resume", "ada", "all"))
    with pytest.raises(RequestError, match="market 'M' is not halted; halted: none"):
        await verbs.carry(Request("release-market", "ada", "seen", market="M"))
    with pytest.raises(RequestError, match="it reconciles before it trades"):
        await verbs.carry(Request("reconcile", "ada", "now"))
    kept = [
        (record.actor, record.state, record.reason)
        for _, _, records in read_journal(service.options.state_directory, Tail())
        for record in records
        if isinstance(record, Latched)
    ]
    assert [row for row in kept if row[0] != "operator"] == [
        ("person", "REDUCING", "ada: look"),
        ("person", "HALTED", "ada: worse"),
        ("ctl halt", "ACTIVE", "bob: me too"),
        ("person", "ACTIVE", "ada: fine"),
    ]


@pytest.mark.parametrize("beside", ["REDUCING", "HALTED"])
async def test_a_failed_journal_is_the_reason_whatever_else_is_latched(make_service, beside):
    service = make_service()
    service.runtime.engine.ready = True
    service.runtime.dispatch(events.Verb(1, "lease", beside, "not renewed"))
    service.runtime.dispatch(events.Verb(2, "operator", "REDUCING", "spec"))
    assert service.publisher.reason()[0] == beside.capitalize()

    def failing(_file):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    service.journal.disk.sync = failing
    assert not service.runtime.flush_journal()
    reason, message = service.publisher.reason()
    assert reason == "Halted"
    assert message.startswith("journal: ")
    for words in (str(service.journal.directory), os.strerror(errno.EIO), "replace the volume"):
        assert words in message
