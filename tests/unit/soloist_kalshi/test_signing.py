from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from soloist_kalshi.errors import VenueKeyError
from soloist_kalshi.signing import (
    HEADER_KEY,
    HEADER_SIGNATURE,
    HEADER_TIMESTAMP,
    WEBSOCKET_PATH,
    Signer,
    Verifier,
    generate_private_key,
    signed_text,
)

PAIRS = {kind: generate_private_key(kind) for kind in ("ed25519", "rsa")}


def pem_of(key, form=serialization.PrivateFormat.PKCS8, encryption=None):
    return key.private_bytes(serialization.Encoding.PEM, form, encryption or serialization.NoEncryption())


def test_the_signed_text_has_no_query_and_an_upper_case_method():
    assert signed_text(1703123456789, "get", "/trade-api/v2/portfolio/orders?limit=5") == (
        b"1703123456789GET/trade-api/v2/portfolio/orders"
    )


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_headers_verify_with_the_public_part_and_with_nothing_else(kind):
    signer = Signer.from_pem("key-1", PAIRS[kind].private_pem)
    verifier = Verifier.from_public_pem(PAIRS[kind].public_pem)
    headers = signer.headers("GET", WEBSOCKET_PATH, 1_703_123_456_789)
    assert set(headers) == {HEADER_KEY, HEADER_TIMESTAMP, HEADER_SIGNATURE}
    assert (headers[HEADER_KEY], headers[HEADER_TIMESTAMP], signer.key_type) == (
        "key-1",
        "1703123456789",
        kind,
    )
    text = signed_text(headers[HEADER_TIMESTAMP], "GET", WEBSOCKET_PATH)
    assert verifier.verify(text, headers[HEADER_SIGNATURE])
    assert not verifier.verify(text + b"x", headers[HEADER_SIGNATURE])
    assert not Verifier.from_public_pem(generate_private_key(kind).public_pem).verify(
        text, headers[HEADER_SIGNATURE]
    )


@pytest.mark.parametrize("signature", ["", "not base64!", "AAAA", b"", "é"])
@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_garbage_signature_is_false_and_no_exception(kind, signature):
    assert not Verifier.from_public_pem(PAIRS[kind].public_pem).verify(b"text", signature)


def test_ed25519_signatures_are_the_raw_64_bytes():
    headers = Signer.from_pem("k", PAIRS["ed25519"].private_pem).headers("GET", "/x", 1)
    assert len(b64decode(headers[HEADER_SIGNATURE])) == 64


@pytest.mark.parametrize("salt", [padding.PSS.MAX_LENGTH, 0, 20, 32])
def test_rsa_is_strict_about_the_salt_of_32(salt):
    key = serialization.load_pem_private_key(PAIRS["rsa"].private_pem, None)
    signature = key.sign(b"text", padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())
    assert Verifier.from_public_pem(PAIRS["rsa"].public_pem).verify(
        b"text", b64encode(signature).decode()
    ) == (salt == 32)


def test_the_venues_pem_forms():
    assert PAIRS["ed25519"].private_pem.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert PAIRS["rsa"].private_pem.startswith(b"-----BEGIN RSA PRIVATE KEY-----")
    key = rsa.generate_private_key(65537, 2048)
    assert Signer.from_pem("k", pem_of(key)).key_type == "rsa"


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        (b"", "no PEM block"),
        (b"c2VjcmV0", "no PEM block"),
        (b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", "cannot be read"),
        (PAIRS["ed25519"].public_pem, "cannot be read"),
        (PAIRS["ed25519"].private_pem[:60], "cannot be read"),
        (pem_of(ec.generate_private_key(ec.SECP256R1())), "neither Ed25519 nor RSA"),
        (pem_of(rsa.generate_private_key(65537, 1024)), "1024 bits"),
        (
            pem_of(
                rsa.generate_private_key(65537, 2048), encryption=serialization.BestAvailableEncryption(b"pw")
            ),
            "encrypted",
        ),
    ],
)
def test_an_unusable_key_is_named_without_its_bytes(pem, words):
    with pytest.raises(VenueKeyError, match=words) as caught:
        Signer.from_pem("key-1", pem)
    assert "key-1" in str(caught.value)
    for line in pem.decode().splitlines():
        if line and not line.startswith("-----"):
            assert line not in str(caught.value)


@pytest.mark.parametrize("key_id", ["", " ", "a\r\nX: y", "ключ", "k "])
def test_a_key_id_that_no_header_can_carry(key_id):
    with pytest.raises(VenueKeyError, match="key id"):
        Signer.from_pem(key_id, PAIRS["ed25519"].private_pem)


def test_nothing_shows_the_private_part():
    pair = PAIRS["ed25519"]
    assert "PRIVATE" not in repr(pair)
    assert repr(Signer.from_pem("key-1", pair.private_pem)) == "Signer(key_id='key-1', key_type='ed25519')"


@pytest.mark.parametrize("pem", [b"", b"garbage", PAIRS["rsa"].private_pem])
def test_a_public_key_that_is_none(pem):
    with pytest.raises(VenueKeyError):
        Verifier.from_public_pem(pem)
