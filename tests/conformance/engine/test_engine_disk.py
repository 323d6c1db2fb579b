"""Card E50: the disk under a running engine begins to fail, for real; the exchange's log judges."""

import resource
import subprocess
from pathlib import Path

import pytest

from tests.conformance.engine.engine_processes import PATIENCE_S, Bot
from tests.conformance.engine.watchdog_processes import RESTING
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)  # a hang, not a budget: the card runs several processes
LOOKS = 20
EXIT_UNPROVEN = 4


class PipedBot(Bot):
    """Its log goes through a pipe: the limit on files is then on nothing but its state."""

    def log_sink(self):
        with self.log_file.open("wb") as log:
            writer = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log)
        self.writers = [*getattr(self, "writers", []), writer]
        return writer.stdin

    def close(self):
        super().close()
        for writer in self.writers:
            writer.wait(timeout=10)

    def fill_the_disk(self):
        """From here on every write to a file fails with EFBIG, in the engine and in the process that commits for it."""
        for process_id in family(self.process.pid):
            resource.prlimit(process_id, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def family(process_id):
    """A process and its children."""
    found = [process_id]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        if parent == process_id:
            found.append(int(stat.parent.name))
    return found


@pytest.fixture
def make_piped(engine_exchange, tmp_path):
    bots = []

    def make(**parameters):
        account = engine_exchange.account("failing-disk")
        bots.append(PipedBot(tmp_path, engine_exchange, account, **parameters))
        return bots[-1]

    yield make
    for bot in bots:
        bot.close()


def own_resting(bot):
    """Client order ids that rest, by the exchange's log."""
    events = bot.exchange.events(bot.account.name)
    closed = {event["client_order_id"] for event in events if event["kind"] == "closed"}
    return {event["client_order_id"] for event in events if event["kind"] == "accepted"} - closed


def test_e50_a_disk_that_fails_under_resting_orders_ends_them_and_no_order_follows(make_piped):
    bot = make_piped(**RESTING)
    bot.start_and_wait()
    eventually(lambda: len(own_resting(bot)) >= 3, PATIENCE_S, bot.log_file.read_text)
    assert bot.status()["state"] == "ACTIVE"
    bot.fill_the_disk()
    status = bot.status_when(lambda status: status["state"] == "HALTED")
    assert status["reason"] == "Halted"
    assert "File too large" in status["message"], "the disk's own words"
    assert str(bot.state) in status["journal"]["failed"]
    bot.status_when(lambda status: not status["unsettledOrders"])
    assert own_resting(bot) == set()
    ended = len(bot.exchange.accepted(bot.account.name))
    seen = set()
    eventually(
        lambda: seen.add(bot.status()["publishedAt"]) or len(seen) > LOOKS, PATIENCE_S, "it publishes no more"
    )
    assert len(bot.exchange.accepted(bot.account.name)) == ended
    assert bot.process.poll() is None, "it lives on: somebody has to cancel and to answer"
    assert bot.terminate() == EXIT_UNPROVEN, "what it did last is in no journal"
    accepted = {order["client_order_id"] for order in bot.exchange.accepted(bot.account.name)}
    assert accepted <= bot.ledger()[1].keys(), "sent, and not in the journal"
    bot.start_and_wait()  # on a disk that writes again
    assert bot.status()["state"] == "ACTIVE"
    assert bot.terminate() == 0
    assert bot.judge() == []
