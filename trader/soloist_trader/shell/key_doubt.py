"""What an engine does when the venue refuses its key: nothing is sent until it is known whether any key works."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from soloist_trader.errors import FatalError
from soloist_trader.shell.gate import SendGate
from soloist_trader.shell.keyring import KeyRing
from soloist_trader.shell.logs import log

Spawn = Callable[[Coroutine[Any, Any, None], str], None]


class KeyDoubt:
    """Holds the gate while the keys are checked; if none works, the check ends with FatalError in its task."""

    def __init__(self, keys: KeyRing, gate: SendGate, spawn: Spawn, switched: Callable[[], None]) -> None:
        self._keys = keys
        self._gate = gate
        self._spawn = spawn
        self._switched = switched
        self._is_checking = False

    def refused(self, why: str) -> None:
        """The venue answered 401 or 403."""
        if self._is_checking:
            return
        self._is_checking = True
        self._gate.hold("key", f"key in doubt: {why}")
        self._spawn(self._check(why), "key check")

    async def _check(self, why: str) -> None:
        before = self._keys.key_id
        if not await self._keys.doubt():
            raise FatalError("KeyRejected", f"the venue refuses every key: {why}")
        if self._keys.key_id != before:
            log(
                "KeySwitched",
                f"now signing with {self._keys.key_id}",
                generation=self._keys.source.generation,
            )
            self._switched()
        self._is_checking = False
        self._gate.release("key")
