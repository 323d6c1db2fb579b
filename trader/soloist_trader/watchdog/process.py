"""Which process the engine is, so that exactly that one is killed: never another that came to have its number."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from typing import Final, NamedTuple

_INIT_PID: Final = 1
_START_FIELD: Final = 19
"""Start time in clock ticks, counted behind the command's closing bracket: field 22 of proc_pid_stat(5)."""


class CannotKillError(Exception):
    """The process cannot be killed from here; the message says why and what to change."""


class ProcessId(NamedTuple):
    """A process beyond doubt: its number, when it started, and in which PID namespace the number counts."""

    pid: int
    start_ticks: int
    namespace: int


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _start_ticks(pid: int) -> int:
    """Raises FileNotFoundError or ProcessLookupError when there is no such process."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    # The command may hold anything, brackets and spaces included.
    return int(stat.rpartition(")")[2].split()[_START_FIELD])


def own_process() -> ProcessId:
    """The process that asks."""
    return ProcessId(os.getpid(), _start_ticks(os.getpid()), _namespace())


def _open(process: ProcessId) -> int | None:
    """A descriptor of exactly this process, or None when it is gone. Raises CannotKillError."""
    if process.namespace != _namespace():
        raise CannotKillError(
            f"process {process.pid} counts in another PID namespace: the pod needs shareProcessNamespace"
        )
    if process.pid in {_INIT_PID, os.getpid()} or process.pid <= 0:
        raise CannotKillError(
            f"process {process.pid} is the pod's first process or this one: neither is ever killed"
        )
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    except OSError as error:
        raise CannotKillError(f"process {process.pid} cannot be opened: {error}") from error
    # The descriptor is open: whoever has the number from now on, a signal goes to the one that was looked at.
    try:
        is_same = _start_ticks(process.pid) == process.start_ticks
    except (FileNotFoundError, ProcessLookupError):
        is_same = False
    if is_same:
        return descriptor
    os.close(descriptor)
    return None


def kill(process: ProcessId) -> bool:
    """SIGKILL; false when it is gone already. Raises CannotKillError."""
    descriptor = _open(process)
    if descriptor is None:
        return False
    try:
        if _has_ended(descriptor):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise CannotKillError(f"process {process.pid} cannot be killed: {error}") from error
    finally:
        os.close(descriptor)
    return True


def is_gone(process: ProcessId) -> bool:
    """Whether it ended (a zombie did). Raises CannotKillError when that cannot be told."""
    descriptor = _open(process)
    if descriptor is None:
        return True
    try:
        return _has_ended(descriptor)
    finally:
        os.close(descriptor)


def _has_ended(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
