"""The engine: StatefulSet of one pod, its state volume, Service, disruption budget and Lease."""

from __future__ import annotations

from dataclasses import dataclass

from soloist_operator.api.tradingbot import DisruptionPolicy, State, TradingBotSpec
from soloist_operator.kinds import (
    DISRUPTION_BUDGET,
    FENCE_FINALIZER,
    GROUP,
    LEASE,
    SERVICE,
    STATEFUL_SET,
    VOLUME_CLAIM,
)
from soloist_operator.objects import Object, annotation, dig
from soloist_operator.specs.common import (
    CONFIG_DIR,
    CONFIG_FILE,
    KEYS_DIR,
    SECRET_DIR,
    STATE_DIR,
    WATCH_DIR,
    BotRef,
    Component,
    child,
    config_volume,
    container_security,
    engine_selector,
    labels,
    memory_volume,
    mount,
    pod_security,
    secret_volume,
)
from soloist_operator.specs.configuration import Configuration
from soloist_operator.specs.image import ResolvedImage

HTTP_PORT = 8080
WATCHDOG_PORT = 8081
STOP_BUDGET_S = 30
"""Longer than the engine needs to cancel, verify and flush."""
STARTUP_BUDGET_S = 120

ENVIRONMENT_IMAGE = "SOLOIST_IMAGE"
ENVIRONMENT_APPROVED = "SOLOIST_APPROVED_CONFIGURATION_SHA256"
ANNOTATION_CONFIG = f"{GROUP}/config-hash"
ANNOTATION_EPOCH = f"{GROUP}/epoch"
ANNOTATION_STATE = f"{GROUP}/desired-state"
ANNOTATION_ADMITTED = f"{GROUP}/admitted-pod-uid"
ANNOTATION_ENGINE = f"{GROUP}/engine"
ANNOTATION_VALID = f"{GROUP}/checked"
ANNOTATION_AVOIDS = f"{GROUP}/avoids-nodes"

_TOKEN_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a directory
_PROGRAM = "soloist-trader"
_SMALL = {"requests": {"cpu": "10m", "memory": "48Mi"}, "limits": {"memory": "192Mi"}}
_ENGINE = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


@dataclass(frozen=True)
class Arming:
    """Under which epoch, and with which Secret, the engine trades. Paper has none."""

    epoch: int
    secret_name: str


@dataclass(frozen=True)
class Lodging:
    """Where the engine's pod lives: its state volume's generation, and nodes that it is not scheduled to.

    A lost node is Ready for the scheduler for almost a minute; a pod that is bound to it in that time is lost, too.
    """

    volume: int = 0
    avoid: tuple[str, ...] = ()


HOME = Lodging()
"""The first volume, on any node."""


def stateful_set(
    bot: BotRef,
    spec: TradingBotSpec,
    *,
    image: ResolvedImage,
    service_account: str,
    configuration: Configuration,
    arming: Arming | None,
    lodging: Lodging = HOME,
) -> Object:
    """One engine or none. `OnDelete`: only the operator replaces the pod, and only after proof of death."""
    annotations = {**(spec.pod_annotations or {}), ANNOTATION_CONFIG: configuration.config_hash}
    if arming is not None:
        annotations[ANNOTATION_EPOCH] = str(arming.epoch)
    template = {
        "metadata": {
            "labels": labels(bot, Component.ENGINE),
            "annotations": annotations,
            "finalizers": [FENCE_FINALIZER],
        },
        "spec": _pod_spec(bot, spec, image, service_account, configuration, arming, lodging),
    }
    return child(
        STATEFUL_SET,
        bot,
        bot.name,
        annotations={ANNOTATION_VALID: configuration.validity_hash, **_avoids(lodging)},
        spec={
            "replicas": 0 if spec.state is State.STOPPED else 1,
            "serviceName": bot.name,
            "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": engine_selector(bot)},
            "template": template,
        },
    )


