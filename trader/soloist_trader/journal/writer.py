"""The journal that the engine writes: one frame and one fdatasync per commit; a failure is final.

After a failed fsync the kernel may have dropped the pages while calling them clean, so a second attempt could claim
durability that is not there. The journal refuses everything from then on, and the engine stops opening positions.
"""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Record
from soloist_trader.errors import JournalFailedError, StateError
from soloist_trader.journal.codec import encode_record, join_records
from soloist_trader.journal.commit_process import CommitProcess
from soloist_trader.journal.disk import Disk
from soloist_trader.journal.frames import SEGMENT_HEADER_LENGTH, frame, read_segment_header, segment_header
from soloist_trader.journal.quantiles import SLOW_P99_US, Quantiles, measure_syncs, now_us
from soloist_trader.journal.reader import PATTERN, Tail, read_journal, segment_number
from soloist_trader.journal.segments import SegmentWriter
from soloist_trader.journal.snapshots import rebuild

SEGMENT_BYTES: Final = 8 * 1024 * 1024
"""About 80 000 records; a start reads the rest of one segment, or two, behind its snapshot."""
UNCOMMITTED_RECORDS: Final = 4096
"""Records waiting for a commit; above this, new orders are denied by committing at once."""
UNCOMMITTED_BYTES: Final = 1024 * 1024
"""Bytes that a crash may lose; above this `full` is true, and new orders are to be denied."""
BATCH_BYTES: Final = 4 * 1024 * 1024
"""A frame is not begun larger than this, so that it always fits what a reader accepts."""
HANDED_BYTES: Final = 64 * 1024
"""The same for a frame that a commit process gets: it fits its socket, which is empty then, so handing it over never waits."""
SNAPSHOT_SEGMENTS: Final = 1
"""Sealed segments without a snapshot before one is due."""


class Commit(StrEnum):
    """Who writes and syncs."""

    INLINE = "inline"
    """The loop, once per turn that holds intents: fastest on a local disk."""
    PROCESS = "process"
    """A process of its own, for disks that hold a sync up."""
    AUTO = "auto"
    """Measured at start: INLINE up to a p99 of SLOW_P99_US, else PROCESS."""


