"""The Jobs: check a configuration, fence an account, release it, rotate its key."""

from __future__ import annotations

from dataclasses import dataclass

from soloist_fence.api import FenceArguments, Verb

from soloist_operator.api.tradingbot import Rotation, TradingBotSpec
from soloist_operator.kinds import CRON_JOB, GROUP, JOB
from soloist_operator.objects import Object
from soloist_operator.specs.common import (
    CONFIG_DIR,
    CONFIG_FILE,
    MANAGEMENT_KEY_DIR,
    SECRET_DIR,
    BotRef,
    Component,
    child,
    config_volume,
    container_security,
    labels,
    memory_volume,
    mount,
    pod_security,
    secret_volume,
)
from soloist_operator.specs.image import ResolvedImage

ANNOTATION_NONCE = f"{GROUP}/nonce"
CHECK_DEADLINE_S = 300
CHECK_CONTAINER = "check"
FENCE_CONTAINER = "fence"
_RESOURCES = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}


@dataclass(frozen=True)
class FenceSetup:
    """What every process of the fence needs besides its arguments."""

    image: ResolvedImage
    service_account: str
    config_map: str
    management_secret: str
    node_selector: dict[str, str]
    tolerations: tuple[Object, ...]


def placement(spec: TradingBotSpec) -> tuple[dict[str, str], tuple[Object, ...]]:
    """Node selector and tolerations of a bot's Jobs: they go where its engine may go."""
    tolerations = tuple(
        t.model_dump(mode="json", by_alias=True, exclude_none=True) for t in spec.tolerations or ()
    )
    return dict(spec.node_selector or {}), tolerations


def check_job(
    bot: BotRef, spec: TradingBotSpec, *, image: ResolvedImage, config_map: str, validity_hash: str
) -> Object:
    """Ask the engine's own image whether it would accept a configuration. No key, no API token."""
    container = {
        "name": CHECK_CONTAINER,
        "image": image.reference,
        "imagePullPolicy": image.pull_policy,
        "command": ["soloist-trader"],
        "args": ["check", "--config", CONFIG_FILE],
        "securityContext": container_security(),
        "resources": _RESOURCES,
        "terminationMessagePolicy": "File",
        "volumeMounts": [mount("tmp", "/tmp", read_only=False), mount("config", CONFIG_DIR)],  # noqa: S108 - in the pod
    }
    node_selector, tolerations = placement(spec)
    pod = _pod(container, [config_volume(config_map)], node_selector, tolerations)
    pod["automountServiceAccountToken"] = False
    return child(
        JOB,
        bot,
        bot.check(validity_hash),
        Component.CHECK,
        spec=_job_spec(bot, Component.CHECK, pod, CHECK_DEADLINE_S),
    )


def fence_job(bot: BotRef, verb: Verb, arguments: FenceArguments, setup: FenceSetup) -> Object:
    """One attempt of a takeover, or a release. The nonce on the Job tells it from a Job of an earlier life of its name."""
    name = bot.release(arguments.epoch) if verb is Verb.RELEASE else bot.fence(arguments.epoch)
    return child(
        JOB,
        bot,
        name,
        Component.FENCE,
        annotations={ANNOTATION_NONCE: arguments.nonce},
        spec=_job_spec(bot, Component.FENCE, _fence_pod(verb, arguments, setup), verb.active_deadline_s),
    )


def rotation(bot: BotRef, plan: Rotation, arguments: FenceArguments, setup: FenceSetup) -> Object:
    """The CronJob that replaces the key; `kubectl create job --from` it works at any time."""
    pod = _fence_pod(Verb.ROTATE, arguments, setup)
    pod["volumes"].append(secret_volume("epoch-key", arguments.secret_name))
    pod["containers"][0]["volumeMounts"].append(mount("epoch-key", SECRET_DIR))
    job = {
        "metadata": {"labels": labels(bot, Component.ROTATION)},
        "spec": _job_spec(bot, Component.ROTATION, pod, Verb.ROTATE.active_deadline_s),
    }
    return child(
        CRON_JOB,
        bot,
        bot.rotation,
        Component.ROTATION,
        spec={
            "schedule": plan.schedule,
            "suspend": plan.suspend,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 2,
            "failedJobsHistoryLimit": 2,
            "jobTemplate": job,
        },
    )


def _fence_pod(verb: Verb, arguments: FenceArguments, setup: FenceSetup) -> Object:
    container = {
        "name": FENCE_CONTAINER,
        "image": setup.image.reference,
        "imagePullPolicy": setup.image.pull_policy,
        "command": ["soloist-fence"],
        "args": arguments.to_args(verb),
        "securityContext": container_security(),
        "resources": _RESOURCES,
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            mount("tmp", "/tmp", read_only=False),  # noqa: S108 - inside the pod
            mount("config", CONFIG_DIR),
            mount("management-key", MANAGEMENT_KEY_DIR),
        ],
    }
    volumes = [config_volume(setup.config_map), secret_volume("management-key", setup.management_secret)]
    pod = _pod(container, volumes, setup.node_selector, setup.tolerations)
    pod["serviceAccountName"] = setup.service_account
    return pod


def _pod(
    container: Object, volumes: list[Object], node_selector: dict[str, str], tolerations: tuple[Object, ...]
) -> Object:
    pod: Object = {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": [memory_volume("tmp", "16Mi"), *volumes],
    }
    if node_selector:
        pod["nodeSelector"] = node_selector
    if tolerations:
        pod["tolerations"] = list(tolerations)
    return pod


def _job_spec(bot: BotRef, component: Component, pod: Object, deadline_s: int) -> Object:
    """One pod, once: a retry inside one attempt would blur whose evidence it is."""
    return {
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "activeDeadlineSeconds": deadline_s,
        "template": {"metadata": {"labels": labels(bot, component)}, "spec": pod},
    }
