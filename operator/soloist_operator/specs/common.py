"""What every child has in common: names, labels, the owner, and the security context of the `restricted` profile."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from soloist_operator.kinds import LABEL_BOT, LABEL_COMPONENT, LABEL_MANAGED_BY, TRADING_BOT, Kind
from soloist_operator.objects import Object

USER_ID = 10001
CONFIG_DIR = "/etc/soloist"
CONFIG_KEY = "config.yaml"
CONFIG_FILE = f"{CONFIG_DIR}/{CONFIG_KEY}"
CA_FILE = f"{CONFIG_DIR}/venue-ca.pem"
KEYS_DIR = "/var/run/soloist/keys"
SECRET_DIR = "/var/run/soloist/secret"  # noqa: S105 - a directory, not a password
MANAGEMENT_KEY_DIR = "/var/run/soloist/management-key"
STATE_DIR = "/var/lib/soloist"
WATCH_DIR = "/var/run/soloist/watch"


class Component(enum.StrEnum):
    """Value of the label `soloist.trade/component`."""

    ENGINE = "engine"
    FENCE = "fence"
    CHECK = "check"
    IDENTIFY = "identify"
    AUDIT = "audit"
    ROTATION = "rotation"


@dataclass(frozen=True)
class BotRef:
    """Whose children these are."""

    namespace: str
    name: str
    uid: str

    @property
    def pod(self) -> str:
        """Name of the engine pod and of its Lease."""
        return f"{self.name}-0"

    def volume_claim(self, generation: int) -> str:
        """Name of one generation of the state volume claim; the first is 0."""
        return f"{self.name}-state-{generation}"

    def volume_generation(self, claim: str) -> int | None:
        """Which generation a volume claim is, None when it is none of this bot's."""
        number = claim.removeprefix(f"{self.name}-state-")
        return int(number) if number != claim and number.isdecimal() else None

    @property
    def rotation(self) -> str:
        """Name of the key-rotation CronJob."""
        return f"{self.name}-key-rotation"

    @property
    def identify(self) -> str:
        """Name of the Job that asks which account it is."""
        return f"{self.name}-identify"

    @property
    def audit(self) -> str:
        """Name of the CronJob that audits the account."""
        return f"{self.name}-audit"

    def reap(self, epoch: int) -> str:
        """Name of the Job that deletes stale keys which an audit found."""
        return f"{self.name}-reap-e{epoch}"

    def config(self, config_hash: str) -> str:
        """Name of the ConfigMap of one configuration."""
        return f"{self.name}-config-{config_hash}"

    def check(self, check_hash: str) -> str:
        """Name of the pre-flight Job of one configuration and image."""
        return f"{self.name}-check-{check_hash}"

    def fence(self, epoch: int) -> str:
        """Name of the Job of one takeover attempt."""
        return f"{self.name}-fence-e{epoch}"

    def release(self, epoch: int) -> str:
        """Name of the Job that revokes the keys when the bot is deleted."""
        return f"{self.name}-release-e{epoch}"


def labels(bot: BotRef, component: Component) -> dict[str, str]:
    """The labels of a child."""
    return {
        LABEL_MANAGED_BY: "soloist",
        "app.kubernetes.io/name": "soloist-trader",
        "app.kubernetes.io/instance": bot.name,
        LABEL_BOT: bot.name,
        LABEL_COMPONENT: component.value,
    }


def owner(bot: BotRef) -> Object:
    """The owner reference by which a child disappears with its bot."""
    return {
        "apiVersion": TRADING_BOT.api_version,
        "kind": TRADING_BOT.kind,
        "name": bot.name,
        "uid": bot.uid,
        "controller": True,
    }


def child(
    kind: Kind,
    bot: BotRef,
    name: str,
    component: Component = Component.ENGINE,
    *,
    annotations: Mapping[str, str] | None = None,
    owned: bool = True,
    **parts: Any,
) -> Object:
    """An object of a kind with the metadata of a child; `parts` are spec, data and the like."""
    metadata: Object = {"name": name, "namespace": bot.namespace, "labels": labels(bot, component)}
    if annotations:
        metadata["annotations"] = dict(annotations)
    if owned:
        metadata["ownerReferences"] = [owner(bot)]
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **parts}


def engine_selector(bot: BotRef) -> dict[str, str]:
    """Labels that only the engine pod of this bot has."""
    return {LABEL_BOT: bot.name, LABEL_COMPONENT: Component.ENGINE.value}


def pod_security() -> Object:
    """Pod-level part of the `restricted` profile."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "fsGroup": USER_ID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Object:
    """Container-level part of the `restricted` profile."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def memory_volume(name: str, size: str) -> Object:
    """A volume that never touches a disk."""
    return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": size}}


def secret_volume(name: str, secret: str) -> Object:
    """A Secret as files. Optional, so that a missing one is reported by our code instead of a pod that hangs.

    Mode 0440: the files belong to root and to fsGroup, whatever we ask for (kubernetes #57923).
    """
    return {"name": name, "secret": {"secretName": secret, "optional": True, "defaultMode": 0o440}}


def config_volume(name: str) -> Object:
    """The rendered configuration as files."""
    return {"name": "config", "configMap": {"name": name, "defaultMode": 0o444}}


def mount(volume: str, path: str, *, read_only: bool = True) -> Object:
    """A volume in a container."""
    found: Object = {"name": volume, "mountPath": path}
    return {**found, "readOnly": True} if read_only else found
