"""Is the state directory a place where a journal can live? A memory volume or the container's own layer forgets it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from soloist_trader.errors import StateError

MOUNTS: Final = Path("/proc/self/mountinfo")
_FORGETFUL: Final = frozenset({"tmpfs", "ramfs"})


class Mount(NamedTuple):
    """Where a file system is mounted, and which kind it is."""

    point: Path
    kind: str


def read_mounts(text: str) -> list[Mount]:
    """The mounts of /proc/self/mountinfo, in its sequence; a later one covers an earlier one at the same point."""
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if len(fields) > 4 and kinds[0]:  # noqa: PLR2004 the fifth field is the mount point
            point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
            mounts.append(Mount(Path(point), kinds[0]))
    return mounts


def mount_of(directory: Path, mounts: list[Mount]) -> Mount:
    """The mount that holds a directory. Raises ValueError when there is none, not even of the root."""
    found = None
    for mount in mounts:
        if directory.is_relative_to(mount.point) and (
            found is None or len(mount.point.parts) >= len(found.point.parts)
        ):
            found = mount
    if found is None:
        raise ValueError(f"no mount holds {directory}")
    return found


def judge(directory: Path, mounts: list[Mount]) -> str:
    """What is wrong with a state directory, empty if nothing."""
    mount = mount_of(directory, mounts)
    if mount.kind in _FORGETFUL:
        return f"{directory} is on {mount.kind} (mounted at {mount.point}): it is gone with the pod"
    if mount.point == Path("/"):
        return f"{directory} is no mounted volume but part of the container's root: it is gone with the container"
    return ""


def require_lasting(directory: Path) -> None:
    """Refuse a state directory that does not outlive the pod. Raises StateError with the way out."""
    try:
        problem = judge(directory.resolve(), read_mounts(MOUNTS.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        problem = f"it cannot be told whether {directory} lasts: {error}"
    if problem:
        raise StateError(
            f"state directory: {problem}. Mount a persistent volume there, or run with --any-state-dir to trade without a "
            f"journal that lasts (every restart is then a recovery from the venue)."
        )
