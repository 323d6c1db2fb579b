"""The Kubernetes API as typed verbs on plain JSON. The only module of the operator that imports the client.

Reads are retried a few times and then raise UnavailableError: "could not look". Writes are never retried here: the next
run looks again and decides. Every write passes a token bucket and is counted.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import load_kube_config
from kubernetes.aio.config.incluster_config import load_incluster_config

from soloist_operator.errors import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    TooManyRequestsError,
    UnavailableError,
)
from soloist_operator.kinds import FIELD_MANAGER, Kind
from soloist_operator.objects import Object

READ_ATTEMPTS = 3
READ_PAUSE_S = 0.2
REQUEST_TIMEOUT_S = 15.0
WRITES_PER_S = 50.0
PAGE_SIZE = 500

_UNKNOWN_FIELD = "field not declared in schema"
_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_JSON_PATCH = "application/json-patch+json"


class WriteCounter(Protocol):
    """Told of every write request, before it is sent."""

    def __call__(self, verb: str, kind: str) -> None:
        """`verb` is create, apply, update, patch or delete; `kind` the kind's plural."""


class TokenBucket:
    """Lets `rate_per_s` requests through per second, with a burst of as many."""

    def __init__(
        self,
        rate_per_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate_per_s = rate_per_s
        self._clock = clock
        self._sleep = sleep
        self._tokens = rate_per_s
        self._filled_at_s = clock()

    async def take(self) -> None:
        """Wait for one token."""
        now_s = self._clock()
        self._tokens = min(self._rate_per_s, self._tokens + (now_s - self._filled_at_s) * self._rate_per_s)
        self._filled_at_s = now_s
        self._tokens -= 1  # below zero: a debt that later callers wait behind
        if self._tokens < 0:
            await self._sleep(-self._tokens / self._rate_per_s)


class Cluster:
    """A connection to one API server. Make it with `connect`, use it as an async context manager."""

    def __init__(self, client: ApiClient, *, count_write: WriteCounter, bucket: TokenBucket) -> None:
        self._client = client
        self._count_write = count_write
        self._bucket = bucket

    @classmethod
    async def connect(cls, *, count_write: WriteCounter, kubeconfig: str | None = None) -> Cluster:
        """Connect as the pod's service account, or as a kubeconfig file says (for work outside a cluster)."""
        configuration = Configuration()
        if kubeconfig is None:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=kubeconfig, client_configuration=configuration
            )
        return cls(ApiClient(configuration), count_write=count_write, bucket=TokenBucket(WRITES_PER_S))

    async def __aenter__(self) -> Self:
        """The connection is opened by the first request."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    # ------------------------------------------------------------------------------------------ reads

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """One object, None when it does not exist. Raises ClusterError when we could not look."""
        try:
            return await self._read(kind.path(namespace, name), {})
        except NotFoundError:
            return None

    async def find(self, kind: Kind, namespace: str | None, label_selector: str = "") -> list[Object]:
        """All objects that match, following pages. Raises ClusterError when we could not look."""
        query = {"limit": str(PAGE_SIZE)}
        if label_selector:
            query["labelSelector"] = label_selector
        found: list[Object] = []
        while True:
            page = await self._read(kind.path(namespace), query)
            # Items of a list carry neither; everything else here expects objects as `get` returns them.
            type_meta = {"apiVersion": kind.api_version, "kind": kind.kind}
            found.extend({**type_meta, **item} for item in page.get("items") or [])
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                return found
            query["continue"] = following

    async def served(self, group: str, version: str) -> frozenset[str]:
        """Plurals of the kinds that the API server serves for a group; none when it does not know the group."""
        try:
            found = await self._read(f"/apis/{group}/{version}", {})
        except NotFoundError:
            return frozenset()
        return frozenset(str(resource["name"]) for resource in found.get("resources") or [])

    async def _read(self, path: str, query: dict[str, str]) -> Object:
        for attempt in range(1, READ_ATTEMPTS + 1):
            try:
                return await self._request("GET", path, query=query)
            except (UnavailableError, TooManyRequestsError):
                if attempt == READ_ATTEMPTS:
                    raise
                await asyncio.sleep(READ_PAUSE_S * attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    # ------------------------------------------------------------------------------------------ writes

    async def apply(self, kind: Kind, body: Object, subresource: str | None = None) -> Object:
        """Server-side apply as field manager `soloist`, taking fields back from whoever edited them."""
        metadata = body["metadata"]
        path = kind.path(metadata.get("namespace"), metadata["name"], subresource)
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._write("apply", kind, "PATCH", path, query=query, body=body, content_type=_APPLY)

    async def create(self, kind: Kind, body: Object) -> Object:
        """Create; ConflictError when the name is taken."""
        path = kind.path(body["metadata"].get("namespace"))
        query = {"fieldManager": FIELD_MANAGER}
        return await self._write("create", kind, "POST", path, query=query, body=body)

    async def replace(self, kind: Kind, body: Object) -> Object:
        """Compare-and-swap: the body carries the resourceVersion it was read with. ConflictError when that moved."""
        metadata = body["metadata"]
        assert metadata.get("resourceVersion"), "a replace without resourceVersion would overwrite blindly"
        path = kind.path(metadata.get("namespace"), metadata["name"])
        query = {"fieldManager": FIELD_MANAGER}
        return await self._write("update", kind, "PUT", path, query=query, body=body)

    async def json_patch(
        self, kind: Kind, namespace: str | None, name: str, operations: list[dict[str, Any]]
    ) -> Object:
        """JSON patch; the operations begin with the `test`s that guard it. ConflictError when one of them fails."""
        assert operations, "an empty patch"
        assert operations[0]["op"] == "test", "an unguarded patch"
        path = kind.path(namespace, name)
        query = {"fieldManager": FIELD_MANAGER}
        try:
            return await self._write(
                "patch", kind, "PATCH", path, query=query, body=operations, content_type=_JSON_PATCH
            )
        except InvalidError as error:  # the API server has no word of its own for a failed `test`
            raise ConflictError(str(error), error.status) from error

    async def delete(
        self, kind: Kind, target: Object, *, propagation: str = "Background", grace_s: int | None = None
    ) -> None:
        """Delete exactly the object that was read: its uid and resourceVersion are preconditions.

        `grace_s` None leaves a pod the grace period of its own spec.
        """
        metadata = target["metadata"]
        body: Object = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
            "preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
        }
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        await self._write(
            "delete", kind, "DELETE", kind.path(metadata.get("namespace"), metadata["name"]), body=body
        )

    async def _write(
        self,
        verb: str,
        kind: Kind,
        method: str,
        path: str,
        *,
        body: object,
        query: Mapping[str, str] | None = None,
        content_type: str = _JSON,
    ) -> Object:
        await self._bucket.take()
        self._count_write(verb, kind.plural)
        return await self._request(method, path, query=query or {}, body=body, content_type=content_type)

    # ------------------------------------------------------------------------------------------ transport

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        body: object | None = None,
        content_type: str = _JSON,
    ) -> Object:
        what = f"{method} {path}"
        try:
            method, url, headers, _, _ = await self._client.param_serialize(
                method,
                path,
                query_params=list(query.items()),
                header_params={"Accept": _JSON},
                auth_settings=["BearerToken"],
            )
            headers["Content-Type"] = content_type
            response = await self._client.call_api(
                method, url, header_params=headers, body=body, _request_timeout=REQUEST_TIMEOUT_S
            )
            data = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnavailableError(f"{what}: no answer from the API server: {error!r}") from error
        if response.status < 400:  # noqa: PLR2004 - HTTP's own border
            parsed: Object = json.loads(data)
            return parsed
        raise _error(what, response.status, data, response.headers.get("Retry-After"))


def _error(what: str, status: int, data: bytes, retry_after: str | None) -> ClusterError:
    try:
        message = f"{what}: {json.loads(data)['message']}"
    except (ValueError, KeyError, TypeError):
        message = f"{what}: HTTP {status}: {data[:200]!r}"
    if _UNKNOWN_FIELD in message:  # the API server calls it an internal error; it is the object that is wrong
        return InvalidError(message, status)
    match status:
        case 404:
            return NotFoundError(message, status)
        case 409:
            return ConflictError(message, status)
        case 400 | 422:
            return InvalidError(message, status)
        case 401 | 403:
            return ForbiddenError(message, status)
        case 429:
            delay_s = float(retry_after) if retry_after and retry_after.isdecimal() else 1.0
            return TooManyRequestsError(message, delay_s)
        case _:
            return UnavailableError(message, status)
