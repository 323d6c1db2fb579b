"""A small read-only HTTP server on a thread of its own: it answers while the event loop is stuck."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from soloist_trader.errors import ConfigurationError


class HttpThread:
    """Serves a handler class on HOST:PORT; port 0 takes a free one. Raises ConfigurationError, naming `option`, when it cannot be had."""

    def __init__(
        self, address: str, handler: type[BaseHTTPRequestHandler], *, name: str, option: str
    ) -> None:
        host, _, port = address.rpartition(":")
        try:
            self._server = ThreadingHTTPServer((host.strip("[]") or "0.0.0.0", int(port)), handler)  # noqa: S104 probes
        except (OSError, OverflowError, ValueError) as error:
            problem = f"cannot listen on {address!r}: {error}; give a free HOST:PORT, as 127.0.0.1:8081"
            raise ConfigurationError([(option, problem)]) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name=name, daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


class Answering(BaseHTTPRequestHandler):
    """What its handlers share: they answer a path, in one way, and are silent about probes."""

    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self) -> None:
        """Answer the path, without its query."""
        self.answer(self.path.partition("?")[0])

    def answer(self, path: str) -> None:
        """Send the one answer to a path."""
        raise NotImplementedError

    def send(self, status: int, kind: str, body: bytes) -> None:
        """Answer with a body of this content type."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name is http.server's
        """Probes are not logged."""
