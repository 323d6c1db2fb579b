"""Opening one WebSocket connection so that it can be given up cleanly at any moment.

A picows handshake that is cancelled leaves its transport behind, open and unreferenced. So nothing is cancelled once there is a socket:
the socket is ours, and shutting it down makes every stage that follows (TLS, upgrade) end by itself and free what it holds.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Mapping

import picows
from picows.url import WSParsedURL

from soloist_kalshi.endpoint import connected_socket

__all__ = ["Dialer"]


class Dialer:
    """One attempt to connect. `dial` may be abandoned from anywhere; an attempt is used once."""

    def __init__(
        self,
        url: str,
        ssl_context: ssl.SSLContext | None,
        *,
        connect_ms: int,
        idle_ms: int,
        pong_ms: int,
        max_frame_bytes: int,
    ) -> None:
        self._url = url
        self._ssl = ssl_context
        self._connect_s = connect_ms / 1_000
        self._idle_s = idle_ms / 1_000
        self._pong_s = pong_ms / 1_000
        self._max_frame_bytes = max_frame_bytes
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[tuple[picows.WSTransport, picows.WSListener]] | None = None
        self._abandoned = False
        self._late = False

    async def dial(
        self, make_listener: Callable[[], picows.WSListener], headers: Mapping[str, str]
    ) -> picows.WSTransport:
        """Return the open connection within `connect_ms`, name look-up and TLS included.

        Raises TimeoutError at the deadline, ConnectionError when it was abandoned or ended during the upgrade, picows.WSHandshakeError
        for a refused upgrade, and OSError for the rest.
        """
        if self._abandoned:
            raise ConnectionError("given up before it began to connect")
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(
            picows.ws_connect(
                make_listener,
                self._url,
                ssl_context=self._ssl,
                extra_headers=dict(headers),
                websocket_handshake_timeout=None,  # the deadline below is for everything
                enable_auto_ping=True,
                auto_ping_idle_timeout=self._idle_s,
                auto_ping_reply_timeout=self._pong_s,
                max_frame_size=self._max_frame_bytes,
                max_redirects=0,
                socket_factory=self._connected_socket,
            )
        )
        deadline = loop.call_later(self._connect_s, self._too_late)
        try:
            # asyncio.wait never cancels what it waits for, whoever cancels us.
            await asyncio.wait({self._task})
        except asyncio.CancelledError:
            self.abandon()
            await self._end_of(self._task)
            raise
        finally:
            deadline.cancel()
        return self._result(self._task)

    def abandon(self) -> None:
        """Give up: `dial` ends soon, and nothing of it stays open."""
        self._abandoned = True
        if self._task is None or self._task.done():
            return
        if self._socket is None:
            self._task.cancel()  # still in `_connected_socket`, which closes what it opened
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _too_late(self) -> None:
        self._late = True
        self.abandon()

    def _result(self, task: asyncio.Task[tuple[picows.WSTransport, picows.WSListener]]) -> picows.WSTransport:
        if task.cancelled():
            raise TimeoutError if self._late else ConnectionError("given up while it was connecting")
        error = task.exception()
        if self._late:
            raise TimeoutError from error
        if error is not None:
            raise error
        transport, _ = task.result()
        if self._abandoned or transport.is_disconnected or transport.response is None:
            transport.disconnect(graceful=False)
            raise ConnectionError("the connection ended during the upgrade")
        return transport

    async def _end_of(self, task: asyncio.Task[tuple[picows.WSTransport, picows.WSListener]]) -> None:
        """Wait for the end that `abandon` caused: a socket that is shut down ends at once."""
        await asyncio.wait({task}, timeout=self._connect_s)
        if not task.done():
            task.cancel()
        elif not task.cancelled() and task.exception() is None:
            task.result()[0].disconnect(graceful=False)

    async def _connected_socket(self, url: WSParsedURL) -> socket.socket:
        self._socket = await connected_socket(str(url.host), int(url.port))
        return self._socket
