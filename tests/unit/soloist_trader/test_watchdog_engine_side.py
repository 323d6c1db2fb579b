"""What the engine does for its watchdog, and what it does by itself after a standstill."""

import json

import pytest
from soloist_trader import config
from soloist_trader.core.commands import Place
from soloist_trader.shell.live import LiveEdge
from soloist_trader.shell.service import Options, Service
from soloist_trader.shell.venue_start import before_first_reading
from soloist_trader.watchdog.pulse import read_beat, read_snapshot, write_word

from tests.unit.soloist_kalshi.kalshi_servers import ScriptedServer, reply
from tests.unit.soloist_trader.test_config import write
from tests.unit.soloist_trader.test_service_words import make_service

assert make_service  # a fixture


class Clock:
    ms = 1_000_000

    def __call__(self):
        return self.ms


@pytest.fixture
async def watched(make_service, tmp_path):
    """An engine with a directory in shared memory."""
    plain = make_service(state="other")
    configuration = config.load(write(tmp_path, {"account.epoch": 3}))
    options = Options(
        configuration, plain.options.keys, tmp_path / "state", "127.0.0.1:0", None, "pod-1",
        watch_directory=tmp_path / "watch",
    )  # fmt: skip
    service = Service(options)
    service._open_journal()
    service._assemble()
    yield service
    service.journal.close()
    await service.edge.close()


def place():
    return Place(
        "s1a2b3c-3-1-1",
        "T",
        1,
        5_000,
        100,
        "good_till_canceled",
        0,
        reduce_only=False,
        deadline_ms=1 << 60,
        book_generation=1,
        decided_ms=0,
    )


async def test_a_turn_of_the_loop_is_a_heartbeat_with_a_status_that_can_be_read(watched, tmp_path):
    watched.board.publish(watched.publisher.snapshot())
    watched._pulse.beat(watched._group_ids(), watched.board.status)
    beat = read_beat(tmp_path / "watch")
    assert (beat.incarnation, beat.turn, beat.is_running) == (watched._incarnation, 1, True)
    body, _ = read_snapshot(tmp_path / "watch")
    assert (body["mode"], body["epoch"]) == ("Live", 3)


async def test_the_heartbeat_names_the_order_groups_before_an_order_can(watched, tmp_path):
    """No turn of the loop lies between: an engine that hangs right after its first order is ended with its groups triggered."""
    made = iter(["g-open", "g-reduce"])

    async def answer(request):
        assert (request.method, request.target.partition("?")[0]) == (
            "POST",
            "/trade-api/v2/portfolio/order_groups/create",
        )
        return reply(201, b'{"order_group_id":"%s"}' % next(made).encode())

    watched._beat()
    assert read_beat(tmp_path / "watch").groups == ()
    watched.ledger.cursor_ms = 1  # its journal is not gone: nothing is asked of the venue before
    async with ScriptedServer(answer) as server:
        edge = LiveEdge(
            watched.configuration.model_copy(
                update={"venue": watched.configuration.venue.model_copy(update={"rest_url": server.base_url})}
            ),
            watched._keys.source, watched.key_doubt.refused, watched._on_reopened, watched._attempts, watched.choice,
        )  # fmt: skip
        await before_first_reading(watched.runtime, edge, watched.reconciler, watched._venue_start())
        await edge.close()
    beat = read_beat(tmp_path / "watch")
    assert beat.groups == ("g-open", "g-reduce")
    assert beat.is_running
    assert watched.gate.closed


async def test_the_lease_names_the_watchdogs_key_as_long_as_it_lives(watched, tmp_path):
    assert watched.publisher.report("pod-1")["watchdog"] == {}
    write_word(tmp_path / "watch", {"keyId": "k" * 36, "foreign": 1, "otherEpoch": 0})
    report = watched.publisher.report("pod-1")
    assert report["watchdog"]["foreign"] == 1
    assert len(json.dumps(report, separators=(",", ":"))) < 1_000


async def test_an_engine_without_a_watchdog_names_none(make_service):
    assert "watchdog" not in make_service().publisher.report("pod-1")


async def test_after_a_standstill_the_gate_keeps_every_order_until_the_connection_is_new(make_service):
    service = make_service()
    boots = service._thaw._boot = Clock()
    service._thaw.turn()
    service.gate.open()
    assert "stood still" not in service._objection(place())
    boots.ms += 2_000
    assert service._objection(place()) == "the process stood still for 2000 ms", (
        "before the loop has turned once"
    )
    assert service.gate.closed == "the process stood still for 2000 ms"
    service._thaw.turn()
    assert service.gate.closed, "a turn alone makes no book fresh"
    service._on_reopened()
    assert service.gate.closed == ""
