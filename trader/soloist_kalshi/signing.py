"""Signing requests, and checking signatures (section 2).

The signed text is `<timestamp in ms><METHOD><path>`: the path from the root, with `/trade-api/v2`, without the query.
RSA keys sign with PSS, SHA-256, salt 32; Ed25519 keys sign the same text. The body is not signed.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, field
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from soloist_kalshi.errors import VenueKeyError

__all__ = [
    "HEADER_KEY",
    "HEADER_SIGNATURE",
    "HEADER_TIMESTAMP",
    "WEBSOCKET_PATH",
    "KeyType",
    "PrivateKeyPair",
    "Signer",
    "Verifier",
    "generate_private_key",
    "signed_text",
]

HEADER_KEY = "KALSHI-ACCESS-KEY"
HEADER_TIMESTAMP = "KALSHI-ACCESS-TIMESTAMP"
HEADER_SIGNATURE = "KALSHI-ACCESS-SIGNATURE"
WEBSOCKET_PATH = "/trade-api/ws/v2"

KeyType = Literal["ed25519", "rsa"]

_RSA_BITS = 2048
_SALT_BYTES = 32
_SHA256 = hashes.SHA256()
_PSS = padding.PSS(mgf=padding.MGF1(_SHA256), salt_length=_SALT_BYTES)

_PrivateKey = ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
_PublicKey = ed25519.Ed25519PublicKey | rsa.RSAPublicKey


def signed_text(timestamp_ms: int | str, method: str, path: str) -> bytes:
    """Return the bytes that are signed; a query string is cut off."""
    return f"{timestamp_ms}{method.upper()}{path.partition('?')[0]}".encode()


@dataclass(frozen=True, slots=True)
class Signer:
    """One API key that can sign. Neither `repr` nor an error ever shows the private part."""

    key_id: str
    key_type: KeyType
    _key: _PrivateKey = field(repr=False)

    @classmethod
    def from_pem(cls, key_id: str, pem: bytes) -> "Signer":
        """Load a key: Ed25519 in PKCS#8, RSA in PKCS#1 or PKCS#8; the PEM tells which.

        Raises VenueKeyError naming what is wrong, never the key's bytes.
        """
        if not key_id or not key_id.isascii() or not key_id.isprintable() or key_id != key_id.strip():
            raise VenueKeyError("the key id is empty or has characters that no header may carry")
        if b"-----BEGIN" not in pem:
            raise VenueKeyError(
                f"private key of {key_id}: no PEM block found (expected -----BEGIN PRIVATE KEY-----)"
            )
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except TypeError:
            raise VenueKeyError(
                f"private key of {key_id}: the PEM is encrypted; store it without a passphrase"
            ) from None
        except (ValueError, UnsupportedAlgorithm):
            # The library's message may quote input: it is dropped on purpose.
            raise VenueKeyError(f"private key of {key_id}: the PEM cannot be read; store it again") from None
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return cls(key_id, "ed25519", key)
        if isinstance(key, rsa.RSAPrivateKey):
            if key.key_size < _RSA_BITS:
                raise VenueKeyError(
                    f"private key of {key_id}: RSA with {key.key_size} bits, the least is {_RSA_BITS}"
                )
            return cls(key_id, "rsa", key)
        raise VenueKeyError(f"private key of {key_id}: neither Ed25519 nor RSA")

    def sign(self, text: bytes) -> bytes:
        """Return the raw signature of a text."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(text)
        return self._key.sign(text, _PSS, _SHA256)

    def header_lines(self, method: str, path: str, timestamp_ms: int) -> str:
        """Return the three access headers as they stand in a request, see `headers`."""
        return "".join(
            f"{name}: {value}\r\n" for name, value in self.headers(method, path, timestamp_ms).items()
        )

    def headers(self, method: str, path: str, timestamp_ms: int) -> dict[str, str]:
        """Return the three access headers for a request; `path` is from the root, a query is ignored."""
        signature = self.sign(signed_text(timestamp_ms, method, path))
        return {
            HEADER_KEY: self.key_id,
            HEADER_TIMESTAMP: str(timestamp_ms),
            HEADER_SIGNATURE: b64encode(signature).decode(),
        }


@dataclass(frozen=True, slots=True)
class Verifier:
    """The public part of a key, on the venue's side."""

    key_type: KeyType
    _key: _PublicKey = field(repr=False)

    @classmethod
    def from_public_pem(cls, pem: bytes) -> "Verifier":
        """Load a public key (SubjectPublicKeyInfo, or PKCS#1 for RSA); raises VenueKeyError."""
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            raise VenueKeyError("the public key PEM cannot be read") from None
        if isinstance(key, ed25519.Ed25519PublicKey):
            return cls("ed25519", key)
        if isinstance(key, rsa.RSAPublicKey):
            return cls("rsa", key)
        raise VenueKeyError("the public key is neither Ed25519 nor RSA")

    def verify(self, text: bytes, signature: str | bytes) -> bool:
        """Whether the signature (base64 text as in the header, or raw bytes) belongs to the text.

        RSA is strict about the salt length of 32.
        """
        try:
            raw = b64decode(signature, validate=True) if isinstance(signature, str) else signature
            if isinstance(self._key, ed25519.Ed25519PublicKey):
                self._key.verify(raw, text)
            else:
                self._key.verify(raw, text, _PSS, _SHA256)
        except (InvalidSignature, Base64Error, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKeyPair:
    """A fresh key as PEM: PKCS#8 for Ed25519 and PKCS#1 for RSA, as the venue hands them out."""

    key_type: KeyType
    private_pem: bytes = field(repr=False)
    public_pem: bytes


def generate_private_key(key_type: KeyType) -> PrivateKeyPair:
    """Make a new key pair."""
    key: _PrivateKey
    if key_type == "ed25519":
        key, private_format = ed25519.Ed25519PrivateKey.generate(), serialization.PrivateFormat.PKCS8
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
        private_format = serialization.PrivateFormat.TraditionalOpenSSL
    private_pem = key.private_bytes(serialization.Encoding.PEM, private_format, serialization.NoEncryption())
    public_pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return PrivateKeyPair(key_type, private_pem, public_pem)
