"""A request as it was read, and a reply as it is written (RFC 9112)."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

__all__ = ["HTML", "JSON", "HttpRequest", "Query", "encode_reply"]

JSON: Final = "application/json"
HTML: Final = "text/html; charset=utf-8"
_STATUS: Final = {item.value: f"HTTP/1.1 {item.value} {item.phrase}\r\n".encode() for item in HTTPStatus}
_TYPES: Final[dict[str, bytes]] = {}


class Query(Mapping[str, str]):
    """Parameters by name; of a repeated one the first, and all of them by `getall`."""

    def __init__(self, values: dict[str, list[str]]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> str:
        """Return the first value of a parameter."""
        return self._values[name][0]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """How many names there are."""
        return len(self._values)

    def getall(self, name: str, default: list[str]) -> list[str]:
        """Return every value of a parameter, in their order."""
        return self._values.get(name, default)


_NO_QUERY: Final = Query({})


@dataclass(slots=True)
class HttpRequest:
    """One request, read to its end. Header names are in lower case; a repeated header's values are joined by commas."""

    method: str
    path: str
    query_text: str
    headers: dict[str, str]
    body: bytes

    @property
    def query(self) -> "Query":
        """The query's parameters, percent-decoded."""
        return Query(parse_qs(self.query_text, keep_blank_values=True)) if self.query_text else _NO_QUERY


def _type_line(content_type: str) -> bytes:
    """Return the header that names a type; this package uses a handful of types, so each is kept."""
    return _TYPES.setdefault(content_type, f"Content-Type: {content_type}\r\n".encode())


class _Date:
    """The Date header, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = f"Date: {formatdate(second, usegmt=True)}\r\n".encode()
        return self._line


_DATE = _Date()


def encode_reply(
    status: int, body: bytes, content_type: str, *, closes: bool, head_only: bool, sent: int | None
) -> bytes:
    """Return a whole reply; `sent` cuts the body short of the length that the head promises."""
    head = _STATUS.get(status) or b"HTTP/1.1 %d Error\r\n" % status
    head += _DATE.line()
    if status != HTTPStatus.NO_CONTENT:
        head += _TYPES.get(content_type) or _type_line(content_type)
        head += b"Content-Length: %d\r\n" % len(body)
    head += b"Connection: close\r\n\r\n" if closes else b"\r\n"
    if head_only:
        return head
    return head + (body if sent is None else body[:sent])
