"""The control socket: what a person may ask of a running engine, over a Unix socket in the state directory.

Whoever can open it is the engine's user. One JSON line asks, one answers:
`{"verb","actor","reason","market"?,"latch"?}` -> `{"ok","message",…}`. Every verb is in the journal with actor and reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

SOCKET_NAME: Final = "control.sock"
VERBS: Final = ("halt", "reduce", "resume", "release-market", "reconcile", "snapshot")
WATCHDOG_SOCKET: Final = "watchdog.sock"
WATCHDOG_VERBS: Final = ("kill", "resume")
"""What the watchdog carries out by itself, on a socket of its own: the engine may be mute."""
ANSWER_S: Final = 30.0
_LINE_LIMIT: Final = 65_536
_MODE: Final = 0o600
_TEXT_LENGTH: Final = 200


class Request(NamedTuple):
    """One verb. `market` goes with release-market, `latch` with resume (empty: those that a person may lift at once)."""

    verb: str
    actor: str
    reason: str
    market: str = ""
    latch: str = ""


class RequestError(ValueError):
    """A request that cannot be carried out; the message says what to change."""


Carry = Callable[[Request], Awaitable[dict[str, Any]]]
"""Carries out a request; the mapping is added to the answer. Raises RequestError."""


def read_request(line: bytes, verbs: tuple[str, ...] = VERBS) -> Request:
    """A checked request. Raises RequestError naming the field."""
    try:
        content = json.loads(line)
    except ValueError as error:
        raise RequestError(f"not a JSON line: {error}") from error
    if not isinstance(content, dict):
        raise RequestError("not a JSON mapping with verb, actor and reason")
    texts = {}
    for name in Request._fields:
        value = content.pop(name, "")
        if not isinstance(value, str) or len(value) > _TEXT_LENGTH:
            raise RequestError(f"{name} must be a text of at most {_TEXT_LENGTH} characters")
        texts[name] = value.strip()
    if content:
        raise RequestError(f"unknown field {min(content)!r}")
    request = Request(**texts)
    if request.verb not in verbs:
        raise RequestError(f"verb {request.verb!r} is none of {', '.join(verbs)}")
    for name in ("actor", "reason"):
        if not texts[name]:
            raise RequestError(f"{name} is missing: the journal keeps who asked, and why")
    if (request.verb == "release-market") != bool(request.market):
        raise RequestError("a market goes with release-market, and with nothing else")
    if request.latch and request.verb != "resume":
        raise RequestError("a latch goes with resume only")
    return request


@contextlib.contextmanager
def _short_path(directory: Path, name: str) -> Any:
    """The socket's path through a descriptor: the kernel takes 107 bytes, and volumes have long names."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


class ControlServer:
    """Serves the socket of one state directory, whose lock the caller holds."""

    def __init__(
        self, directory: Path, carry: Carry, name: str = SOCKET_NAME, verbs: tuple[str, ...] = VERBS
    ) -> None:
        self._directory = directory
        self._carry = carry
        self._name = name
        self._verbs = verbs
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises OSError."""
        (self._directory / self._name).unlink(missing_ok=True)  # of a process that was killed
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _short_path(self._directory, self._name) as path:
            listener.bind(path)
            os.chmod(path, _MODE)  # noqa: PTH101 a chmod of a new socket blocks nobody
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_LINE_LIMIT)

    async def stop(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is not None:
            self._server.close()
            self._server = None
            (self._directory / self._name).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                line = await reader.readline()
                try:
                    answer = {"ok": True, **await self._carry(read_request(line, self._verbs))}
                except RequestError as error:
                    answer = {"ok": False, "message": str(error)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, OSError, ValueError):
            pass  # the other side went away or never spoke; there is nobody to tell
        finally:
            writer.close()


def ask(
    directory: Path, request: Request, timeout_s: float = ANSWER_S, name: str = SOCKET_NAME
) -> dict[str, Any]:
    """Ask the engine of a state directory, or its watchdog by the name of that socket. Raises OSError when none answers, ValueError for an answer that is none."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection,
        _short_path(directory, name) as path,
    ):
        connection.settimeout(timeout_s)
        connection.connect(path)
        connection.sendall(
            json.dumps({name: text for name, text in request._asdict().items() if text}).encode() + b"\n"
        )
        with connection.makefile("rb") as answers:
            answer = json.loads(answers.readline(_LINE_LIMIT) or b"null")
    if not isinstance(answer, dict):
        raise ValueError("the engine closed the socket without an answer; see its log")  # noqa: TRY004 a value, not a type
    return answer
