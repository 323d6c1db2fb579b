"""The commit process: writes and syncs batches that the engine hands over, in their sequence, one at a time.

`python -m soloist_trader.journal.commit_process` is started by the engine where the disk is slow. It knows nothing of
records: it gets framed bytes and answers when they are durable. It holds the directory's lock together with the engine,
so that no other engine can begin while a last batch is still on its way, and it ends when the engine's end of the
socket closes.

Messages to it: kind (u8), three numbers (u64), length (u32), bytes. Answers: kind (u8), size of the segment (u64),
length (u32), bytes. Never a second batch before the answer to the first: if both were on their way when the power
fails, the first could be torn and the second whole, which looks like damage to what was promised.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

from soloist_trader.journal.disk import Disk
from soloist_trader.journal.segments import SegmentWriter

APPEND: Final = 1
ROTATE: Final = 2
DONE: Final = 1
FAILED: Final = 2
_QUESTION: Final = struct.Struct("<BQQQI")
_ANSWER: Final = struct.Struct("<BQI")
_ARGUMENTS: Final = 6
STOP_WITHIN_S: Final = 5


class Answer(NamedTuple):
    """What came of a batch. `failed` is empty if it is durable."""

    size: int
    failed: str


class CommitProcess:
    """The engine's side. One question is on its way at a time; the caller counts."""

    def __init__(self, writer: SegmentWriter, lock: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket = ours
        self._silence: socket.socket | None = None
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 our own module, our own arguments
                [
                    sys.executable,
                    "-m",
                    "soloist_trader.journal.commit_process",
                    str(theirs.fileno()),
                    str(writer.file),
                    str(lock),
                    str(writer.size),
                    str(writer.segment_bytes),
                    str(writer.directory),
                ],
                pass_fds=(theirs.fileno(), writer.file, lock),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C at the terminal is the engine's to handle: it still commits
            )

    @property
    def process_id(self) -> int:
        """For people who look for it."""
        return self._process.pid

    def fileno(self) -> int:
        """Readable when an answer is there."""
        return self._socket.fileno()

    def append(self, data: bytes) -> None:
        """Hand a framed batch over. Raises OSError if the process is gone."""
        self._socket.sendall(_QUESTION.pack(APPEND, 0, 0, 0, len(data)) + data)

    def rotate(self, segment: int, sequence: int, crc: int) -> None:
        """Ask for the next segment, as SegmentWriter.rotate. Raises OSError if the process is gone."""
        self._socket.sendall(_QUESTION.pack(ROTATE, segment, sequence, crc, 0))

    def answer(self) -> Answer:
        """Wait for the next answer."""
        try:
            kind, size, length = _ANSWER.unpack(_receive(self._socket, _ANSWER.size))
            message = _receive(self._socket, length).decode()
        except (EOFError, OSError) as error:
            return Answer(0, f"the commit process is gone: {error}")
        return Answer(size, message if kind == FAILED else "")

    def has_word(self) -> bool:
        """Whether an answer is there, or the process is gone. Does not wait."""
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def mute(self) -> None:
        """After the process is gone: never be readable again, or the loop that watches would turn without end."""
        silent, self._silence = socket.socketpair()
        with silent:
            os.dup2(silent.fileno(), self._socket.fileno(), inheritable=False)

    def close(self) -> None:
        """End the process, after what it is writing."""
        self._socket.close()
        if self._silence is not None:
            self._silence.close()
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # a sync that hangs; what it had not answered was never relied upon
            self._process.wait()


def serve(questions: socket.socket, writer: SegmentWriter) -> None:
    """Write what comes until the other end closes. After a failure every answer is that failure: no second attempt."""
    failed = ""
    while True:
        try:
            kind, segment, sequence, crc, length = _QUESTION.unpack(_receive(questions, _QUESTION.size))
            data = _receive(questions, length)
        except EOFError:
            return
        if not failed:
            try:
                if kind == APPEND:
                    writer.append(data)
                else:
                    writer.rotate(segment, sequence, crc)
            except OSError as error:
                failed = str(error)
        message = failed.encode()
        try:
            questions.sendall(_ANSWER.pack(FAILED if failed else DONE, writer.size, len(message)) + message)
        except OSError:
            return  # the engine is gone; what it asked for is done


def _receive(stream: socket.socket, length: int) -> bytes:
    parts: list[bytes] = []
    while length:
        part = stream.recv(length)
        if not part:
            raise EOFError("the other end closed")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def main(arguments: list[str]) -> None:
    """Entry point of the process: descriptors of socket, segment and lock, then sizes and directory."""
    assert len(arguments) == _ARGUMENTS, "started by the engine only"
    stream, file, _lock, size, segment_bytes = (int(argument) for argument in arguments[:-1])
    writer = SegmentWriter(Disk(), Path(arguments[-1]), segment_bytes)
    writer.adopt(file, size)
    with socket.socket(fileno=stream) as questions:
        serve(questions, writer)
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1:])