def _pod_spec(
    bot: BotRef,
    spec: TradingBotSpec,
    image: ResolvedImage,
    service_account: str,
    configuration: Configuration,
    arming: Arming | None,
    lodging: Lodging,
) -> Object:
    volumes = [
        config_volume(bot.config(configuration.config_hash)),
        {"name": "state", "persistentVolumeClaim": {"claimName": bot.volume_claim(lodging.volume)}},
        _token_volume(),
        memory_volume("tmp", "32Mi"),
        memory_volume("keys", "1Mi"),
    ]
    pod: Object = {
        "serviceAccountName": service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": STOP_BUDGET_S,
        "securityContext": pod_security(),
    }
    if arming is not None:
        volumes += [secret_volume("epoch-key", arming.secret_name), memory_volume("watch", "4Mi")]
        # The watchdog ends the engine's process, and nobody else's: it has to see it.
        pod["shareProcessNamespace"] = True
        pod["initContainers"] = [_keys_container(image), _watchdog_container(image)]
    engine = _engine_container(spec, image, configuration)
    if arming is not None:
        engine["volumeMounts"].append(mount("watch", WATCH_DIR, read_only=False))
    pod |= {"containers": [engine], "volumes": volumes}
    if spec.node_selector:
        pod["nodeSelector"] = dict(spec.node_selector)
    if spec.tolerations:
        pod["tolerations"] = [
            t.model_dump(mode="json", by_alias=True, exclude_none=True) for t in spec.tolerations
        ]
    affinity = avoiding(spec.affinity or {}, lodging.avoid)
    if affinity:
        pod["affinity"] = affinity
    if spec.priority_class_name:
        pod["priorityClassName"] = spec.priority_class_name
    return pod


def _token_volume() -> Object:
    """The API token and CA at the usual place, in the engine container only."""
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    return {"name": "api-access", "projected": {"defaultMode": 0o440, "sources": sources}}


def _container(
    name: str, image: ResolvedImage, args: list[str], mounts: list[Object], resources: Object
) -> Object:
    return {
        "name": name,
        "image": image.reference,
        "imagePullPolicy": image.pull_policy,
        "command": [_PROGRAM],
        "args": args,
        "securityContext": container_security(),
        "resources": resources,
        "terminationMessagePolicy": "File",
        "volumeMounts": [mount("tmp", "/tmp", read_only=False), *mounts],  # noqa: S108 - inside the pod
    }


def _keys_container(image: ResolvedImage) -> Object:
    mounts = [mount("epoch-key", SECRET_DIR), mount("keys", KEYS_DIR, read_only=False)]
    return _container("keys", image, ["keys", "--from", SECRET_DIR, "--to", KEYS_DIR], mounts, _SMALL)


def _watchdog_container(image: ResolvedImage) -> Object:
    mounts = [
        mount("epoch-key", SECRET_DIR),
        mount("keys", KEYS_DIR, read_only=False),
        mount("config", CONFIG_DIR),
        mount("state", STATE_DIR, read_only=False),
        mount("watch", WATCH_DIR, read_only=False),
    ]
    args = ["watchdog", "--config", CONFIG_FILE, "--from", SECRET_DIR, "--to", KEYS_DIR]
    return {
        **_container("watchdog", image, args, mounts, _SMALL),
        "restartPolicy": "Always",
        "ports": [{"name": "watchdog", "containerPort": WATCHDOG_PORT, "protocol": "TCP"}],
        # Nobody watches the watchdog but the kubelet; what it was doing goes on after its restart.
        "livenessProbe": {
            "httpGet": {"path": "/health", "port": "watchdog"},
            "periodSeconds": 10,
            "timeoutSeconds": 3,
            "failureThreshold": 3,
            "terminationGracePeriodSeconds": 2,
        },
    }


def _engine_container(spec: TradingBotSpec, image: ResolvedImage, configuration: Configuration) -> Object:
    mounts = [
        mount("config", CONFIG_DIR),
        mount("state", STATE_DIR, read_only=False),
        mount("keys", KEYS_DIR),
        mount("api-access", _TOKEN_DIR),
    ]
    resources = _ENGINE
    if spec.resources is not None:
        resources = spec.resources.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {
        **_container("engine", image, ["run", "--config", CONFIG_FILE], mounts, resources),
        "env": _environment(image, configuration),
        "ports": [{"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"}],
        "startupProbe": {**_probe("/startup", period_s=1), "failureThreshold": STARTUP_BUDGET_S},
        "readinessProbe": {**_probe("/ready", period_s=5), "failureThreshold": 2},
        # A hung loop cannot use a grace period; every second of it is a second of a mute engine.
        "livenessProbe": {
            **_probe("/health", period_s=5),
            "failureThreshold": 3,
            "terminationGracePeriodSeconds": 2,
        },
    }


