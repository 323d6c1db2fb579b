"""Whether a directory can hold a journal of real orders: it must outlive the container and the machine's memory."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from soloist_trader.errors import StateError

MOUNTS: Final = Path("/proc/self/mountinfo")
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_OF_A_CONTAINER: Final = frozenset({"overlay", "aufs", "fuse-overlayfs"})
_MOUNT_POINT: Final = 4
_AFTER_SEPARATOR: Final = 1
_ESCAPES: Final = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}


class Mount(NamedTuple):
    """One line of mountinfo, as far as it matters here."""

    point: Path
    file_system: str


def parse_mounts(text: str) -> list[Mount]:
    """The mounts of a mountinfo file, see proc_pid_mountinfo(5)."""
    mounts = []
    for line in text.splitlines():
        fields, separator, rest = line.partition(" - ")
        if separator:
            mounts.append(Mount(Path(_unescape(fields.split()[_MOUNT_POINT])), rest.split()[0]))
    return mounts


def _unescape(text: str) -> str:
    for escape, character in _ESCAPES.items():
        text = text.replace(escape, character)
    return text


def judge_directory(directory: Path, mounts: list[Mount]) -> str:
    """Why orders must not depend on this directory; empty if they may. `directory` is absolute and resolved."""
    holding = [mount for mount in mounts if directory.is_relative_to(mount.point)]
    if not holding:
        return ""  # no list of mounts: nothing is known against it
    # Of several mounts on one point the last one is seen; a longer point hides a shorter one.
    mount = max(enumerate(holding), key=lambda pair: (len(pair[1].point.parts), pair[0]))[1]
    if mount.file_system in _IN_MEMORY:
        return (
            f"it is on {mount.file_system} at {mount.point}: it is gone with the pod or the machine's power"
        )
    if mount.file_system in _OF_A_CONTAINER:
        return f"it is in the container's own layer ({mount.file_system}): it is gone with the container"
    if mount.point == Path("/"):
        return "it is on no volume of its own: in a container it would be gone with the container"
    return ""


def check_state_directory(directory: Path, *, accept: bool, mounts: Path = MOUNTS) -> str:
    """Refuse a directory that does not outlive a crash of the pod; with `accept` only tell. Returns what is wrong.

    The directory need not exist yet: what will hold it is judged. Raises StateError.
    """
    try:
        problem = judge_directory(directory.resolve(), parse_mounts(mounts.read_text()))
    except FileNotFoundError:
        return ""  # not Linux: a laptop
    if problem and not accept:
        raise StateError(
            f"state directory {directory} may not hold the journal of a live account: {problem}. Mount a volume there "
            f"(spec.storage of a TradingBot does), or say that you accept this."
        )
    return problem
