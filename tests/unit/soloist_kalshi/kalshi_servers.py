"""A scripted HTTP server on a real loopback socket: it shows what a client really puts on the wire."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


# Returns the bytes to answer, or None to drop the connection without an answer.
Answer = Callable[[Received], Awaitable[bytes | None]]


# Replies are written down when tests are collected; their date is that of the sending, or clients would see a skewed clock.
_DATE_OF_SENDING = "@date of sending@"


def reply(status: int, body: bytes = b"", *, date: str = _DATE_OF_SENDING, headers: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status} X\r\nDate: {date}\r\nContent-Type: application/json\r\n{headers}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


class ScriptedServer:
    """Answers request n with `answer`; keeps every request that was read in full."""

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.bytes_read = 0
        self._answer = answer
        self._context = context
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        scheme = "https" if self._context else "http"
        self.base_url = f"{scheme}://127.0.0.1:{self.port}/trade-api/v2"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    @property
    def open(self) -> int:
        return len(self._writers)

    async def _serve(self, reader, writer):
        self.connections += 1
        connection = self.connections
        self._writers.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    received = await self._read(reader, connection)
                    self.requests.append(received)
                    answer = await self._answer(received)
                    if answer is None:
                        writer.transport.abort()
                        return
                    writer.write(answer.replace(_DATE_OF_SENDING.encode(), formatdate(usegmt=True).encode()))
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _read(self, reader, connection):
        head = await reader.readuntil(b"\r\n\r\n")
        self.bytes_read += len(head)
        request_line, *lines = head.decode().split("\r\n")
        method, target, _ = request_line.split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Received(method, target, headers, body, connection)


def self_signed(directory: Path) -> tuple[ssl.SSLContext, str]:
    """Return a server context for 127.0.0.1 and the path of the CA file that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "soloist test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = directory / "certificate.pem", directory / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    return context, str(certificate_file)


async def eventually(
    condition: Callable[[], bool], describe: Callable[[], object], deadline_ms: int = 5_000
) -> None:
    """Poll until the condition holds; fail with a description of the state at the deadline."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_ms / 1_000
    while not condition():
        if loop.time() > end:
            raise AssertionError(f"not within {deadline_ms} ms: {describe()}")
        await asyncio.sleep(0.005)
