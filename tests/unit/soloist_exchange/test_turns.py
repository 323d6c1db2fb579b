from __future__ import annotations

import asyncio

import pytest
from soloist_exchange.errors import StateError
from soloist_exchange.turns import Turn


class Teller:
    """Writes down in which order who told what."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    def flush(self, *, committed: bool) -> None:
        self.log.append(f"{self.name} {'told' if committed else 'silent'}")


async def test_one_commit_for_a_turn_then_replies_then_frames():
    log: list[str] = []
    turn = Turn(lambda: log.append("commit"))
    turn.frames(Teller("frames", log))
    turn.replies(Teller("one", log))
    turn.replies(Teller("two", log))
    assert log == []
    await asyncio.sleep(0)
    assert log == ["commit", "one told", "two told", "frames told"]
    await asyncio.sleep(0)
    assert log.count("commit") == 1
    turn.replies(Teller("three", log))
    await asyncio.sleep(0)
    assert log[-2:] == ["commit", "three told"]


@pytest.mark.parametrize("error", [StateError("no room"), ZeroDivisionError()])
async def test_without_a_commit_nothing_is_told_as_done(error):
    log: list[str] = []

    def commit():
        raise error

    turn = Turn(commit)
    turn.replies(Teller("reply", log))
    turn.frames(Teller("frames", log))
    if isinstance(error, StateError):
        turn.end()
    else:
        with pytest.raises(ZeroDivisionError):
            turn.end()
    assert log == ["reply silent", "frames silent"]
    # The turn's own call at the end of the loop's turn finds nothing left to tell.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    await asyncio.sleep(0)
    assert len(log) == 2
