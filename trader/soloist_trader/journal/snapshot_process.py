"""The snapshot process: `python -m soloist_trader.journal.snapshot_process DIRECTORY SEGMENT`, started by the engine.

It reads sealed segments only, so nothing that the engine writes at the same time concerns it, and it has a low
priority. It prints one line of JSON; a failure is on stderr, exit code 1, and harms nobody: the next one tries anew.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Final

from soloist_trader.errors import StateError
from soloist_trader.journal.disk import Disk
from soloist_trader.journal.snapshots import SnapshotError, take_snapshot

_NICENESS: Final = 10
_NANOSECONDS_PER_MS: Final = 1_000_000


def main(arguments: list[str]) -> int:
    """Entry point of the process."""
    directory, until = Path(arguments[0]), int(arguments[1])
    os.nice(_NICENESS)
    try:
        taken_ms = time.time_ns() // _NANOSECONDS_PER_MS  # noqa: TID251 a process of its own, beside the engine
        taken = take_snapshot(directory, Disk(), taken_ms=taken_ms, until=until)
    except (StateError, SnapshotError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(taken._asdict()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
