"""Exchanges for conformance cards: real processes with TLS, ended when the test or the session ends."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from tests.conformance import markets
from tests.conformance.card import card_of
from tests.conformance.demo import DemoVenue
from tests.conformance.exchange_process import Account, ExchangeProcess
from tests.conformance.kit import Desk

VENUE = os.environ.get("SOLOIST_VENUE", "local")
_numbers = itertools.count(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let a report tell its card; at the demo, leave out everything that is not safe there."""
    left_out = []
    for item in items:
        found = card_of(getattr(item, "function", None))
        if found is not None:
            item.user_properties.append(("card", found.number))
        if VENUE == "demo" and (found is None or not found.demo):
            left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


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
    process = ExchangeProcess(directory, scenario=markets.write(directory / "cards.yaml"))
    yield process
    process.close()


@pytest.fixture(scope="session")
def virtual_exchange(tmp_path_factory) -> Iterator[ExchangeProcess]:
    directory = tmp_path_factory.mktemp("virtual-exchange")
    process = ExchangeProcess(directory, scenario=markets.write(directory / "cards.yaml"), clock="virtual")
    yield process
    process.close()


@pytest.fixture(scope="session")
def demo_venue() -> DemoVenue:
    return DemoVenue()


@pytest.fixture
def exchange(request) -> Iterator[ExchangeProcess | DemoVenue]:
    """An exchange with books that do not move by themselves, shared by the session; do not kill it.

    Its faults, switches and pauses end with the test. Books and accounts outlive it: create accounts with `account()` or with a name
    of your own. A card with clock="virtual" gets the exchange whose time it moves with `exchange.advance`.
    """
    if VENUE == "demo":
        yield request.getfixturevalue("demo_venue")
        return
    found = card_of(request.function)
    is_virtual = found is not None and found.clock == "virtual"
    process = request.getfixturevalue("virtual_exchange" if is_virtual else "shared_exchange")
    yield process
    process.reset()


@pytest.fixture
def new_ticker(exchange) -> Callable[..., str]:
    """Return `new_ticker(kind="card")`, which names a market of that kind that no other test has touched (see markets.py)."""
    if VENUE == "demo":
        return lambda *_: exchange.ticker()
    return markets.take


@pytest.fixture
def ticker(new_ticker) -> str:
    """A market of whole cents that no other test has touched."""
    return new_ticker()


@pytest.fixture
def account(exchange) -> Callable[..., Account]:
    """Return `account(balance="10000.00", key_type="ed25519", tier=None)`, which creates an account with a name nobody has."""
    if VENUE == "demo":
        return lambda *_, **__: exchange.account()

    def create(balance: str = "10000.00", *, tier: str | None = None, **options: object) -> Account:
        made = exchange.create_account(f"card-{next(_numbers)}", balance, **options)
        if tier is not None:
            exchange.tell(f"accounts/{made.name}/tier", {"tier": tier})
        return made

    return create


@pytest.fixture
async def desks(exchange, account, ticker) -> AsyncIterator[Callable[..., Awaitable[Desk]]]:
    """Return `await desks(balance="10000.00", ...)`: one more account at this test's market, with its clients."""
    seated: list[Desk] = []
    async with contextlib.AsyncExitStack() as stack:

        async def sit(*words: object, **options: object) -> Desk:
            seated.append(await stack.enter_async_context(Desk(exchange, account(*words, **options), ticker)))
            return seated[-1]

        yield sit
    if (
        VENUE == "local"
    ):  # the demo may be newer than our structs; our own exchange says nothing that is not in the contract
        unknown = [dict(one.unknown_fields.counts) for desk in seated for one in (desk.orders, desk.reads)]
        assert [fields for fields in unknown if fields] == []


@pytest.fixture
async def desk(desks) -> Desk:
    """An account at a market, with its order client and its reads."""
    return await desks()
