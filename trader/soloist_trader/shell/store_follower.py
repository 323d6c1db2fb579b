"""The store beside the engine: `soloist-trader store follow` as a process of its own, begun again when it ends.

It reads the journal's files and nothing else of the engine. Trading never waits for it and never hears of it: what goes
wrong with it is a log line, a metric and a line in `/status`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections import deque
from pathlib import Path
from typing import Final

from soloist_trader.config import StoreBlock
from soloist_trader.shell.clock import monotonic_ms
from soloist_trader.shell.logs import log

URL_VARIABLE: Final = "SOLOIST_STORE_URL"
FIRST_WAIT_MS: Final = 1_000
LONGEST_WAIT_MS: Final = 60_000
STEADY_AFTER_MS: Final = 60_000
"""A process that lived so long begins anew without a wait that grows."""
LEAST_FREE_BYTES: Final = 256 << 20
"""With less on the journal's volume the store is ended: the journal needs what is left."""
LOOK_S: Final = 2.0
END_WITHIN_S: Final = 5.0
_SAID_LINES: Final = 5
_READ_BYTES: Final = 4_096
_SHOWN_CHARACTERS: Final = 200


class StoreFollower:
    """Keeps one follower alive until it is cancelled, then ends it by its id."""

    def __init__(
        self, block: StoreBlock, state_directory: Path, *, least_free_bytes: int = LEAST_FREE_BYTES
    ) -> None:
        self._directory = state_directory
        self._url = block.url
        self._poll_s = block.poll_seconds
        self._least_free_bytes = least_free_bytes
        self._process: asyncio.subprocess.Process | None = None
        self._wait_ms = FIRST_WAIT_MS
        self.failures = 0
        self.progress = ""
        """What it said last of its progress."""
        self.problem = ""
        """Why it ended last, empty while it runs."""

    @property
    def process_id(self) -> int:
        """Of the process that runs, 0 if none does."""
        return self._process.pid if self._process is not None else 0

    def shown(self) -> dict[str, object]:
        """For `/status`."""
        return {
            "running": self._process is not None,
            "processId": self.process_id,
            "progress": self.progress,
            "problem": self.problem,
            "failures": self.failures,
        }

    async def run(self) -> None:
        """Begin it, and begin it again, until cancelled."""
        while True:
            began_ms = monotonic_ms()
            try:
                why = await self._one_life()
            except OSError as error:
                why = f"it cannot be started: {error}"
            if monotonic_ms() - began_ms >= STEADY_AFTER_MS:
                self._wait_ms = FIRST_WAIT_MS
            self.failures += 1
            self.problem = why
            log("StoreFollowerEnded", f"{why}; begun again in {self._wait_ms} ms", level=logging.WARNING)
            await asyncio.sleep(self._wait_ms / 1000)
            self._wait_ms = min(self._wait_ms * 2, LONGEST_WAIT_MS)

    async def _one_life(self) -> str:
        """Why it ended. Raises OSError if it cannot be started."""
        if self._is_full():
            return self._why_full()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "soloist_trader.cli.main", "store", "follow", "--state-dir", str(self._directory),
            "--poll-seconds", str(self._poll_s), "--beside-engine",
            stdin=asyncio.subprocess.PIPE,  # its end is how an orphan learns that the engine is gone
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | ({URL_VARIABLE: self._url} if self._url and URL_VARIABLE not in os.environ else {}),
            start_new_session=True,  # a Ctrl-C at the terminal is the engine's to handle
        )  # fmt: skip
        self._process, self.problem = process, ""
        said: deque[str] = deque(maxlen=_SAID_LINES)
        reading = asyncio.create_task(self._read(process, said), name="store follower's words")
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        code = await process.wait()
                        await reading
                        return f"exit code {code}: {' '.join(said) or 'it said nothing'}"
                if self._is_full():
                    return self._why_full()
        finally:
            await self._end(process)
            reading.cancel()
            self._process = None

    async def _read(self, process: asyncio.subprocess.Process, said: deque[str]) -> None:
        assert process.stderr is not None
        while data := await process.stderr.read(_READ_BYTES):
            for line in data.decode("utf-8", "replace").splitlines():
                said.append(line)
                self.progress = line[:_SHOWN_CHARACTERS]

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            try:
                async with asyncio.timeout(END_WITHIN_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    def _free_bytes(self) -> int:
        shown = os.statvfs(self._directory)
        return shown.f_bavail * shown.f_frsize

    def _is_full(self) -> bool:
        return self._free_bytes() < self._least_free_bytes

    def _why_full(self) -> str:
        return (
            f"{self._free_bytes() >> 20} MiB are free on the volume of {self._directory}, and the journal needs "
            f"{self._least_free_bytes >> 20}; make room or a larger volume"
        )
