"""The Jobs: check a configuration, identify an account, fence it, audit it, release it, rotate its key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from soloist_fence.api import FenceArguments, IdentifyArguments, Verb

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
from soloist_operator.specs.engine import avoiding
from soloist_operator.specs.image import ResolvedImage

ANNOTATION_NONCE = f"{GROUP}/nonce"
CHECK_DEADLINE_S = 300
AUDIT_EVERY_MINUTES = 15
IDENTIFY_KEPT_S = 600
"""Its evidence is bound into the status seconds later; Kubernetes takes the Job away, which costs us no write."""
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
    avoid: tuple[str, ...] = ()
    """Nodes whose kubelet is not heard: a pod that is bound there never starts."""


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


def fence_job(
    bot: BotRef, verb: Verb, arguments: FenceArguments, setup: FenceSetup, *, last_secret: str | None
) -> Object:
    """One attempt of a takeover, or a release. The nonce on the Job tells it from a Job of an earlier life of its name.

    It mounts the last Active epoch's Secret, if it is still there: with its key the venue's refusal can be shown.
    """
    name = bot.release(arguments.epoch) if verb is Verb.RELEASE else bot.fence(arguments.epoch)
    pod = _fence_pod(arguments.to_args(verb), setup)
    if last_secret:
        _mount_epoch_key(pod, last_secret)
    return child(
        JOB,
        bot,
        name,
        Component.FENCE,
        annotations={ANNOTATION_NONCE: arguments.nonce},
        spec=_job_spec(bot, Component.FENCE, pod, verb.active_deadline_s),
    )


def identify_job(bot: BotRef, arguments: IdentifyArguments, setup: FenceSetup) -> Object:
    """Ask the venue which account the bot's key belongs to. The nonce tells the Jobs of this one name apart."""
    pod = _fence_pod(arguments.to_args(), setup)
    spec = _job_spec(bot, Component.IDENTIFY, pod, Verb.IDENTIFY.active_deadline_s)
    return child(
        JOB,
        bot,
        bot.identify,
        Component.IDENTIFY,
        annotations={ANNOTATION_NONCE: arguments.nonce},
        spec={**spec, "ttlSecondsAfterFinished": IDENTIFY_KEPT_S},
    )


def audit(bot: BotRef, arguments: FenceArguments, setup: FenceSetup) -> Object:
    """The CronJob that looks who else could trade the account; one pod at a time, at a minute of the bot's own."""
    offset = int(hashlib.sha256(bot.uid.encode()).hexdigest(), 16) % AUDIT_EVERY_MINUTES
    pod = _fence_pod(arguments.to_args(Verb.AUDIT), setup)
    return _cron_job(
        bot,
        bot.audit,
        Component.AUDIT,
        pod,
        deadline_s=Verb.AUDIT.active_deadline_s,
        schedule=f"{offset}-59/{AUDIT_EVERY_MINUTES} * * * *",
        suspend=False,
        kept=1,
    )


def reap_job(bot: BotRef, arguments: FenceArguments, setup: FenceSetup) -> Object:
    """Delete the keys of this claim's older epochs that an audit found; `arguments.reap` is set."""
    assert arguments.reap, "an audit that only looks is the CronJob's"
    pod = _fence_pod(arguments.to_args(Verb.AUDIT), setup)
    return child(
        JOB,
        bot,
        bot.reap(arguments.epoch),
        Component.AUDIT,
        annotations={ANNOTATION_NONCE: arguments.nonce},
        spec=_job_spec(bot, Component.AUDIT, pod, Verb.AUDIT.active_deadline_s),
    )


def rotation(bot: BotRef, plan: Rotation, arguments: FenceArguments, setup: FenceSetup) -> Object:
    """The CronJob that replaces the key; `kubectl create job --from` it works at any time."""
    pod = _fence_pod(arguments.to_args(Verb.ROTATE), setup)
    _mount_epoch_key(pod, arguments.secret_name)
    return _cron_job(
        bot,
        bot.rotation,
        Component.ROTATION,
        pod,
        deadline_s=Verb.ROTATE.active_deadline_s,
        schedule=plan.schedule,
        suspend=plan.suspend,
        kept=2,
    )


def _mount_epoch_key(pod: Object, secret: str) -> None:
    pod["volumes"].append(secret_volume("epoch-key", secret))
    pod["containers"][0]["volumeMounts"].append(mount("epoch-key", SECRET_DIR))


def _cron_job(
    bot: BotRef,
    name: str,
    component: Component,
    pod: Object,
    *,
    deadline_s: int,
    schedule: str,
    suspend: bool,
    kept: int,
) -> Object:
    """`kubectl create job --from=cronjob/NAME` works at any time; what runs twice at once is safe by the fence's rules."""
    job = {
        "metadata": {"labels": labels(bot, component)},
        "spec": _job_spec(bot, component, pod, deadline_s),
    }
    return child(
        CRON_JOB,
        bot,
        name,
        component,
        spec={
            "schedule": schedule,
            "suspend": suspend,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": kept,
            "failedJobsHistoryLimit": kept,
            "jobTemplate": job,
        },
    )


def _fence_pod(args: list[str], setup: FenceSetup) -> Object:
    container = {
        "name": FENCE_CONTAINER,
        "image": setup.image.reference,
        "imagePullPolicy": setup.image.pull_policy,
        "command": ["soloist-fence"],
        "args": args,
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
    affinity = avoiding({}, setup.avoid)
    if affinity:
        pod["affinity"] = affinity
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
