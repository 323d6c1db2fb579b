"""What REST, the order path and the WebSocket share about reaching the venue: URLs, TLS, and words for failures."""

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass
from random import Random
from typing import Final
from urllib.parse import urlsplit

from soloist_kalshi.errors import VenueUnreachable
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.signing import Signer

__all__ = [
    "Backoff",
    "Endpoint",
    "check_subaccount",
    "connected_socket",
    "current_signer",
    "path_segment",
    "tls_context",
    "why_unreachable",
]

_MAX_SUBACCOUNT = 63
_SEGMENT = re.compile(r"[A-Za-z0-9._~:-]{1,128}\Z")

_ADDRESS_S: Final = 1.0
"""How long one address may say nothing while others wait behind it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A base URL, split: the signed path includes the base path."""

    origin: str
    base_path: str
    secure: bool

    @classmethod
    def parse(cls, base_url: str, *, schemes: tuple[str, str] = ("http", "https")) -> "Endpoint":
        """Split a base URL such as `https://host/trade-api/v2`; raises ValueError naming what is wrong.

        `schemes` are the plain and the secure one.
        """
        if not base_url.isascii() or not base_url.isprintable() or " " in base_url:
            raise ValueError(
                f"{base_url!r} has characters that no URL may have: escape them, and write the host as xn--..."
            )
        parts = urlsplit(base_url)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"{base_url!r} is not a URL of the form {schemes[1]}://host/path")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError(
                f"{parts.scheme}://{parts.hostname}: the URL may have neither user, query nor fragment"
            )
        return cls(f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/"), parts.scheme == schemes[1])


@dataclass(slots=True)
class Backoff:
    """Full jitter: the n-th wait is uniform between 0 and min(cap, base * 2**n)."""

    random: Random
    base_ms: int = 100
    cap_ms: int = 10_000
    failures: int = 0

    def next_wait_ms(self) -> int:
        """Return how long to wait after one more failure."""
        ceiling_ms = min(self.cap_ms, self.base_ms << min(self.failures, 20))
        self.failures += 1
        return self.random.randint(0, ceiling_ms)

    def succeeded(self) -> None:
        """Start over."""
        self.failures = 0


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a verifying client context; `ca_file` replaces the system's roots. Raises VenueUnreachable."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise VenueUnreachable(
            f"the CA file {ca_file} cannot be used ({error}): check venue.ca_file"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def connected_socket(host: str, port: int) -> socket.socket:
    """Connect to the first address that answers; non-blocking, without Nagle's delay. Raises OSError of the last one that does not.

    An address that says nothing must not take the time of those behind it: each but the last has `_ADDRESS_S`.
    """
    loop = asyncio.get_running_loop()
    failure = OSError(f"{host} has no address")
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for place, (family, kind, protocol, _, address) in enumerate(found, 1):
        candidate = socket.socket(family, kind, protocol)
        try:
            candidate.setblocking(False)  # noqa: FBT003 - the standard library's own signature
            candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(_ADDRESS_S if place < len(found) else None):
                await loop.sock_connect(candidate, address)
        except OSError as error:
            candidate.close()
            failure = error
        except BaseException:  # cancelled: closed, and passed on
            candidate.close()
            raise
        else:
            return candidate
    raise failure


def current_signer(signer: Signer | SignerSource | None) -> Signer | None:
    """Return the signer of the moment."""
    return signer.current if isinstance(signer, SignerSource) else signer


def check_subaccount(subaccount: int) -> int:
    """Return the subaccount (0 primary, 1-63 numbered); raises ValueError otherwise."""
    if not 0 <= subaccount <= _MAX_SUBACCOUNT:
        raise ValueError(f"subaccount {subaccount} is not in 0..{_MAX_SUBACCOUNT}")
    return subaccount


def path_segment(name: str) -> str:
    """Return an id or ticker for use in a path; raises ValueError when it would need escaping, which would break the signature."""
    if _SEGMENT.match(name) is None or name in {".", ".."}:
        raise ValueError(f"{name[:140]!r} is not an id or ticker that may stand in a path")
    return name


def why_unreachable(error: BaseException, origin: str) -> str:
    """Return what happened and what to check, from the deepest known cause of a library's exception."""
    cause: BaseException | None = error
    while cause is not None:
        # Libraries wrap ssl's certificate error in one of their own without its attributes; the real one is its cause.
        message = getattr(cause, "verify_message", None)
        if message is not None:
            return f"{origin}: TLS certificate refused ({message}): check the CA file and the host name"
        if type(cause) is ssl.SSLError:
            return f"{origin}: TLS failed ({cause.reason or cause}): is this a TLS port?"
        if isinstance(cause, ConnectionRefusedError):
            return f"{origin}: connection refused: is the venue's address and port right, and does it run?"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, TimeoutError):
        return f"{origin}: no answer in time: check the network path, or the venue is overloaded"
    return f"{origin}: {type(error).__name__}: {error}" if str(error) else f"{origin}: {type(error).__name__}"