class Journal:
    """The journal of one state directory, locked against a second engine. All methods belong to one thread."""

    def __init__(
        self,
        directory: Path,
        *,
        disk: Disk | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        commit: Commit = Commit.INLINE,
    ) -> None:
        self.directory = directory
        self.disk = disk or Disk()
        self.mode = commit
        self.measured = (0, 0)
        """(p50, p99) of the syncs at start, in microseconds; zeros if nothing was measured."""
        self.failed = ""
        self.commits = 0
        self.bytes_written = 0
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._appended = 0
        self._durable = 0
        self._in_flight = 0
        self._waiting: deque[tuple[int, Callable[[str], None]]] = deque()
        self._tail = Tail()
        self._lock = -1
        self._writer = SegmentWriter(self.disk, directory, segment_bytes)
        self._process: CommitProcess | None = None
        self._question: tuple[int, int, int] | None = None
        self._quantiles = Quantiles()
        self._snapshot: subprocess.Popen[str] | None = None
        self._snapshot_segment = self._snapshot_asked = 0
        self.snapshot_result = ""
        """What the last snapshot run printed (JSON), or why it failed (begins with `failed: `). Empty before."""
        self.snapshots_ended = 0
        """How many runs ended, well or not: whoever waits for one sees that it was his, however many ask."""

    # -- start

    def open(self, state: Ledger | Callable[[Record], None]) -> Tail:
        """Lock, rebuild the state, rewrite and sync the tail segment, and be ready to append.

        An empty ledger starts from the newest valid snapshot and replays what came after it. A function gets every
        record from the first one on, which a compacted journal cannot give. The tail says what was found.

        Raises StateError (locked, unreadable) and JournalDamagedError.
        """
        try:
            return self._open(state)
        except OSError as error:
            self.close()
            raise StateError(
                f"state directory {self.directory}: {error}. The engine needs a directory it may write to, with "
                f"{2 * self._writer.segment_bytes >> 20} MiB free."
            ) from error
        except BaseException:
            self.close()
            raise

    def _open(self, state: Ledger | Callable[[Record], None]) -> Tail:
        self.disk.make_directory(self.directory)
        self._take_lock()
        tail = Tail()
        if isinstance(state, Ledger):
            rebuild(self.directory, self.disk, state, tail)
        else:
            for _, _, records in read_journal(self.directory, tail, disk=self.disk):
                for record in records:
                    state(record)
        self._rewrite_tail(tail)
        self._choose_mode()
        return tail

    def _take_lock(self) -> None:
        try:
            self._lock = self.disk.lock(self.directory / "lock")
        except BlockingIOError as error:
            raise StateError(
                f"state directory {self.directory} is in use by another engine; stop that one first."
            ) from error

    def _rewrite_tail(self, tail: Tail) -> None:
        """Write the tail segment anew: pages that an earlier failed fsync left marked clean are not trusted."""
        disk = self.disk
        for abandoned in (
            *disk.list(self.directory, "journal-*.tmp"),
            *disk.list(self.directory, "sync-*.tmp"),
        ):
            disk.unlink(abandoned)
        if tail.intact:
            header = read_segment_header(tail.intact)
            assert header is not None, "the reader has read it"
            content = segment_header(tail.segment, header.previous_crc) + tail.intact[SEGMENT_HEADER_LENGTH:]
        else:
            tail.segment += 1
            content = segment_header(tail.segment, tail.crc)
        self._writer.begin(tail.segment, content)
        for begun in disk.list(self.directory, PATTERN):
            if segment_number(begun) > tail.segment:
                disk.unlink(begun)  # a crash while rotating left a torn header; nothing was ever in it
                disk.sync_directory(self.directory)
        tail.forget_content()
        self._tail = tail
        self._snapshot_segment = tail.covered

    def _choose_mode(self) -> None:
        if self.mode is Commit.AUTO:
            self.measured = measure_syncs(self.disk, self.directory)
            self.mode = Commit.PROCESS if self.measured[1] > SLOW_P99_US else Commit.INLINE
        if self.mode is Commit.PROCESS:
            self._process = CommitProcess(self._writer, self._lock)
            self._writer.close()  # the file is the process's from here on; its size is still kept here

    # -- append and commit

    def append(self, record: Record) -> None:
        """Take a record for the next commit."""
        encoded = encode_record(record)
        self._pending.append(encoded)
        self._pending_bytes += len(encoded)
        self._appended += 1

    @property
    def uncommitted(self) -> int:
        """Records that a crash now would lose."""
        return self._appended - self._durable

    @property
    def uncommitted_bytes(self) -> int:
        """Bytes that wait to be handed to the disk."""
        return self._pending_bytes

    @property
    def full(self) -> bool:
        """Too much waits for the disk: deny new orders until it has caught up."""
        return self._pending_bytes > UNCOMMITTED_BYTES

    def commit_quantiles(self) -> tuple[int, int]:
        """(p50, p99) in microseconds of the last commits, or of the measurement at start before there were any."""
        return self._quantiles.read() if self.commits else self.measured

    def describe_commits(self) -> str:
        """How this disk commits, for readiness and log: who does it, how long it takes, and why."""
        p50_us, p99_us = self.commit_quantiles()
        by = "in the loop" if self.mode is Commit.INLINE else "by a process of its own"
        words = f"commits {by}, p50 {p50_us} us, p99 {p99_us} us"
        if self.measured[1] > SLOW_P99_US:
            words += (
                f"; at start a sync took {self.measured[1]} us (p99), more than {SLOW_P99_US}: a slow disk"
            )
        return words

    def commit(self) -> None:
        """Make everything appended durable before returning. Raises JournalFailedError, for good."""
        if self.failed:
            raise JournalFailedError(self.failed)
        while self._pending or self._question:
            if self._process is not None:
                self._ask()
                self._take_answer()
            else:
                self._commit_inline()
            if self.failed:
                raise JournalFailedError(self.failed)

    def commit_soon(self, then: Callable[[str], None]) -> None:
        """Make everything appended durable without holding the loop up, then call `then("")`, or `then(why not)`.

        Inline that happens before this returns. With a commit process it happens in `collect`, which the loop calls
        when `fileno()` is readable; `then`s are called in their sequence, and never before what they wait for.
        """
        self._waiting.append((self._appended, then))
        if self.failed:
            self._tell_waiting()
        elif self._process is not None:
            self._ask()
            self._tell_waiting()
        else:
            while self._pending and not self.failed:
                self._commit_inline()
            self._tell_waiting()

    def fileno(self) -> int:
        """Readable when `collect` has something to do; -1 if commits are inline."""
        return self._process.fileno() if self._process is not None else -1

    def collect(self) -> None:
        """Take the commit process's answer if it is there, and hand the next batch over if somebody waits for it.

        Does not wait. A process that ended fails the journal at once, not with the next order.
        """
        if self._process is None or not self._process.has_word():
            return
        if self._question is None:
            self._lose_process(self._process.answer().failed)
            self._tell_waiting()
        else:
            self._take_answer()

    def _take_answer(self) -> None:
        if self._process is None or self._question is None:
            return
        answer, (asked_us, sequence, crc) = self._process.answer(), self._question
        self._question = None
        if answer.failed:
            self._lose_process(answer.failed)
        elif sequence == self._tail.sequence:
            self._tail.segment += 1  # the answer to a rotation: nothing was written in between
            self._writer.size = answer.size
        else:
            self._settle(asked_us, sequence, crc, answer.size)
            if self._writer.is_full:
                self._ask_rotation()
        self._tell_waiting()
        if self._waiting and not self.failed:
            self._ask()

    def _commit_inline(self) -> None:
        asked_us, tail = now_us(), self._tail
        data, crc = self._next_frame()
        try:
            self._writer.append(data)
            self._settle(asked_us, tail.sequence + 1, crc, self._writer.size)
            if self._writer.is_full:
                self._writer.rotate(tail.segment, tail.sequence, tail.crc)
                tail.segment += 1
        except OSError as error:
            self._fail(str(error))

    def _next_frame(self) -> tuple[bytes, int]:
        batch, size = [], 0
        most = BATCH_BYTES if self._process is None else HANDED_BYTES
        while self._pending and size < most:
            encoded = self._pending.popleft()
            batch.append(encoded)
            size += len(encoded)
        self._pending_bytes -= size
        self._in_flight = len(batch)
        tail = self._tail
        data, crc = frame(tail.segment, tail.sequence + 1, tail.crc, join_records(batch))
        self.bytes_written += len(data)
        return data, crc

    def _settle(self, asked_us: int, sequence: int, crc: int, size: int) -> None:
        self._tail.sequence, self._tail.crc, self._writer.size = sequence, crc, size
        self._durable += self._in_flight
        self._in_flight = 0
        self.commits += 1
        self._quantiles.observe(now_us() - asked_us)

    def _ask(self) -> None:
        """Hand the next batch to the commit process, unless one is on its way."""
        if self._question is not None or not self._pending:
            return
        assert self._process is not None
        data, crc = self._next_frame()
        self._question = (now_us(), self._tail.sequence + 1, crc)
        try:
            self._process.append(data)
        except OSError as error:
            self._lose_process(f"the commit process is gone: {error}")

    def _ask_rotation(self) -> None:
        assert self._process is not None
        tail = self._tail
        self._question = (now_us(), tail.sequence, tail.crc)
        try:
            self._process.rotate(tail.segment, tail.sequence, tail.crc)
        except OSError as error:
            self._lose_process(f"the commit process is gone: {error}")

    def _lose_process(self, why: str) -> None:
        """It is gone, or it failed and will only say so again: listen no more."""
        assert self._process is not None
        self._question = None
        self._process.mute()
        self._fail(why)

    def _tell_waiting(self) -> None:
        while self._waiting and (self.failed or self._waiting[0][0] <= self._durable):
            _, then = self._waiting.popleft()
            then(self.failed)

    def _fail(self, why: str) -> None:
        self.failed = (
            f"journal {self.directory}: {why}; it is not tried again. Free the disk or replace the volume, "
            f"then restart the engine."
        )

    # -- snapshots

    @property
    def snapshot_due(self) -> bool:
        """Whether enough was sealed since the last snapshot that a start would take noticeably longer.

        After one that failed, not before more is sealed.
        """
        sealed = self._tail.segment - 1
        tried = max(self._snapshot_segment, self._snapshot_asked)
        return self._snapshot is None and sealed - tried >= SNAPSHOT_SEGMENTS

    def seal(self) -> None:
        """Commit, and end the segment that is written, so that a snapshot holds everything until now.

        Raises JournalFailedError.
        """
        self.commit()
        tail = self._tail
        if self._writer.size <= SEGMENT_HEADER_LENGTH:
            return
        if self._process is not None:
            self._ask_rotation()
            self._take_answer()
        else:
            try:
                self._writer.rotate(tail.segment, tail.sequence, tail.crc)
                tail.segment += 1
            except OSError as error:
                self._fail(str(error))
        if self.failed:
            raise JournalFailedError(self.failed)

    def snapshot(self) -> bool:
        """Start the snapshot process over what is sealed, unless one runs or nothing is new; true if it was started.

        It also removes what the last two snapshots make superfluous. `poll_snapshot` tells how it ended.
        """
        sealed = self._tail.segment - 1
        if self._snapshot is not None or sealed <= self._snapshot_segment:
            return False
        self._snapshot_asked = sealed
        try:
            self._snapshot = _start_snapshot(self.directory, sealed)
        except OSError as error:
            self.snapshot_result = f"failed: no process could be started: {error}"
            self.snapshots_ended += 1
            return False
        return True

    def poll_snapshot(self) -> bool:
        """False while a snapshot process runs; afterwards `snapshot_result` says what came of it."""
        if self._snapshot is None:
            return True
        if self._snapshot.poll() is None:
            return False
        said, why = self._snapshot.communicate()
        if self._snapshot.returncode == 0:
            self.snapshot_result = said.strip()
            self._snapshot_segment = self._snapshot_asked
        else:
            self.snapshot_result = f"failed: {why.strip()}"
        self._snapshot = None
        self.snapshots_ended += 1
        return True

    def close(self) -> None:
        """End the processes, release file and lock. Does not commit."""
        if self._snapshot is not None:
            self._snapshot.kill()  # it leaves a temporary file at worst, which the next one removes
            self._snapshot.communicate()
            self._snapshot = None
        if self._process is not None:
            self._process.close()
            self._process = None
        self._writer.close()
        if self._lock >= 0:
            self.disk.close(self._lock)
        self._lock = -1


def _start_snapshot(directory: Path, sealed: int) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 our own module, our own arguments
        [sys.executable, "-m", "soloist_trader.journal.snapshot_process", str(directory), str(sealed)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
