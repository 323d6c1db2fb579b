"""Where the provider keeps its state: one folder outside the repository, with one lock."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.errors import BusyError
from tests.cluster.progress import Progress

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = Path(__file__).resolve().parent

# A cold build of Kubernetes takes about ten minutes; whoever waits for it waits longer than that.
LOCK_DEADLINE_S = 3600.0


def cache() -> Path:
    """Return the state folder, `$SOLOIST_CACHE` or `~/.cache/soloist`, creating it."""
    folder = Path(os.environ.get("SOLOIST_CACHE") or "~/.cache/soloist").expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def folder(*names: str) -> Path:
    """Return a folder below the cache, creating it."""
    path = cache().joinpath(*names)
    path.mkdir(parents=True, exist_ok=True)
    return path


def binary(name: str) -> Path:
    """Return where the pinned program `name` is, or will be."""
    return folder("bin") / name


@contextmanager
def exclusive(progress: Progress) -> Iterator[None]:
    """Hold the cache's lock, so that two runs never build or change one cluster at the same time.

    The kernel drops the lock when its holder dies, however it dies. Raises BusyError after an hour.
    """
    with (cache() / "lock").open("a+") as lock:
        deadline_s = time.monotonic() + LOCK_DEADLINE_S
        announced = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline_s:
                    raise BusyError(
                        f"another run (see {lock.name}) held {cache()} for an hour; end it"
                    ) from error
                if not announced:
                    lock.seek(0)
                    progress.note(
                        f"waiting for another run that works in {cache()} (pid {lock.read().strip()})"
                    )
                    announced = True
                time.sleep(0.2)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content so that a reader, or a crash, sees the old text or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)
