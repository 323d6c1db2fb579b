"""The only module that knows kopf: an event source, nothing else.

No change handlers, daemons, timers or returned values: so kopf writes no annotation and adds no finalizer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import kopf

from soloist_operator import kinds
from soloist_operator.kinds import Kind
from soloist_operator.service import Service

REQUEST_TIMEOUT_S = 15
INACTIVITY_TIMEOUT_S = 70
IDENTITY: Any = "soloist-operator"  # kopf's type for it is private

_Handler = Callable[..., Awaitable[None]]


def configure(settings: kopf.OperatorSettings) -> None:
    """Kopf's settings, each for a reason given in design/operator.md."""
    settings.persistence.finalizer = f"{kinds.GROUP}/unused-by-kopf"
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.networking.request_timeout = REQUEST_TIMEOUT_S
    settings.watching.inactivity_timeout = INACTIVITY_TIMEOUT_S
    for kind in kinds.CHILD_KINDS:
        settings.watching.label_selectors[_resource(kind)] = kinds.MANAGED_SELECTOR


def _resource(kind: Kind) -> str:
    return f"{kind.plural}.{kind.version}.{kind.group}" if kind.group else f"{kind.plural}.v1"


def _login(kubeconfig: str | None) -> Callable[..., Any]:
    def login(**arguments: Any) -> kopf.ConnectionInfo | None:
        return (
            kopf.login_with_kubeconfig(**arguments)
            if kubeconfig
            else kopf.login_with_service_account(**arguments)
        )

    return login


def _on_event(service: Service, kind: Kind) -> _Handler:
    async def noticed(event: Mapping[str, Any], **_: Any) -> None:
        await service.noticed(kind, dict(event["object"]), deleted=event["type"] == "DELETED")

    return noticed


def registry_for(service: Service, kubeconfig: str | None) -> kopf.OperatorRegistry:
    """Every handler, bound to one service."""
    registry = kopf.OperatorRegistry()

    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)
        await service.start()

    async def stop(**_: Any) -> None:
        await service.stop()

    async def well(**_: Any) -> str:
        trouble = service.trouble()
        if trouble is not None:
            raise kopf.PermanentError(trouble)
        return "well"

    kopf.on.login(registry=registry)(_login(kubeconfig))
    kopf.on.startup(registry=registry, errors=kopf.ErrorsMode.PERMANENT)(start)
    kopf.on.cleanup(registry=registry)(stop)
    kopf.on.probe(registry=registry, errors=kopf.ErrorsMode.PERMANENT, id="watch")(well)
    for kind in (kinds.TRADING_BOT, kinds.ACCOUNT_CLAIM, kinds.NODE, *kinds.CHILD_KINDS):
        kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=kind.plural)(
            _on_event(service, kind)
        )
    return registry


def run(
    service: Service, namespaces: tuple[str, ...], *, kubeconfig: str | None, probe_port: int | None
) -> None:
    """Run until a signal ends it."""
    endpoint = None if probe_port is None else f"http://0.0.0.0:{probe_port}/healthz"
    asyncio.run(
        kopf.operator(
            registry=registry_for(service, kubeconfig),
            namespaces=namespaces,
            standalone=True,
            # Kopf's default asks the system for a user name, and uid 10001 of the image has none.
            identity=IDENTITY,
            liveness_endpoint=endpoint,
        )
    )
