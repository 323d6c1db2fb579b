"""The pod's keys: copied from the mounted Secret for both processes, and the watchdog's own signatures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from soloist_kalshi.errors import VenueError
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.rest import ReadPolicy, RestClient
from soloist_kalshi.signing import Signer

from soloist_trader.config import AccountBlock, VenueBlock
from soloist_trader.errors import FatalError, KeysError
from soloist_trader.shell.keyring import KeyRing
from soloist_trader.shell.keys import copy_keys
from soloist_trader.shell.logs import log
from soloist_trader.shell.retry import Retry

COPY_S: Final = 0.5
_ONE_READ: Final = ReadPolicy(attempts=1, request_ms=4_000, deadline_ms=5_000)


class Copier:
    """Keeps the key directory equal to the mounted Secret, whose `..data` link the kubelet moves in one step."""

    def __init__(self, source: Path, target: Path) -> None:
        self._source = source
        self._target = target
        self._seen: object = None
        self._said = ""

    def step(self) -> None:
        """Copy if something moved. Keys that cannot be used are said once; the ones that are there stay."""
        now = self._fingerprint()
        if now == self._seen:
            return
        try:
            copied = copy_keys(self._source, self._target)
        except KeysError as error:
            if str(error) != self._said:
                self._said = str(error)
                log("KeysUnusable", f"{error} The engine keeps the keys that it has.")
            return
        self._seen, self._said = now, ""
        log("KeysCopied", f"keys copied to {copied}")

    def _fingerprint(self) -> object:
        """Changes whenever the kubelet moves `..data`, or a plain file changes."""
        link = self._source / "..data"
        if link.is_symlink():
            return link.readlink()
        try:
            return tuple(sorted((entry.name, entry.stat().st_mtime_ns) for entry in self._source.iterdir()))
        except OSError as error:
            return str(error)

    async def run(self) -> None:
        """Follow the Secret until cancelled."""
        while True:
            self.step()
            await asyncio.sleep(COPY_S)


def verifier(venue: VenueBlock, account: AccountBlock) -> Callable[[Signer], Awaitable[None]]:
    """A signed read with one key, for the ring."""

    async def verify(signer: Signer) -> None:
        ca_file = str(venue.ca_file) if venue.ca_file else None
        async with RestClient(venue.rest_url, signer, ca_file=ca_file, policy=_ONE_READ) as client:
            await client.get_balance(subaccount=account.subaccount)

    return verify


class OwnKeys:
    """The watchdog's own key ring. It is of use once a signed read succeeded; until then `accepted` is unset."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self.accepted = asyncio.Event()
        self.rejected = False
        """The venue refused every key when it was asked last."""

    @property
    def source(self) -> SignerSource:
        """What clients sign with; only once keys were loaded."""
        return self._ring.source

    @property
    def key_id(self) -> str:
        """Id of the key that signs; empty while none is accepted."""
        return self._ring.key_id if self.accepted.is_set() else ""

    async def run(self) -> None:
        """Load, prove, and follow the directory until cancelled. Keys that cannot be used are said and waited for."""
        retry = Retry("WatchdogKeysUnusable")
        while not self.accepted.is_set():
            try:
                self._ring.load()
                await self._ring.prove()
                self.accepted.set()
            except (KeysError, FatalError) as error:
                await retry.pause(str(error))
        await self._ring.watch(self._switched)

    def _switched(self) -> None:
        """A signed read with a newer key succeeded, whatever became of the one before."""
        self.rejected = False
        self.accepted.set()

    async def refused(self) -> None:
        """The venue said 401 or 403: is there a key that works? While it cannot say, this waits."""
        try:
            works = await self._ring.doubt()
        except (VenueError, KeysError, FatalError) as error:
            log("WatchdogKeyInDoubt", str(error), level=logging.WARNING)
            return
        self.rejected = not works
        if works:
            self.accepted.set()
            return
        self.accepted.clear()
        why = "the venue refuses every key: its epoch is over, and the fence cancels what rests"
        log("WatchdogKeyRejected", why, level=logging.ERROR)
