"""Measuring D_rev: how long a venue accepts a key after it has confirmed its deletion.

The sample of one way is the time from the confirmation to the first refusal that no acceptance followed: never less than
the truth, and more by at most one pause between two tries.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import ssl
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from soloist_kalshi.signing import Signer

from soloist_fence.api import Reason, nonce_from
from soloist_fence.commands import IssuedKey
from soloist_fence.errors import FenceError, NoAnswerError
from soloist_fence.inputs import Configuration, read_configuration, read_management_key
from soloist_fence.venue import Venue

KEY_NAME_PREFIX = "soloist-measure/"
SCOPES = ("read",)
KEY_TYPE = "ed25519"
PAUSE_MS = 200
"""Three ways at once make 15 reads a second: below the smallest account's 20."""
REFUSALS = 5
"""So many in a row, because a venue of many machines may refuse here and still accept there."""
PATIENCE_MS = 120_000

REST_FRESH = "rest, new connection"
REST_KEPT = "rest, open connection"
WEBSOCKET = "websocket handshake"

_SWITCHING_PROTOCOLS = 101
_UNAUTHORIZED = 401
_HANDSHAKE_TIMEOUT_S = 10.0

Probe = Callable[[], Awaitable[bool]]


@dataclass(frozen=True)
class MeasureArguments:
    """The command line of measure-revocation; what is None comes from the configuration."""

    samples: int
    rest_url: str | None
    websocket_url: str | None
    ca_file: str | None
    config: str
    management_key_dir: str

    def account(self) -> Configuration:
        """Where the venue is. Raises FenceError when neither options nor configuration say so."""
        if self.rest_url is None:
            found = read_configuration(Path(self.config))
        else:
            venue = {"rest_url": self.rest_url}
            found = Configuration.model_validate({"venue": venue, "account": {"subaccount": 0}})
        given = {"websocket_url": self.websocket_url, "ca_file": self.ca_file}
        venue_of = found.venue.model_copy(
            update={name: value for name, value in given.items() if value is not None}
        )
        return found.model_copy(update={"venue": venue_of})


@dataclass
class Measured:
    """Samples in milliseconds by the way in which the key was tried. `complete`: every key was refused in the end."""

    samples_ms: dict[str, list[int]] = field(default_factory=dict)
    complete: bool = True

    def rows(self) -> list[tuple[str, int, int, int]]:
        """Way, n, median and maximum in milliseconds."""
        return [
            (way, len(values), round(statistics.median(values)), max(values))
            for way, values in self.samples_ms.items()
            if values
        ]

    def to_text(self) -> str:
        """Tab-separated, with a heading."""
        lines = [("way", "n", "median_ms", "maximum_ms"), *((str(c) for c in row) for row in self.rows())]
        return "\n".join("\t".join(line) for line in lines)

    def to_json(self) -> str:
        """One document, version 1."""
        ways = [
            {"way": way, "n": n, "medianMs": median, "maximumMs": maximum, "samplesMs": self.samples_ms[way]}
            for way, n, median, maximum in self.rows()
        ]
        return json.dumps({"version": 1, "complete": self.complete, "ways": ways})


async def measure(arguments: MeasureArguments, say: Callable[[str], None]) -> Measured:
    """Run it, telling progress to `say`. Deletes every key that it made, however it ends. Raises FenceError."""
    configuration = arguments.account()
    management_key = read_management_key(Path(arguments.management_key_dir))
    venue_of = configuration.venue
    measured = Measured()
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, running.cancel
    )  # as Ctrl-C: tidy up, then end
    name = f"{KEY_NAME_PREFIX}{nonce_from(os.urandom(8))}"
    async with Venue(
        venue_of.rest_url, venue_of.ca_file, management_key, configuration.account.subaccount
    ) as venue:
        try:
            for number in range(1, arguments.samples + 1):
                sample = await _sample(venue, configuration, name, measured)
                said = ", ".join(
                    f"{way} {'never' if value is None else f'{value} ms'}" for way, value in sample.items()
                )
                say(f"key {number} of {arguments.samples}: refused after: {said}")
        finally:
            await _delete_own(venue, name)
    return measured


async def _sample(
    venue: Venue, configuration: Configuration, name: str, measured: Measured
) -> dict[str, int | None]:
    key = await venue.generate_key(name, SCOPES, None, KEY_TYPE)
    async with AsyncExitStack() as stack:
        probes: dict[str, Probe] = {
            REST_FRESH: lambda: venue.accepts(key),
            REST_KEPT: await stack.enter_async_context(venue.kept(key)),
        }
        url = configuration.venue.websocket_url
        if url is not None:
            probes[WEBSOCKET] = _handshakes(key, url, configuration.venue.ca_file)
        for way, probe in probes.items():
            if not await probe():
                raise FenceError(
                    Reason.NOT_CONFIRMED, f"the venue does not accept the new key {key.key_id} ({way})"
                )
        await venue.delete_key(key.key_id)
        confirmed_ms = _now_ms()
        refused = await asyncio.gather(*(until_refused(probe, confirmed_ms) for probe in probes.values()))
    sample = dict(zip(probes, refused, strict=True))
    for way, value in sample.items():
        if value is None:
            measured.complete = False
        else:
            measured.samples_ms.setdefault(way, []).append(value)
    return sample


async def until_refused(
    probe: Probe,
    confirmed_ms: int,
    *,
    now_ms: Callable[[], int] | None = None,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> int | None:
    """Milliseconds from `confirmed_ms` to the first of REFUSALS refusals in a row; None when PATIENCE_MS is not enough.

    A try without an answer says nothing: it is neither.
    """
    clock = now_ms or _now_ms
    first_ms: int | None = None
    refusals = 0
    while clock() - confirmed_ms < PATIENCE_MS:
        try:
            accepted = await probe()
        except NoAnswerError:
            await pause(PAUSE_MS / 1000)
            continue
        if accepted:
            first_ms, refusals = None, 0
        else:
            first_ms = clock() if first_ms is None else first_ms
            refusals += 1
            if refusals == REFUSALS:
                return first_ms - confirmed_ms
        await pause(PAUSE_MS / 1000)
    return None


def _handshakes(key: IssuedKey, url: str, ca_file: str | None) -> Probe:
    """A probe that opens a WebSocket and drops it: 101 is a yes, 401 a no."""
    signer = Signer.from_pem(key.key_id, key.private_key_pem.encode())
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    target = f"{scheme}://{parts.netloc}{parts.path}"
    context = ssl.create_default_context(cafile=ca_file) if scheme == "https" else False

    async def probe() -> bool:
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            **signer.headers("GET", parts.path, time.time_ns() // 1_000_000),
        }
        try:
            async with (
                httpx.AsyncClient(verify=context, timeout=_HANDSHAKE_TIMEOUT_S, trust_env=False) as client,
                client.stream("GET", target, headers=headers) as reply,
            ):
                status = reply.status_code
        except httpx.HTTPError as error:
            raise NoAnswerError(Reason.VENUE_UNREACHABLE, f"WebSocket handshake: {error}") from error
        if status not in {_SWITCHING_PROTOCOLS, _UNAUTHORIZED}:
            raise NoAnswerError(Reason.VENUE_UNREACHABLE, f"WebSocket handshake: status {status}")
        return status == _SWITCHING_PROTOCOLS

    return probe


async def _delete_own(venue: Venue, name: str) -> None:
    """Delete whatever carries this run's name; most are gone already."""
    for key in await venue.list_keys():
        if key.name == name:
            await venue.delete_key(key.key_id)


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
