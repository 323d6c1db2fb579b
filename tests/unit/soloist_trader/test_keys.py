import asyncio
import os

import pytest
from click.testing import CliRunner
from soloist_kalshi.errors import VenueUnauthorized, VenueUnreachable
from soloist_kalshi.signing import generate_private_key
from soloist_trader.cli import main
from soloist_trader.errors import FatalError, KeysError
from soloist_trader.shell import keyring as keyring_module
from soloist_trader.shell.keyring import KeyRing
from soloist_trader.shell.keys import copy_keys, load_slots, resolve

PEM = generate_private_key("ed25519").private_pem


def secret(directory, slots=(1,), *, epoch="3"):
    directory.mkdir(parents=True)
    (directory / "epoch").write_text(epoch)
    for generation in slots:
        (directory / f"g{generation}.key-id").write_text(f"key-{generation}\n")
        (directory / f"g{generation}.private-key.pem").write_bytes(PEM)
    return directory


def test_copies_are_0400_and_replace_the_old_set_in_one_step(tmp_path):
    target = tmp_path / "keys"
    copy_keys(secret(tmp_path / "a", [1]), target)
    first = resolve(target)
    assert {path.name for path in first.iterdir()} == {"epoch", "g1.key-id", "g1.private-key.pem"}
    assert {path.stat().st_mode & 0o777 for path in first.iterdir()} == {0o400}
    copy_keys(secret(tmp_path / "b", [1, 2]), target)
    assert [slot.generation for slot in load_slots(target)] == [1, 2]
    assert first.exists(), "an engine may be reading it at this moment"
    copy_keys(secret(tmp_path / "c", [2]), target)
    assert not first.exists()
    assert [slot.signer.key_id for slot in load_slots(target)] == ["key-2"]


def test_a_secret_volume_is_followed_through_its_data_link(tmp_path):
    volume = tmp_path / "volume"
    secret(volume / "..2026_01", [1])
    (volume / "..data").symlink_to("..2026_01")
    for name in ("epoch", "g1.key-id", "g1.private-key.pem"):
        (volume / name).symlink_to(f"..data/{name}")
    copy_keys(volume, tmp_path / "keys")
    assert [slot.generation for slot in load_slots(tmp_path / "keys")] == [1]


def test_a_plain_key_is_generation_one(tmp_path):
    (tmp_path / "key-id").write_text("mine")
    (tmp_path / "private-key.pem").write_bytes(PEM)
    (tmp_path / "private-key.pem").chmod(0o400)
    assert [(slot.generation, slot.signer.key_id) for slot in load_slots(tmp_path)] == [(1, "mine")]


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o640])
def test_a_key_that_others_may_read_is_refused_with_the_fix(tmp_path, mode):
    (tmp_path / "key-id").write_text("mine")
    (tmp_path / "private-key.pem").write_bytes(PEM)
    (tmp_path / "private-key.pem").chmod(mode)
    with pytest.raises(KeysError, match=f"{mode:04o}.*chmod 0400"):
        load_slots(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no key: expected keys `key-id` and `private-key.pem`.*it holds nothing"),
        ({"token": b""}, "it holds token"),
        ({"key-id": b"k"}, "lacks `private-key.pem`"),
        ({"g2.private-key.pem": PEM}, "lacks `g2.key-id`"),
        ({"key-id": b"k", "private-key.pem": b"garbage"}, "no PEM block.*Put the PEM text"),
        ({"key-id": b" ", "private-key.pem": PEM}, "is empty"),
    ],
)
def test_a_secret_without_the_right_entries_names_them(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o400)
    with pytest.raises(KeysError, match=message):
        load_slots(tmp_path)


def test_the_init_container_reports_a_missing_secret(tmp_path):
    result = CliRunner().invoke(
        main, ["keys", "--from", str(tmp_path / "none"), "--to", str(tmp_path / "keys")]
    )
    assert result.exit_code == 2
    assert "cannot be listed" in result.output
    assert not (tmp_path / "keys").exists()
    secret(tmp_path / "good")
    assert (
        CliRunner()
        .invoke(main, ["keys", "copy", "--from", str(tmp_path / "good"), "--to", str(tmp_path / "keys")])
        .exit_code
        == 0
    )


