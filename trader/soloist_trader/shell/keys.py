"""The slot directory (docs/interfaces.md "Keys"): which keys there are, and copying them for the engine.

The engine reads `<directory>/current/`; a Secret volume, and a plain directory with `key-id` and `private-key.pem`, are
read the same way. A private key that anybody but its owner may read is refused.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from pathlib import Path
from typing import Final

from soloist_kalshi.errors import VenueKeyError
from soloist_kalshi.keys import KeySlot
from soloist_kalshi.signing import Signer

from soloist_trader.errors import KeysError

_SLOT_FILE: Final = re.compile(r"g(\d+)\.(key-id|private-key\.pem)")
_PLAIN_FILES: Final = ("key-id", "private-key.pem")
CURRENT: Final = "current"
KEY_MODE: Final = 0o400
_EXPECTED: Final = (
    "expected keys `key-id` and `private-key.pem` (your own key), or `g<G>.key-id` and `g<G>.private-key.pem` "
    "for one or two generations G (made by the fence)"
)


def resolve(directory: Path) -> Path:
    """The directory that holds the files right now: what `current` points to, or the directory itself."""
    current = directory / CURRENT
    return Path(os.path.realpath(current)) if current.exists() else directory


def load_slots(directory: Path) -> list[KeySlot]:
    """Every slot, lowest generation first. Raises KeysError naming file and fix."""
    files = resolve(directory)
    names = _slot_names(files)
    slots = []
    for generation, (id_name, key_name) in sorted(names.items()):
        key_id = _read(files / id_name, private=False).decode("utf-8", "replace").strip()
        pem = _read(files / key_name, private=True)
        if not key_id:
            raise KeysError(
                f"key file {files / id_name} is empty: put the venue's API key id into `{id_name}`"
            )
        try:
            signer = Signer.from_pem(key_id, pem)
        except VenueKeyError as error:
            raise KeysError(
                f"key file {files / key_name}: {error}. Put the PEM text that the venue showed into `{key_name}`."
            ) from error
        slots.append(KeySlot(generation, signer))
    return slots


def _slot_names(files: Path) -> dict[int, tuple[str, str]]:
    """Generation to (key id file, private key file)."""
    try:
        present = {entry.name for entry in files.iterdir()}
    except OSError as error:
        raise KeysError(f"key directory {files} cannot be listed: {error}") from error
    generations = {int(match[1]) for name in present if (match := _SLOT_FILE.fullmatch(name))}
    names = {
        generation: (f"g{generation}.key-id", f"g{generation}.private-key.pem") for generation in generations
    }
    if not names and present & set(_PLAIN_FILES):
        names = {1: ("key-id", "private-key.pem")}
    if not names:
        shown = ", ".join(sorted(name for name in present if not name.startswith("."))) or "nothing"
        raise KeysError(f"key directory {files} holds no key: {_EXPECTED}; it holds {shown}")
    missing = sorted(name for pair in names.values() for name in pair if name not in present)
    if missing:
        raise KeysError(
            f"key directory {files} lacks {', '.join(f'`{name}`' for name in missing)}: {_EXPECTED}"
        )
    return names


def _read(path: Path, *, private: bool) -> bytes:
    try:
        mode = path.stat().st_mode
        if private and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise KeysError(
                f"key file {path} has mode {stat.S_IMODE(mode):04o}: group or others may read it. "
                f"Run `chmod 0400 {path}` and check who else could have copied the key."
            )
        return path.read_bytes()
    except OSError as error:
        raise KeysError(
            f"key file {path} cannot be read: {error}. It must belong to the engine's user, mode 0400."
        ) from error


def copy_keys(source: Path, target: Path) -> Path:
    """Copy the files of `source` into a new directory under `target`, then point `current` at it in one rename.

    A reader sees the old set or the new set, never a mixture. Returns the new directory. Raises KeysError when the
    source holds no complete key, before anything is changed.
    """
    files = Path(os.path.realpath(source / "..data")) if (source / "..data").exists() else source
    _slot_names(files)
    version = files.name.strip(".") or "keys"
    fresh = target / f"{version}-{time.time_ns()}"  # noqa: TID251 a name that was not there before
    before = resolve(target)
    try:
        fresh.mkdir(parents=True, mode=0o700)
        for entry in sorted(files.iterdir()):
            if entry.name.startswith(".") or not entry.is_file():
                continue
            descriptor = os.open(fresh / entry.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, KEY_MODE)
            with os.fdopen(descriptor, "wb") as copy:
                copy.write(entry.read_bytes())
        link = target / f".{CURRENT}-{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(fresh.name)
        link.replace(target / CURRENT)
    except OSError as error:
        raise KeysError(f"keys cannot be copied from {files} to {target}: {error}") from error
    _remove_others(target, {fresh, before})
    return fresh


def _remove_others(target: Path, keep: set[Path]) -> None:
    """Old copies go, except the one before: an engine may be reading it at this moment."""
    kept = {path.resolve() for path in keep}
    for entry in target.iterdir():
        if entry.is_dir() and not entry.is_symlink() and entry.resolve() not in kept:
            shutil.rmtree(entry)
