"""The engine's Lease (docs/interfaces.md "Lease"): the heartbeat, and the operator's word.

Plain HTTP with the mounted token, which is read again for each call because the kubelet replaces it. What is answered to
a renewal is the whole object, so one request both renews and reads; between renewals a read brings the operator's word.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx

from soloist_trader.errors import ConfigurationError
from soloist_trader.shell.clock import monotonic_ms

RENEW_S: Final = 5.0
DURATION_S: Final = 15
REQUEST_S: Final = 4.0
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PREFIX: Final = "soloist.trade/"


@dataclass(frozen=True, slots=True)
class Word:
    """What the operator wrote into the Lease. `epoch` 0 and empty texts: not written yet.

    `report` is the engine's own annotation, an earlier engine's before the first renewal; it is no part of the word.
    """

    epoch: int
    desired_state: str
    admitted_pod_uid: str
    report: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class LeaseAddress:
    """Where the Lease is, and with which credentials."""

    base_url: str
    namespace: str
    name: str
    token_file: Path
    ca_file: Path | None

    @classmethod
    def in_cluster(cls, lease: str) -> LeaseAddress:
        """From `NAMESPACE/NAME` and the pod's environment. Raises ConfigurationError."""
        namespace, _, name = lease.partition("/")
        host, port = (
            os.environ.get("KUBERNETES_SERVICE_HOST"),
            os.environ.get("KUBERNETES_SERVICE_PORT", "443"),
        )
        if not namespace or not name:
            raise ConfigurationError([("--lease", f"{lease!r} is not NAMESPACE/NAME")])
        if not host:
            raise ConfigurationError(
                [("--lease", "KUBERNETES_SERVICE_HOST is not set; outside a cluster, run without --lease")]
            )
        shown = f"[{host}]" if ":" in host else host
        return cls(f"https://{shown}:{port}", namespace, name, _ACCOUNT / "token", _ACCOUNT / "ca.crt")


class LeaseClient:
    """Renews and reads one Lease."""

    def __init__(self, address: LeaseAddress, holder: str) -> None:
        self._address = address
        self._holder = holder
        self._client: httpx.AsyncClient | None = None
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{address.namespace}/leases/{address.name}"

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            ca_file = self._address.ca_file
            verify: Any = str(ca_file) if ca_file is not None else True
            self._client = httpx.AsyncClient(
                base_url=self._address.base_url, verify=verify, timeout=REQUEST_S, trust_env=False
            )
        return self._client

    async def _call(self, method: str, body: dict[str, Any] | None) -> Word:
        headers = {"Authorization": f"Bearer {self._address.token_file.read_text(encoding='utf-8').strip()}"}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json"
        reply = await self._http().request(
            method, self._path, headers=headers, content=json.dumps(body) if body is not None else None
        )
        reply.raise_for_status()
        annotations = reply.json().get("metadata", {}).get("annotations") or {}
        epoch = annotations.get(f"{_PREFIX}epoch", "0")
        return Word(
            int(epoch) if str(epoch).isdigit() else 0,
            annotations.get(f"{_PREFIX}desired-state", ""),
            annotations.get(f"{_PREFIX}admitted-pod-uid", ""),
            annotations.get(f"{_PREFIX}engine", ""),
        )

    async def renew(self, report: dict[str, Any]) -> Word:
        """Write the heartbeat and the report; return the operator's word. Raises httpx.HTTPError, OSError, ValueError."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # noqa: TID251 a MicroTime, read by others only
        return await self._call(
            "PATCH",
            {
                "metadata": {"annotations": {f"{_PREFIX}engine": json.dumps(report, separators=(",", ":"))}},
                "spec": {
                    "holderIdentity": self._holder,
                    "renewTime": now,
                    "leaseDurationSeconds": DURATION_S,
                },
            },
        )

    async def read(self) -> Word:
        """The operator's word alone."""
        return await self._call("GET", None)

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.aclose()


class LeaseKeeper:
    """Keeps the Lease renewed and hands on what it learns.

    `on_word(word)` after every successful call; `on_silence(why)` after each failure once the Lease is older than its
    duration. `age_ms` is None before the first renewal. `clock_ms` never goes back.
    """

    def __init__(
        self,
        client: LeaseClient,
        report: Callable[[], dict[str, Any]],
        on_word: Callable[[Word], None],
        on_silence: Callable[[str], None],
        clock_ms: Callable[[], int] = monotonic_ms,
    ) -> None:
        self._clock_ms = clock_ms
        self._client = client
        self._report = report
        self._on_word = on_word
        self._on_silence = on_silence
        self._renewed_ms: int | None = None
        self._started_ms = clock_ms()
        self._soon = asyncio.Event()
        self.failures = 0

    @property
    def age_ms(self) -> int | None:
        """Time since the last successful renewal."""
        return None if self._renewed_ms is None else self._clock_ms() - self._renewed_ms

    def hurry(self) -> None:
        """Renew now: the report changed in a way that somebody waits for."""
        self._soon.set()

    async def run(self) -> None:
        """Read what an earlier engine left, then renew every 5 s and read in the middle, until cancelled."""
        while not await self._once(renewing=False):  # noqa: ASYNC110 the API server tells no event
            await asyncio.sleep(RENEW_S / 10)
        renewing = True
        while True:
            await self._once(renewing=renewing)
            renewing = not renewing
            try:
                async with asyncio.timeout(RENEW_S / 2):
                    await self._soon.wait()
                self._soon.clear()
                renewing = True
            except TimeoutError:
                continue

    @property
    def held(self) -> bool:
        """Whether a renewal succeeded within the Lease's duration; that it can be read says nothing about that."""
        return self._renewed_ms is not None and self._clock_ms() - self._renewed_ms <= DURATION_S * 1000

    async def _once(self, *, renewing: bool) -> bool:
        try:
            word = await (self._client.renew(self._report()) if renewing else self._client.read())
        except (httpx.HTTPError, OSError, ValueError) as error:
            self.failures += 1
            since_ms = self._renewed_ms if self._renewed_ms is not None else self._started_ms
            if self._clock_ms() - since_ms > DURATION_S * 1000:
                self._on_silence(f"{type(error).__name__}: {error}")
            return False
        if renewing:
            self._renewed_ms = self._clock_ms()
        self._on_word(word)
        return True

    async def farewell(self) -> None:
        """A last report at an orderly stop; a failure changes nothing any more."""
        await self._once(renewing=True)
        await self._client.close()
