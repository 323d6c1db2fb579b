import pytest
from soloist_fence.api import MANAGEMENT_KEY_FIELD, EpochSecret, Reason, Slot
from soloist_fence.errors import FenceError
from soloist_fence.inputs import read_configuration, read_management_key, read_slots
from soloist_kalshi.signing import generate_private_key

PAIR = generate_private_key("ed25519")


def secret_volume(directory, entries):
    """Files as the kubelet lays them out: links through `..data` to a dated directory."""
    dated = directory / "..2026_01_01"
    dated.mkdir(parents=True)
    (directory / "..data").symlink_to(dated.name)
    for name, content in entries.items():
        (dated / name).write_bytes(content)
        (directory / name).symlink_to(f"..data/{name}")
    return directory


def test_a_management_key_is_read(tmp_path):
    files = {"key-id": b"my-key\n", "private-key.pem": PAIR.private_pem}
    signer = read_management_key(secret_volume(tmp_path / "v", files))
    assert signer.key_id == "my-key"


MISSING = {
    "no Secret": {},
    "no key id": {"private-key.pem": PAIR.private_pem},
    "no private key": {"key-id": b"my-key"},
    "other entries": {"apikey": b"x"},
}


@pytest.mark.parametrize("entries", MISSING.values(), ids=MISSING)
def test_a_missing_entry_names_field_entry_and_fix(tmp_path, entries):
    with pytest.raises(FenceError) as caught:
        read_management_key(secret_volume(tmp_path / "v", entries))
    error = caught.value
    assert error.reason is Reason.MANAGEMENT_KEY_MISSING
    assert error.field == MANAGEMENT_KEY_FIELD
    for word in (MANAGEMENT_KEY_FIELD, "private-key.pem", "key-id", "kubectl create secret"):
        assert word in error.message


INVALID = {
    "no PEM": {"key-id": b"k", "private-key.pem": b"not a key"},
    "damaged PEM": {
        "key-id": b"k",
        "private-key.pem": PAIR.private_pem[:60] + b"\n-----END PRIVATE KEY-----\n",
    },
    "public key": {"key-id": b"k", "private-key.pem": PAIR.public_pem},
    "empty id": {"key-id": b"\n", "private-key.pem": PAIR.private_pem},
    "id no header can carry": {"key-id": b"a\nb", "private-key.pem": PAIR.private_pem},
    "id no text": {"key-id": b"\xff\xfe", "private-key.pem": PAIR.private_pem},
}


@pytest.mark.parametrize("entries", INVALID.values(), ids=INVALID)
def test_an_unusable_key_names_the_field_and_hides_the_key(tmp_path, entries):
    with pytest.raises(FenceError) as caught:
        read_management_key(secret_volume(tmp_path / "v", entries))
    error = caught.value
    assert error.reason is Reason.MANAGEMENT_KEY_INVALID
    assert error.field == MANAGEMENT_KEY_FIELD
    assert "private-key.pem" in error.message
    body = PAIR.private_pem.splitlines()[1].decode()
    assert body not in error.message


def test_a_configuration_is_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "version: 1\nmode: Live\n"
        "venue: {name: simulator, rest_url: https://x/trade-api/v2, websocket_url: wss://x, ca_file: /etc/ca.pem}\n"
        "account: {subaccount: 3, claim_hash: abcdef, epoch: 1}\n"
    )
    configuration = read_configuration(path)
    assert configuration.account.subaccount == 3
    assert configuration.venue.ca_file == "/etc/ca.pem"


@pytest.mark.parametrize("text", ["", "venue: {}", "{", "venue: {rest_url: x}\naccount: {subaccount: many}"])
def test_an_unusable_configuration_is_our_own_defect(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(FenceError) as caught:
        read_configuration(path)
    assert caught.value.reason is Reason.INTERNAL
    assert str(path) in caught.value.message


def test_slots_are_read_from_one_resolved_directory(tmp_path):
    secret = EpochSecret(1, 2, (Slot(1, "old", "PEM 1"), Slot(2, "new", "PEM 2")))
    volume = secret_volume(tmp_path / "v", {k: v.encode() for k, v in secret.data().items()})
    assert read_slots(volume, "demo-key-e1-x") == secret


@pytest.mark.parametrize("entries", [{}, {"epoch": b"1"}, {"epoch": b"\xff", "generation": b"1"}])
def test_an_unusable_mount_is_reported(tmp_path, entries):
    with pytest.raises(FenceError) as caught:
        read_slots(secret_volume(tmp_path / "v", entries), "demo-key-e1-x")
    assert caught.value.reason is Reason.SECRET_MOVED
    assert "demo-key-e1-x" in caught.value.message
