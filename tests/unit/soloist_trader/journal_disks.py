"""A disk in memory that forgets what was not synced, fails when told to, and can crash before any of its calls."""

import fnmatch
import os
import random
from dataclasses import dataclass, field
from pathlib import Path

from soloist_trader.journal.disk import Disk

BLOCK = 512
DIRECTORY = Path("/state")


class CrashError(BaseException):
    """The machine stops here. Not an Exception, so that no policy of the code under test can catch it."""


@dataclass
class Inode:
    """Bytes of a file: as the page cache has them, and as the disk has them."""

    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""


class MemoryDisk(Disk):
    """Files are durable by `sync`, names by `sync_directory`; after a crash any part of the rest may be there, too."""

    def __init__(self):
        self.names = {}
        self.durable_names = {}
        self.pending_names = []
        self.handles = {}
        self.locked = {}
        self.calls = 0
        self.crash_at = -1
        self.faults = {}
        """Name of a call -> error number that it fails with from now on."""
        self.log = []

    def _step(self, call):
        self.calls += 1
        self.log.append(call)
        if self.calls == self.crash_at:
            raise CrashError(f"before call {self.calls}, {call}")
        if call in self.faults:
            number = self.faults[call]
            raise OSError(number, os.strerror(number))

    def make_directory(self, directory):
        pass

    def lock(self, path):
        if path in self.locked.values():
            raise BlockingIOError(f"{path} is locked")
        return self._handle(path, None, self.locked)

    def _handle(self, path, inode, table=None):
        number = max([*self.handles, *self.locked], default=100) + 1
        if table is None:
            self.handles[number] = [inode, 0]
        else:
            table[number] = path
        return number

    def _name(self, path, inode):
        self.pending_names.append((path, inode))
        if inode is None:
            del self.names[path]
        else:
            self.names[path] = inode

    def open(self, path):
        self._step("open")
        inode = Inode()
        self._name(path, inode)
        return self._handle(path, inode)

    def close(self, file):
        self.handles.pop(file, None)
        self.locked.pop(file, None)

    def preallocate(self, file, size):
        self._step("preallocate")
        inode = self.handles[file][0]
        inode.content.extend(bytes(max(size - len(inode.content), 0)))

    def write(self, file, data):
        handle = self.handles[file]
        inode, offset = handle
        try:
            self._step("write")
        except OSError:
            self._put(inode, offset, data[: len(data) // 2])  # a full disk takes a part before it says so
            raise
        except CrashError:
            self._put(inode, offset, data)
            raise
        self._put(inode, offset, data)
        handle[1] += len(data)

    @staticmethod
    def _put(inode, offset, data):
        inode.content.extend(bytes(max(offset - len(inode.content), 0)))
        inode.content[offset : offset + len(data)] = data

    def cut(self, file, size):
        self._step("cut")
        del self.handles[file][0].content[size:]

    def sync(self, file):
        self._step("sync")
        inode = self.handles[file][0]
        inode.durable = bytes(inode.content)

    def rename(self, source, target):
        self._step("rename")
        inode = self.names[source]
        self._name(target, inode)
        self._name(source, None)

    def unlink(self, path):
        self._step("unlink")
        if path not in self.names:
            raise FileNotFoundError(path)
        self._name(path, None)

    def sync_directory(self, directory):  # noqa: ARG002 one directory is all there is
        self._step("sync_directory")
        self.pending_names.clear()
        self.durable_names = dict(self.names)

    def list(self, directory, pattern):  # noqa: ARG002 as above
        return sorted(path for path in self.names if fnmatch.fnmatch(path.name, pattern))

    def read(self, path):
        if path not in self.names:
            raise FileNotFoundError(path)
        return bytes(self.names[path].content)

    # -- for tests

    def after_crash(self, seed):
        """The disk as the next process finds it: what was synced, and any part of what was not, block by block."""
        draw = random.Random(seed)
        disk = MemoryDisk()
        names = dict(self.durable_names)
        for path, inode in self.pending_names:
            if draw.random() < 0.5:
                if inode is None:
                    names.pop(path, None)
                else:
                    names[path] = inode
        for path, inode in names.items():
            content = _survived(inode, draw)
            disk.names[path] = Inode(bytearray(content), content)
        disk.durable_names = dict(disk.names)
        return disk

    def copy(self):
        """The same files, all of them durable, with no history."""
        disk = MemoryDisk()
        disk.names = {path: Inode(bytearray(i.content), bytes(i.content)) for path, i in self.names.items()}
        disk.durable_names = dict(disk.names)
        return disk


def _survived(inode, draw):
    """A file after a crash: each block as it was synced or as it was written since; its length one of the two."""
    old, new = inode.durable, bytes(inode.content)
    length = draw.choice([len(old), len(new)])
    kept = bytearray(length)
    for begin in range(0, length, BLOCK):
        block = draw.choice([old, new])[begin : min(begin + BLOCK, length)]
        kept[begin : begin + len(block)] = block
    return bytes(kept)
