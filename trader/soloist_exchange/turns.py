"""One commit for everything that one turn of the event loop did, and only then the replies and frames that tell of it."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from soloist_exchange.errors import StateError

__all__ = ["Teller", "Turn"]


class Teller(Protocol):
    """Holds back what it has to tell until the turn is committed."""

    def flush(self, *, committed: bool) -> None:
        """Tell it; when the commit failed, tell nothing that a restart would forget."""


class Turn:
    """The turn that is under way. Requests that arrive together share its commit, so the disk is asked once for all of them.

    Replies go out before WebSocket frames; the fault fill_before_reply turns that round.
    """

    def __init__(self, commit: Callable[[], None]) -> None:
        self._commit = commit
        self._replies: list[Teller] = []
        self._frames: list[Teller] = []
        self._due = False

    def replies(self, teller: Teller) -> None:
        """Note a connection that has replies to write; once a turn is enough."""
        self._replies.append(teller)
        self._at_end()

    def frames(self, teller: Teller) -> None:
        """Note a connection that has frames to write; once a turn is enough."""
        self._frames.append(teller)
        self._at_end()

    def _at_end(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self.end)

    def end(self) -> None:
        """Commit, then tell. Also called by steps that nobody asked for, so that their frames leave at once."""
        self._due = False
        replies, self._replies = self._replies, []
        frames, self._frames = self._frames, []
        committed = False
        try:
            self._commit()
            committed = True
        except StateError:
            pass  # the exchange keeps the error in `broken`, and the process ends with it
        finally:
            for teller in (*replies, *frames):
                teller.flush(committed=committed)
