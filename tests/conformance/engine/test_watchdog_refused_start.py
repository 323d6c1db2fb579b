"""Card W14: an engine that died and cannot start again, because its journal is damaged; the venue's log judges."""

import pytest
from soloist_trader.journal.frames import SEGMENT_HEADER_LENGTH

from tests.conformance.engine.test_watchdog import accepted_after, make_watched
from tests.conformance.engine.watchdog_processes import RESTING

assert make_watched  # a fixture
pytestmark = pytest.mark.timeout(120)  # a hang, not a budget: the card runs several processes
EXIT_CONFIGURATION = 2


def spoil_the_first_batch(state):
    """Flip a bit of it; the batches after it are whole, so this is no torn end."""
    (segment,) = state.glob("journal-*.log")
    content = bytearray(segment.read_bytes())
    content[SEGMENT_HEADER_LENGTH + 40] ^= 1
    segment.write_bytes(content)


def test_w14_an_engine_whose_damaged_journal_refuses_every_start_leaves_nothing_resting(make_watched):
    bot = make_watched(**RESTING)
    bot.start_watchdog()
    bot.start_and_wait()
    bot.wait_resting()
    bot.kill()
    spoil_the_first_batch(bot.state)
    bot.start()  # as the kubelet does
    assert bot.wait_exit() == EXIT_CONFIGURATION
    assert "is damaged at byte" in bot.log_file.read_text()
    latch = bot.wait_proven()
    assert bot.own_resting() == set()
    assert all(bot.venue_groups().values())
    for _ in range(2):  # and again: the word of the watchdog changes nothing about the journal
        bot.start()
        assert bot.wait_exit() == EXIT_CONFIGURATION
    assert accepted_after(bot, latch.latched_ms) == []
    bot.watchdog_when(lambda shown: shown["verdict"] == "Handled")
