"""What the operator's word in the Lease does to an engine."""

import pytest
from soloist_kalshi.signing import generate_private_key
from soloist_trader import config
from soloist_trader.core import events
from soloist_trader.errors import FatalError, StateError
from soloist_trader.shell.lease import Word
from soloist_trader.shell.service import Options, Service

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
        options = Options(configuration, keys, tmp_path / state, "127.0.0.1:0", None, "pod-1")
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
    assert service.gate.closed.startswith("!"), "sending stops before anything else"
    return error.reason


async def test_only_the_epoch_and_pod_that_the_operator_admits_may_begin(make_service):
    service = make_service()
    for word in (Word(0, "", ""), Word(2, "Running", "pod-1"), Word(3, "Running", "pod-0")):
        service._on_word(word)
        assert not service._admitted.is_set()
    service._on_word(Word(3, "Running", "pod-1"))
    assert service._admitted.is_set()
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
    service._on_word(Word(3, "Running", "pod-1"))
    service._on_word(word)
    assert fatal_reason(service) == reason


async def test_a_higher_epoch_ends_an_engine_before_it_began(make_service):
    service = make_service()
    service._on_word(Word(4, "Running", "pod-2"))
    assert fatal_reason(service) == "EpochMismatch"


async def test_desired_states_and_a_lost_lease_are_latches(make_service):
    service = make_service()
    for desired, state in (("Reducing", "REDUCING"), ("Halted", "HALTED"), ("Running", "ACTIVE")):
        service._on_word(Word(3, desired, "pod-1"))
        assert service.ledger.state == state
    service._on_lease_silence("ConnectError")
    assert service.ledger.latches == {"lease": ("REDUCING", "lost: ConnectError")}
    service._on_word(Word(3, "Running", "pod-1"))
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
    }
    assert (report["state"], report["ready"], report["keyId"], report["generation"]) == (
        "HALTED",
        False,
        "k",
        1,
    )
    assert len(str(report)) < 1_000


async def test_a_state_directory_of_another_account_or_mode_is_refused(make_service):
    make_service().journal.close()
    with pytest.raises(StateError, match=r"belongs to claim 1a2b3c.*Use another --state-dir"):
        make_service({"account.epoch": 3, "account.claim_hash": "zzzzzz"})


async def test_a_journal_of_a_later_epoch_is_fatal(make_service):
    make_service().journal.close()
    with pytest.raises(FatalError, match="epoch 3, this engine of 2"):
        make_service({"account.epoch": 2})