def _environment(image: ResolvedImage, configuration: Configuration) -> list[Object]:
    """Who the engine is, what it runs from, and the only configuration that it may start with.

    Both of the latter say again what the template says anyway, by its image and its ConfigMap: it changes with those alone.
    """
    own = [
        {"name": variable, "valueFrom": {"fieldRef": {"fieldPath": path}}}
        for variable, path in (
            ("POD_NAME", "metadata.name"),
            ("POD_NAMESPACE", "metadata.namespace"),
            ("POD_UID", "metadata.uid"),
        )
    ]
    return [
        *own,
        {"name": ENVIRONMENT_IMAGE, "value": image.reference},
        {"name": ENVIRONMENT_APPROVED, "value": configuration.approved_sha256},
    ]


def _probe(path: str, *, period_s: int) -> Object:
    return {"httpGet": {"path": path, "port": "http"}, "periodSeconds": period_s, "timeoutSeconds": 3}


def _avoids(lodging: Lodging) -> dict[str, str]:
    return {ANNOTATION_AVOIDS: ",".join(lodging.avoid)} if lodging.avoid else {}


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def avoiding(affinity: Object, nodes: tuple[str, ...]) -> Object:
    """An affinity that, whatever else it asks for, keeps off these nodes."""
    if not nodes:
        return affinity
    keep_off = {"key": "metadata.name", "operator": "NotIn", "values": list(nodes)}
    by_node: Object = affinity.get("nodeAffinity") or {}
    terms: list[Object] = (by_node.get(_REQUIRED) or {}).get("nodeSelectorTerms") or [
        {}
    ]  # any one of them suffices
    narrowed = [{**term, "matchFields": [*(term.get("matchFields") or []), keep_off]} for term in terms]
    return {**affinity, "nodeAffinity": {**by_node, _REQUIRED: {"nodeSelectorTerms": narrowed}}}


def avoided_nodes(stateful_set: Object | None) -> tuple[str, ...]:
    """The nodes that a StatefulSet of ours keeps off."""
    return tuple(filter(None, (annotation(stateful_set, ANNOTATION_AVOIDS) or "").split(",")))


def epoch_secret(pod_spec: Object) -> str | None:
    """Name of the Secret whose key a pod gets."""
    volumes: list[Object] = pod_spec.get("volumes") or []
    return next((dig(v, "secret", "secretName") for v in volumes if v.get("name") == "epoch-key"), None)


def state_claim(pod_spec: Object) -> str | None:
    """Name of the state volume claim that a pod mounts."""
    volumes: list[Object] = pod_spec.get("volumes") or []
    return next(
        (dig(v, "persistentVolumeClaim", "claimName") for v in volumes if v.get("name") == "state"), None
    )


def volume_claim(bot: BotRef, spec: TradingBotSpec, generation: int = 0) -> Object:
    """The state volume. Ours, not the StatefulSet's, so that a takeover can start on a fresh one and keep the old."""
    storage: Object = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": spec.storage.size}},
    }
    if spec.storage.storage_class_name is not None:
        storage["storageClassName"] = spec.storage.storage_class_name
    return child(VOLUME_CLAIM, bot, bot.volume_claim(generation), owned=not spec.storage.retain, spec=storage)


def service(bot: BotRef) -> Object:
    """The headless Service that a StatefulSet needs, and by which metrics are found."""
    return child(
        SERVICE,
        bot,
        bot.name,
        spec={
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": engine_selector(bot),
            "ports": [{"name": "http", "port": HTTP_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    )


def disruption_budget(bot: BotRef, spec: TradingBotSpec) -> Object:
    """What an eviction may do: nothing, or end the pod in order."""
    allowed = 1 if spec.disruption.policy is DisruptionPolicy.ALLOW else 0
    return child(
        DISRUPTION_BUDGET,
        bot,
        bot.name,
        spec={"maxUnavailable": allowed, "selector": {"matchLabels": engine_selector(bot)}},
    )


def lease(
    bot: BotRef,
    *,
    epoch: int | None,
    desired_state: str,
    admitted_pod_uid: str,
    given_back: str | None = None,
) -> Object:
    """Our part of the Lease: what the engine must know within 5 s.

    `spec` belongs to the engine, and so does its annotation, but for what an earlier one said and a new Lease has forgotten.
    """
    annotations = {ANNOTATION_STATE: desired_state, ANNOTATION_ADMITTED: admitted_pod_uid}
    if epoch is not None:
        annotations[ANNOTATION_EPOCH] = str(epoch)
    if given_back is not None:
        annotations[ANNOTATION_ENGINE] = given_back
    return child(LEASE, bot, bot.pod, annotations=annotations)
