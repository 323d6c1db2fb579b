"""The Kubernetes API as the fence may use it: five requests with the pod's own token, nothing else.

    get AccountClaim · create, patch and delete its epoch Secrets (never get or list) · get the engine's Lease

Plain HTTP requests instead of a client library: the role of the fence's service account is this page long.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from soloist_fence.api import REVOKE_KEY_IDS_ANNOTATION, EpochSecret, Reason, Slot, claim_hash
from soloist_fence.commands import ClaimView, LeaseView, OrderGroup
from soloist_fence.errors import FenceError, NoAnswerError, NoConnectionError

GROUP_VERSION = "soloist.trade/v1alpha1"
ADMITTED_POD_UID = "soloist.trade/admitted-pod-uid"
ENGINE_REPORT = "soloist.trade/engine"

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_REQUEST_TIMEOUT_S = 10.0
_READ_WAITS_S = (0.25, 1.0, 2.0)
_NOT_FOUND = 404
_CONFLICT = 409
_UNPROCESSABLE = 422
_TOO_MANY = 429
_SERVER_ERROR = 500
_OK_END = 300


@dataclass(frozen=True)
class Connection:
    """Where the API server is and who we are."""

    url: str
    token: str = field(repr=False)
    ca_file: str

    @staticmethod
    def in_cluster() -> Connection:
        """The connection that every pod has. Raises FenceError outside of a pod."""
        try:
            host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
            token = (_SERVICE_ACCOUNT / "token").read_text(encoding="utf-8").strip()
        except (KeyError, OSError) as error:
            raise FenceError(
                Reason.CLUSTER_UNREACHABLE,
                f"this does not run in a pod with a service account token: {error}",
            ) from error
        bracketed = f"[{host}]" if ":" in host else host
        return Connection(f"https://{bracketed}:{port}", token, str(_SERVICE_ACCOUNT / "ca.crt"))


class Cluster:
    """The namespace of one bot. Use as `async with`."""

    def __init__(self, connection: Connection, *, namespace: str, bot: str, claim: str) -> None:
        self._namespace = namespace
        self._bot = bot
        self._claim = claim
        self._http = httpx.AsyncClient(
            base_url=connection.url,
            headers={"Authorization": f"Bearer {connection.token}"},
            verify=ssl.create_default_context(cafile=connection.ca_file),
            timeout=_REQUEST_TIMEOUT_S,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def read_claim(self) -> ClaimView:
        """The AccountClaim, live from the API server."""
        reply = await self._read(f"/apis/{GROUP_VERSION}/accountclaims/{self._claim}")
        if reply is None:
            raise FenceError(
                Reason.CLAIM_MOVED,
                f"AccountClaim {self._claim} does not exist: nobody opened this attempt; nothing to do",
            )
        return claim_view(reply)

    async def read_lease(self) -> LeaseView | None:
        """The Lease of the engine's pod; None when it is missing, or not (or not legibly) written by an engine yet."""
        lease = await self._read(
            f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases/{self._bot}-0"
        )
        if lease is None:
            return None
        annotations = lease["metadata"].get("annotations") or {}
        try:
            report = json.loads(annotations.get(ENGINE_REPORT, ""))
            return LeaseView(
                renewed_at=str(lease["spec"]["renewTime"]),
                admitted_pod_uid=annotations.get(ADMITTED_POD_UID, ""),
                epoch=int(report["epoch"]),
                pod_uid=str(report["podUid"]),
                key_id=_key_in_use(report),
            )
        except (ValueError, KeyError, TypeError):
            return None

    async def create_secret(self, name: str, content: EpochSecret, holder_uid: str | None) -> None:
        """Create an epoch Secret, owned by the TradingBot. Raises SecretExists; NoAnswerError when it may be there."""
        metadata: dict[str, Any] = {
            "name": name,
            "labels": {
                "app.kubernetes.io/managed-by": "soloist",
                "app.kubernetes.io/name": "soloist-trader",
                "app.kubernetes.io/instance": self._bot,
                "soloist.trade/bot": self._bot,
                "soloist.trade/component": "fence",
            },
            "annotations": {"soloist.trade/claim-hash": claim_hash(self._claim)},
        }
        if holder_uid is not None:
            metadata["ownerReferences"] = [
                {"apiVersion": GROUP_VERSION, "kind": "TradingBot", "name": self._bot, "uid": holder_uid}
            ]
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": metadata,
            "stringData": content.data(),
        }
        reply = await self._send("POST", f"/api/v1/namespaces/{self._namespace}/secrets", body)
        if reply.status_code == _CONFLICT:
            raise FenceError(
                Reason.SECRET_EXISTS,
                f"Secret {self._namespace}/{name} exists already, and its name may never come back: was the namespace restored "
                "from a backup? Delete that Secret; the next attempt uses another name",
            )
        _accepted(reply, f"creating Secret {name}")

    async def patch_secret(
        self, name: str, expected_generation: int, new_generation: int, add: Slot | None, remove: int | None
    ) -> None:
        """Change an epoch Secret under a test of its generation. Raises SecretMoved when it is not what was expected."""
        patch: list[dict[str, str]] = [
            {"op": "test", "path": "/data/generation", "value": _encoded(str(expected_generation))},
            {"op": "replace", "path": "/data/generation", "value": _encoded(str(new_generation))},
        ]
        if add is not None:
            patch += [
                {"op": "add", "path": f"/data/{entry}", "value": _encoded(text)}
                for entry, text in add.data().items()
            ]
        if remove is not None:
            patch += [{"op": "remove", "path": f"/data/{entry}"} for entry in Slot(remove, "", "").data()]
        path = f"/api/v1/namespaces/{self._namespace}/secrets/{name}"
        reply = await self._send("PATCH", path, patch, content_type="application/json-patch+json")
        if reply.status_code in {_NOT_FOUND, _CONFLICT, _UNPROCESSABLE}:
            raise FenceError(
                Reason.SECRET_MOVED,
                f"Secret {self._namespace}/{name} is no longer at generation {expected_generation}: another rotation or a takeover "
                "went first; this one stops",
            )
        _accepted(reply, f"changing Secret {name}")

    async def delete_secret(self, name: str) -> bool:
        """Delete an epoch Secret; True when it was there."""
        reply = await self._send("DELETE", f"/api/v1/namespaces/{self._namespace}/secrets/{name}", None)
        if reply.status_code == _NOT_FOUND:
            return False
        _accepted(reply, f"deleting Secret {name}")
        return True

    async def _read(self, path: str) -> dict[str, Any] | None:
        """GET one object, repeated when no answer comes; None when it does not exist."""
        for wait_s in (*_READ_WAITS_S, None):
            try:
                reply = await self._send("GET", path, None)
                if reply.status_code == _NOT_FOUND:
                    return None
                _accepted(reply, f"reading {path}")
            except NoAnswerError:
                if wait_s is None:
                    raise
                await asyncio.sleep(wait_s)
            else:
                document: dict[str, Any] = reply.json()
                return document
        raise AssertionError("the last round returns or raises")

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | list[dict[str, str]] | None,
        content_type: str = "application/json",
    ) -> httpx.Response:
        try:
            return await self._http.request(
                method,
                path,
                content=None if body is None else json.dumps(body),
                headers={"Content-Type": content_type},
            )
        except httpx.HTTPError as error:
            raise NoConnectionError(
                Reason.CLUSTER_UNREACHABLE,
                f"{method} {path}: no answer from the API server ({type(error).__name__}: {error}); check the NetworkPolicy's egress",
            ) from error


