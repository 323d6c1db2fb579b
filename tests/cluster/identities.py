"""The API server as one identity sees it: plain requests with a real token of a service account."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.cluster.chart import api_server

MERGE = "application/merge-patch+json"
REQUEST_S = 30


class Caller:
    """Requests with one token; `impersonating` is a user name that an administrator takes on."""

    def __init__(self, http: httpx.Client, token: str, impersonating: str | None = None) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"}
        if impersonating is not None:
            self._headers["Impersonate-User"] = impersonating
        self._token = token

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        dry_run: bool = False,
    ) -> httpx.Response:
        """One request. A dry run passes authorization and admission like any other, and then nothing is stored."""
        return self._http.request(
            method,
            path,
            content=None if body is None else json.dumps(body),
            headers={**self._headers, "Content-Type": content_type},
            params={"dryRun": "All"} if dry_run else None,
        )

    def do(self, method: str, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        """A request that has to succeed; returns the object."""
        reply = self.send(method, path, body, **options)
        assert reply.is_success, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json()

    def as_user(self, name: str) -> Caller:
        """The same administrator, taking on another user."""
        return Caller(self._http, self._token, name)

    def token_of(self, namespace: str, account: str, pod: dict[str, Any] | None = None) -> str:
        """A real token of a service account; with a pod, the one that its kubelet would ask for."""
        spec: dict[str, Any] = {"expirationSeconds": 3600}
        if pod is not None:
            metadata = pod["metadata"]
            spec["boundObjectRef"] = {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "uid": metadata["uid"],
            }
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        return str(self.do("POST", path, body)["status"]["token"])

    def acting_as(self, namespace: str, account: str, pod: dict[str, Any] | None = None) -> Caller:
        """A caller with such a token."""
        return Caller(self._http, self.token_of(namespace, account, pod))


@contextmanager
def administrator(cluster: Any, namespace: str) -> Iterator[Caller]:
    """A person with every right (cluster-admin), by a service account in `namespace`; the right goes when the block ends."""
    account = "person"
    binding = f"{namespace}-{account}"
    cluster.kubectl("-n", namespace, "create", "serviceaccount", account)
    cluster.kubectl(
        "create", "clusterrolebinding", binding, "--clusterrole=cluster-admin", f"--serviceaccount={namespace}:{account}",
    )  # fmt: skip
    url, authority = api_server(cluster)
    token = cluster.kubectl("-n", namespace, "create", "token", account).strip()
    try:
        with httpx.Client(
            base_url=url,
            verify=ssl.create_default_context(cadata=authority),
            timeout=REQUEST_S,
            trust_env=False,
        ) as http:
            yield Caller(http, token)
    finally:
        cluster.kubectl("delete", "clusterrolebinding", binding)
