"""Exchanges for conformance cards: real processes with TLS, ended when the test or the session ends."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator

import pytest

from tests.conformance.exchange_process import Account, ExchangeProcess

MARKETS = 120
_numbers = itertools.count(1)
_markets = itertools.count()


@pytest.fixture
def start_exchange(tmp_path) -> Iterator[Callable[..., ExchangeProcess]]:
    """Return `start_exchange(scenario="static", seed=7, tls=True)`; each call starts one more, with a state of its own."""
    started: list[ExchangeProcess] = []

    def start(**options: object) -> ExchangeProcess:
        started.append(ExchangeProcess(tmp_path / f"exchange-{len(started)}", **options))
        return started[-1]

    yield start
    for exchange in started:
        exchange.close()


@pytest.fixture(scope="session")
def shared_exchange(tmp_path_factory) -> Iterator[ExchangeProcess]:
    directory = tmp_path_factory.mktemp("exchange")
    scenario = directory / "cards.yaml"
    scenario.write_text(json.dumps({"name": "cards", "markets": [still_market(n) for n in range(MARKETS)]}))
    process = ExchangeProcess(directory, scenario=str(scenario))
    yield process
    process.close()


def still_market(number: int) -> dict[str, object]:
    """A market that never moves by itself: five levels of 500 to 1500 contracts on each side, best bid 0.49 and best ask 0.51."""
    return {
        "ticker": f"CARD-{number}",
        "step_ms": 0,
        "levels": 5,
        "level_contracts": 1000,
        "spread_ticks": 2,
    }


@pytest.fixture
def ticker(exchange) -> str:
    """A market that no other test has touched."""
    number = next(_markets)
    assert number < MARKETS, "raise MARKETS: every test takes a market of its own"
    return f"CARD-{number}"


@pytest.fixture
def exchange(shared_exchange) -> Iterator[ExchangeProcess]:
    """An exchange with books that do not move by themselves, shared by the session; do not kill it. Its faults end with the test.

    Books and accounts outlive a test: create accounts with `account()` or with a name of your own.
    """
    yield shared_exchange
    shared_exchange.faults()


@pytest.fixture
def account(exchange) -> Callable[..., Account]:
    """Return `account(balance="10000.00", key_type="ed25519")`, which creates one more account with a name nobody has."""

    def create(balance: str = "10000.00", **options: object) -> Account:
        return exchange.create_account(f"card-{next(_numbers)}", balance, **options)

    return create
