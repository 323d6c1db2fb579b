"""Parts of one engine made from its configuration."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Final

from soloist_kalshi.rest import ReadPolicy, RestClient
from soloist_kalshi.signing import Signer

from soloist_trader.config import Configuration
from soloist_trader.core.desk import Identity
from soloist_trader.core.engine import Engine, Settings
from soloist_trader.core.identifiers import CLAIM_HASH_LENGTH, base36
from soloist_trader.errors import StateError
from soloist_trader.shell.live import LiveEdge
from soloist_trader.shell.venue import Edge
from soloist_trader.tape import FileSink, Tape, TapeError

_ONE_READ: Final = ReadPolicy(attempts=1, request_ms=4_000, deadline_ms=5_000)


def make_identity(configuration: Configuration) -> Identity:
    """Who trades, from this start on: part of every client order id. A bot without an account has a claim of its own name."""
    account, incarnation = configuration.account, secrets.randbits(64)
    if account is not None:
        return Identity(
            account.claim_hash, account.subaccount, account.epoch, incarnation, configuration.mode
        )
    bot = configuration.bot
    digest = hashlib.sha256(f"paper|{bot.namespace}|{bot.name}".encode()).digest()
    claim_hash = base36(int.from_bytes(digest, "big"))[-CLAIM_HASH_LENGTH:]
    return Identity(claim_hash, 0, 0, incarnation, configuration.mode)


async def verify_key(configuration: Configuration, subaccount: int, signer: Signer) -> None:
    """A signed read with one key. Raises VenueError."""
    venue = configuration.venue
    ca_file = str(venue.ca_file) if venue.ca_file else None
    async with RestClient(venue.rest_url, signer, ca_file=ca_file, policy=_ONE_READ) as client:
        await client.get_balance(subaccount=subaccount)


def settings(configuration: Configuration) -> Settings:
    """What the edge of this mode can do, and what the account allows."""
    live = configuration.mode == "Live"
    return Settings(
        amends=live,
        groups=live,
        rate_share_percent=configuration.trading.rate_share_percent,
        cash_limit=configuration.trading.unexplained_cash_dollars,
    )


def make_tape(
    configuration: Configuration, engine: Engine, edge: Edge, state_directory: Path, started_ms: int
) -> Tape | None:
    """The tape of this start, before anything enters the core; None where nothing is recorded.

    Raw frames are on it where the edge has any: the Live edge. Raises StateError if its directory cannot be made.
    """
    if not configuration.recording.tape:
        return None
    try:
        sink = FileSink(
            state_directory / "tape",
            started_ms,
            maximum_bytes=configuration.recording.tape_megabytes << 20,
        )
    except TapeError as error:
        raise StateError(str(error)) from error
    if not isinstance(edge, LiveEdge):
        return Tape(engine, sink)  # Paper and Shadow poll: their books come whole, not by frames
    edge.tape = Tape(engine, sink, edge.port)
    return edge.tape
