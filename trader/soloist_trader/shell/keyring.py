"""Which key signs: the highest generation with which a signed read succeeded; changed in flight by a rotation."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from soloist_kalshi.errors import VenueError, VenueForbidden, VenueUnauthorized
from soloist_kalshi.keys import KeySlot, SignerSource
from soloist_kalshi.signing import Signer

from soloist_trader.errors import FatalError, KeysError
from soloist_trader.shell.clock import now_ms
from soloist_trader.shell.keys import load_slots, resolve
from soloist_trader.shell.logs import log
from soloist_trader.shell.retry import Retry

POLL_S: Final = 0.2
_EXPIRED: Final = "header_timestamp_expired"
_RETRY_S: Final = 0.5

Verify = Callable[[Signer], Awaitable[None]]
"""A signed read with one key; raises VenueError."""


def _fingerprint(files: Path) -> object:
    try:
        return files, files.stat().st_mtime_ns
    except OSError:
        return files, 0


class KeyRing:
    """The keys of one engine. `source` is what every client signs with."""

    def __init__(self, directory: Path, epoch: int, verify: Verify) -> None:
        self.directory = directory
        self.source: SignerSource
        self.switches = 0
        self._epoch = epoch
        self._verify = verify
        self._seen: object = None
        self._checking: asyncio.Task[bool] | None = None

    @property
    def key_id(self) -> str:
        """Id of the key that signs."""
        return self.source.current.key_id

    @property
    def is_managed(self) -> bool:
        """True if the fence made the keys: it can take them away, so a lost Lease need not halt."""
        return (resolve(self.directory) / "epoch").exists()

    @property
    def came_ms(self) -> int:
        """When the keys came to this pod, Unix milliseconds: no earlier than the fence."""
        try:
            return resolve(self.directory).stat().st_mtime_ns // 1_000_000
        except OSError:
            return now_ms()

    def load(self) -> list[KeySlot]:
        """Read the directory, without asking the venue. Raises KeysError, and FatalError for a key of another epoch."""
        files = resolve(
            self.directory
        )  # once: a swap during this reading is another set, which `watch` then finds
        seen = _fingerprint(files)
        slots = load_slots(files)
        epoch_file = files / "epoch"
        if epoch_file.exists():
            epoch = epoch_file.read_text(encoding="utf-8").strip()
            if epoch != str(self._epoch):
                raise FatalError(
                    "EpochMismatch", f"the key is of epoch {epoch}, the configuration of {self._epoch}"
                )
        self._seen = seen
        newest = slots[-1]
        if not hasattr(self, "source"):
            self.source = SignerSource(newest.signer, newest.generation)
            self.source.load(slots)
        return slots

    async def prove(self) -> None:
        """Choose the key at start: newest first. Waits while the venue cannot be reached.

        Raises FatalError when the venue refuses every key.
        """
        retry = Retry("VenueUnreachable")
        while True:
            try:
                if await self._choose():
                    return
            except VenueError as error:
                await retry.pause(f"key not proven yet: {error}")
                continue
            raise FatalError("KeyRejected", f"the venue refuses every key in {self.directory}")

    async def _choose(self) -> bool:
        """Sign with the newest key that works. False if all are refused; VenueError if the venue could not say."""
        for slot in reversed(self.source.slots):
            try:
                await self._verify(slot.signer)
            except (VenueUnauthorized, VenueForbidden) as error:
                if error.code == _EXPIRED:
                    raise
                log("KeyRefused", f"generation {slot.generation}: {error}", level=logging.WARNING)
                continue
            if slot.generation != self.source.generation or slot.signer is not self.source.current:
                self.source.promote(slot.generation)
                self.switches += 1
            return True
        return False

    async def doubt(self) -> bool:
        """The venue said 401 or 403: is there a key that works? One check at a time, shared by all who ask."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._recheck())
        return await asyncio.shield(self._checking)

    async def _recheck(self) -> bool:
        with contextlib.suppress(KeysError):
            self.source.load(self.load())
        retry = Retry("VenueUnreachable")
        while True:
            try:
                return await self._choose()
            except VenueError as error:
                await retry.pause(f"key in doubt, venue silent: {error}")

    async def watch(self, switched: Callable[[], None]) -> None:
        """Follow the directory: load when `current` moves, switch after a signed read with the newer key."""
        while True:
            await asyncio.sleep(POLL_S)
            if _fingerprint(resolve(self.directory)) == self._seen:
                continue
            try:
                self.source.load(self.load())
                before = self.key_id
                if await self._choose() and self.key_id != before:
                    log("KeySwitched", f"now signing with {self.key_id}", generation=self.source.generation)
                    switched()
            except (KeysError, VenueError) as error:
                self._seen = None  # looked at again: the next poll may find it complete, or the venue back
                log("KeysUnusable", str(error), level=logging.WARNING)
                await asyncio.sleep(_RETRY_S)
