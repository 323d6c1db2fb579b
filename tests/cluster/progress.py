"""Progress lines: what was done, and how long it took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

print_now: Callable[[str], None] = partial(print, flush=True)


class Progress:
    """Write a line such as `[ 12.3 s] built kube-apiserver` when a step ends; `write` gets it without its newline."""

    def __init__(self, write: Callable[[str], None] = print_now) -> None:
        self._write = write

    def note(self, text: str) -> None:
        """Write a line that has no duration."""
        self._write(f"[    ...] {text}")

    @contextmanager
    def step(self, done: str, *, expect: str = "") -> Iterator[None]:
        """Time a step; `expect` announces a long one before it starts ("8 min the first time")."""
        if expect:
            self.note(f"{done}: about {expect}")
        start_s = time.monotonic()
        try:
            yield
        except BaseException:
            self._write(f"[{time.monotonic() - start_s:5.1f} s] FAILED: {done}")
            raise
        self._write(f"[{time.monotonic() - start_s:5.1f} s] {done}")
