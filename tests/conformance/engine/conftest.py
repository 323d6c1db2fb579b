from __future__ import annotations

import itertools

import pytest

from tests.conformance.engine.engine_processes import Bot, serving

NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def engine_exchange(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("engine-exchange")) as exchange:
        yield exchange


@pytest.fixture
def make_bot(engine_exchange, tmp_path):
    """Bots with an account of their own each; whatever still runs at the end is killed."""
    bots = []

    def make(**parameters):
        account = engine_exchange.account(f"engine-{next(NUMBERS)}")
        directory = tmp_path / account.name
        directory.mkdir()
        bots.append(Bot(directory, engine_exchange, account, **parameters))
        return bots[-1]

    yield make
    engine_exchange.faults()
    for bot in bots:
        bot.close()
