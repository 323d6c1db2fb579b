"""Card E30: the real engine against the real exchange, recorded; the tape replays to the same decisions.

The engine reads the wall clock, so this is a run of seconds, not the exchange's virtual hour.
"""

import asyncio
import time

from soloist_trader import config
from soloist_trader.core.ledger import Ledger
from soloist_trader.journal.reader import Tail, read_journal
from soloist_trader.modes.replay import Replay, compare_with_journal
from soloist_trader.shell.service import Options, Service
from soloist_trader.strategies.threshold import Threshold
from soloist_trader.tape import FileSink, Tape, TapeReader

ORDERS = 30


class TapedService(Service):
    """The service with a tape beside its engine, from the first event after `Began` on."""

    def _assemble(self):
        super()._assemble()
        sink = FileSink(self.options.state_directory / "tape", time.time_ns() // 1_000_000, file_bytes=4_000)
        self.runtime.tape = Tape(self.engine, sink)


async def _record(bot):
    options = Options(config.load(bot.config), bot.keys, bot.state, "127.0.0.1:0", None, "")
    service = TapedService(options)
    running = asyncio.create_task(service.run())
    async with asyncio.timeout(25):
        while service.ledger.sequence < ORDERS:
            assert not running.done(), running.exception()
            await asyncio.sleep(0.05)
    service._stop.set()
    assert await asyncio.wait_for(running, 20) == 0
    service.runtime.tape.close()
    return service


def test_e30_a_recorded_run_replays_to_the_same_decisions_and_the_journal_agrees(make_bot):
    bot = make_bot()
    service = asyncio.run(_record(bot))
    tape = bot.state / "tape"
    result = Replay().run(TapeReader(tape))
    assert result.identical, result.first
    assert result.events == result.compared == service.runtime.tape.event_seq
    assert result.decisions > 100
    assert result.anchors > 1, "files were begun within the run"
    journal = [record for _, _, records in read_journal(bot.state, Tail()) for record in records]
    comparison = compare_with_journal(result.records, journal)
    assert comparison.difference == ""
    assert comparison.compared > 100
    ledger = Ledger()
    for record in journal:
        ledger.apply(record)
    assert ledger.state_hash() == service.ledger.state_hash()

    other = Replay(lambda facts: Threshold.from_mapping({**facts["parameters"], "order_contracts": "2.00"}))
    found = other.run(TapeReader(tape))
    assert found.first is not None
    assert "Intended" in found.first.recorded