class Venue:
    """Which keys are accepted."""

    def __init__(self, *accepted):
        self.accepted = set(accepted)
        self.reachable = True
        self.asked = []
        self.refused = asyncio.Event()

    async def verify(self, signer):
        self.asked.append(signer.key_id)
        if not self.reachable:
            raise VenueUnreachable("down")
        if signer.key_id not in self.accepted:
            self.refused.set()
            raise VenueUnauthorized(401, "authentication_error", "NOT_FOUND")


def ring(tmp_path, slots, venue):
    copy_keys(secret(tmp_path / f"secret-{os.urandom(4).hex()}", slots), tmp_path / "keys")
    found = KeyRing(tmp_path / "keys", 3, venue.verify)
    found.load()
    return found


async def test_the_highest_generation_that_works_signs(tmp_path):
    venue = Venue("key-1")
    keys = ring(tmp_path, [1, 2], venue)
    await keys.prove()
    assert (keys.key_id, keys.source.generation) == ("key-1", 1)
    assert venue.asked == ["key-2", "key-1"]


async def test_no_key_that_works_is_fatal(tmp_path):
    keys = ring(tmp_path, [1], Venue())
    with pytest.raises(FatalError, match="refuses every key"):
        await keys.prove()
    assert await keys.doubt() is False


def test_a_key_of_another_epoch_is_fatal(tmp_path):
    copy_keys(secret(tmp_path / "secret", epoch="2"), tmp_path / "keys")
    with pytest.raises(FatalError, match="epoch 2"):
        KeyRing(tmp_path / "keys", 3, Venue().verify).load()


async def test_a_swap_of_the_directory_switches_once_the_new_key_is_proven(tmp_path, monkeypatch):
    monkeypatch.setattr(keyring_module, "POLL_S", 0.005)
    monkeypatch.setattr(keyring_module, "_RETRY_S", 0.005)
    venue = Venue("key-1")
    keys = ring(tmp_path, [1], venue)
    await keys.prove()
    switched = asyncio.Event()
    watching = asyncio.create_task(keys.watch(switched.set))
    try:
        copy_keys(secret(tmp_path / "both", [1, 2]), tmp_path / "keys")
        async with asyncio.timeout(4):
            await venue.refused.wait()
        assert keys.key_id == "key-1", "not accepted yet"
        venue.accepted.add("key-2")
        copy_keys(secret(tmp_path / "again", [1, 2]), tmp_path / "keys")
        async with asyncio.timeout(4):
            await switched.wait()
        assert (keys.key_id, keys.source.generation) == ("key-2", 2)
        venue.accepted.discard("key-1")
        assert await keys.doubt() is True
    finally:
        watching.cancel()


async def test_a_swap_during_the_reading_is_not_missed(tmp_path, monkeypatch):
    """A rotation would wait for a confirmation that never comes."""
    monkeypatch.setattr(keyring_module, "POLL_S", 0.005)
    venue = Venue("key-1", "key-2")
    keys = ring(tmp_path, [1], venue)
    await keys.prove()

    def swapped_right_after(files):
        slots = load_slots(files)
        monkeypatch.setattr(keyring_module, "load_slots", load_slots)
        copy_keys(secret(tmp_path / "both", [1, 2]), tmp_path / "keys")
        return slots

    monkeypatch.setattr(keyring_module, "load_slots", swapped_right_after)
    keys.load()
    switched = asyncio.Event()
    watching = asyncio.create_task(keys.watch(switched.set))
    try:
        async with asyncio.timeout(4):
            await switched.wait()
        assert keys.key_id == "key-2"
    finally:
        watching.cancel()


def test_status_says_when_no_engine_answers():
    result = CliRunner().invoke(main, ["status", "--url", "http://127.0.0.1:9"])
    assert result.exit_code == 1
    assert "no engine answers" in result.output
