"""Both databases, and journals of real engine code for them to read."""

from __future__ import annotations

import contextlib
import random

import pytest
from soloist_trader.store import open_database

from tests.conformance.store.postgres_server import PostgresServer
from tests.conformance.store.store_world import Trader, live


@pytest.fixture(scope="session")
def postgres():
    """The server; a session without it fails here, with the reason in one sentence."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """A store that nobody has used, in each database."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path / 'store.sqlite'}"
    return request.getfixturevalue("postgres").new_database()


@pytest.fixture
def database(url, tmp_path):
    with contextlib.closing(open_database(tmp_path, url)) as opened:
        yield opened


@pytest.fixture
def trader(tmp_path):
    directory = tmp_path / "state"
    made = Trader(directory)
    yield made
    made.close()


@pytest.fixture(scope="session")
def long_life(tmp_path_factory):
    """The state directory of an engine that lived through everything, in several segments."""
    directory = tmp_path_factory.mktemp("long-life")
    made = Trader(directory, segment_bytes=64 * 1024)
    live(made, random.Random(5), 400)
    made.close()
    return directory
