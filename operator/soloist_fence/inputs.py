"""The files a fence process reads: the bot's rendered configuration, the management key, the mounted epoch Secret."""

from __future__ import annotations

from pathlib import Path

import pydantic
import yaml
from soloist_kalshi.errors import VenueKeyError
from soloist_kalshi.signing import Signer

from soloist_fence.api import (
    KEY_ID_ENTRY,
    MANAGEMENT_KEY_FIELD,
    PRIVATE_KEY_ENTRY,
    EpochSecret,
    FenceInterfaceError,
    Reason,
)
from soloist_fence.commands import IssuedKey
from soloist_fence.errors import FenceError


class _Venue(pydantic.BaseModel):
    rest_url: str
    websocket_url: str | None = None
    ca_file: str | None = None


class _Account(pydantic.BaseModel):
    subaccount: int


class _Bot(pydantic.BaseModel):
    namespace: str = ""
    name: str = ""


class Configuration(pydantic.BaseModel):
    """The part of the engine's configuration that the fence needs; the whole schema is the engine's."""

    venue: _Venue
    account: _Account
    bot: _Bot = _Bot()

    @property
    def bot_name(self) -> str:
        """`namespace/name` of the bot that the configuration was rendered for."""
        return f"{self.bot.namespace}/{self.bot.name}"


def read_configuration(path: Path) -> Configuration:
    """Read `config.yaml`. Raises FenceError(Internal): the operator wrote it, so a person cannot fix it in the TradingBot."""
    try:
        return Configuration.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, pydantic.ValidationError) as error:
        raise FenceError(Reason.INTERNAL, f"the configuration {path} cannot be used: {error}") from error


def read_management_key(directory: Path) -> Signer:
    """Read the mounted management Secret. Raises ManagementKeyMissing or ManagementKeyInvalid, naming the entry."""
    entries = {}
    for entry in (KEY_ID_ENTRY, PRIVATE_KEY_ENTRY):
        try:
            entries[entry] = (directory / entry).read_bytes()
        except OSError:
            present = sorted(path.name for path in directory.glob("[!.]*"))
            found = f"it has {', '.join(present)}" if present else "it does not exist or is empty"
            raise FenceError(
                Reason.MANAGEMENT_KEY_MISSING,
                f"the Secret named by {MANAGEMENT_KEY_FIELD} has no entry {entry!r} ({found}). Create it in the bot's namespace: "
                f"kubectl create secret generic NAME --from-file={KEY_ID_ENTRY}=… --from-file={PRIVATE_KEY_ENTRY}=…",
                field=MANAGEMENT_KEY_FIELD,
            ) from None
    try:
        key_id = entries[KEY_ID_ENTRY].decode("ascii").strip()
        return Signer.from_pem(key_id, entries[PRIVATE_KEY_ENTRY])
    except (UnicodeDecodeError, VenueKeyError) as error:
        said = "the key id is no text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise FenceError(
            Reason.MANAGEMENT_KEY_INVALID,
            f"the Secret named by {MANAGEMENT_KEY_FIELD} cannot be used: {said}. Entry {KEY_ID_ENTRY!r} is the id that the venue "
            f"shows, entry {PRIVATE_KEY_ENTRY!r} the PEM file that it gave you with it",
            field=MANAGEMENT_KEY_FIELD,
        ) from None


def read_known_keys(directory: Path, *, below: int) -> tuple[IssuedKey, ...]:
    """The keys of an older epoch whose Secret is mounted; none when it is not, or holds another epoch.

    They only serve to prove that their time is over, so whatever cannot be read here is simply not known.
    """
    try:
        mounted = read_slots(directory, "of the last epoch")
    except FenceError:
        return ()
    return tuple(
        IssuedKey(slot.key_id, slot.private_key_pem) for slot in mounted.slots if mounted.epoch < below
    )


def read_slots(directory: Path, secret_name: str) -> EpochSecret:
    """Read the mounted epoch Secret. Raises SecretMoved when it is missing or no epoch Secret."""
    try:
        # A Secret volume swaps all its files at once behind the link `..data`: resolve it once, then read.
        resolved = (directory / "..data").resolve() if (directory / "..data").exists() else directory
        entries = {
            path.name: path.read_text(encoding="utf-8")
            for path in resolved.iterdir()
            if path.is_file() and not path.name.startswith(".")
        }
        return EpochSecret.parse(entries)
    except (OSError, UnicodeDecodeError, FenceInterfaceError) as error:
        raise FenceError(
            Reason.SECRET_MOVED,
            f"Secret {secret_name}, mounted at {directory}, cannot be read: {error}. A takeover makes a new one",
        ) from error