def _accepted(reply: httpx.Response, doing: str) -> None:
    """Return when the API server did it. Raises NoAnswerError when it may have, FenceError when it refused."""
    if reply.status_code < _OK_END:
        return
    text = f"{doing}: the API server answered {reply.status_code} {_said(reply)}"
    if reply.status_code >= _SERVER_ERROR or reply.status_code == _TOO_MANY:
        raise NoAnswerError(Reason.CLUSTER_UNREACHABLE, text)
    raise FenceError(
        Reason.CLUSTER_UNREACHABLE,
        f"{text}. Is the Role soloist-fence of the chart installed in this namespace?",
    )


def _said(reply: httpx.Response) -> str:
    try:
        return str(reply.json()["message"])
    except (ValueError, KeyError, TypeError):
        return reply.text[:200]


def _key_in_use(report: Mapping[str, Any]) -> str:
    """The key that engine and watchdog sign with; empty while they differ, or while the watchdog is silent.

    The watchdog cancels what a hung engine left, so a rotation counts as confirmed only when it could still do that.
    """
    key_id = str(report["keyId"])
    watchdog = report.get("watchdog")
    return key_id if watchdog is None or watchdog.get("keyId") == key_id else ""


def claim_view(document: Mapping[str, Any]) -> ClaimView:
    """What the fence reads of an AccountClaim (the list of it is in `api`)."""
    spec, status = document.get("spec") or {}, document.get("status") or {}
    annotations = document["metadata"].get("annotations") or {}
    nonces = status.get("nonces") or []
    nonce = str(status.get("nonce") or "")
    named = re.split(r"[\s,]+", annotations.get(REVOKE_KEY_IDS_ANNOTATION, ""))
    return ClaimView(
        epoch=int(status.get("epoch") or 0),
        nonce=nonce,
        nonces=frozenset(str(known) for known in (*nonces, nonce) if known),
        phase=str(status.get("phase") or ""),
        key_id=status.get("keyId") or None,
        secret_name=status.get("secretName") or None,
        holder_uid=(spec.get("holder") or {}).get("uid") or None,
        identity=spec.get("accountIdentity") or None,
        since_ms=_unix_ms(status.get("since")),
        order_groups=tuple(
            OrderGroup(int(group["epoch"]), str(group["id"])) for group in status.get("orderGroups") or []
        ),
        acknowledged_key_ids=frozenset(map(str, status.get("acknowledgedKeyIds") or [])),
        revoke_key_ids=frozenset(key_id for key_id in named if key_id),
    )


def _unix_ms(text: str | None) -> int | None:
    """Unix ms of a time as Kubernetes writes it; None for none."""
    return None if not text else int(datetime.fromisoformat(text).timestamp() * 1000)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
