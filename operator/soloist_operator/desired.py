"""Everything that should be there for a valid spec, and what of it is not. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from soloist_fence.api import claim_hash

from soloist_operator import kinds
from soloist_operator.api.tradingbot import Rotation, State, TradingBotSpec
from soloist_operator.holding import FenceParameters
from soloist_operator.kinds import Kind
from soloist_operator.objects import Object, as_declared, dig, name_of, stamped, surplus, uid_of
from soloist_operator.observe import Observed
from soloist_operator.plan import Apply, Delete, Trim
from soloist_operator.settings import Settings
from soloist_operator.specs import configuration, engine, image, jobs, network
from soloist_operator.specs.configuration import Configuration
from soloist_operator.specs.engine import Arming
from soloist_operator.specs.image import ResolvedImage
from soloist_operator.specs.jobs import FenceSetup


@dataclass(frozen=True)
class Desired:
    """A valid spec, resolved against the settings for one epoch (None without an account)."""

    spec: TradingBotSpec
    image: ResolvedImage
    configuration: Configuration
    epoch: int | None


def resolve(
    observed: Observed, spec: TradingBotSpec, settings: Settings, *, claim: str | None, epoch: int | None
) -> Desired:
    """Resolve defaults and render the configuration."""
    resolved = image.resolve(spec.image, settings.images)
    rendered = configuration.render(
        observed.ref,
        spec,
        settings.venues[spec.venue],
        image=resolved.reference,
        claim_hash=None if claim is None else claim_hash(claim),
        epoch=epoch,
    )
    return Desired(spec, resolved, rendered, epoch)


def missing(kind: Kind, declared: Object, live: Object | None) -> Iterator[Apply | Trim]:
    """The write that makes the live object what was declared, if one is needed."""
    if live is None or not as_declared(declared, live):
        yield Apply(kind, declared)
    elif added := surplus(declared, live):
        yield Trim(kind, live, tuple(added))


def config_map(observed: Observed, desired: Desired) -> Iterator[Apply | Trim]:
    """The rendered configuration."""
    declared = configuration.config_map(observed.ref, desired.configuration)
    live = next((c for c in observed.config_maps if name_of(c) == name_of(declared)), None)
    yield from missing(kinds.CONFIG_MAP, declared, live)


def surroundings(observed: Observed, desired: Desired, settings: Settings) -> Iterator[Apply | Trim]:
    """What must be there before any pod: who may connect to it, its name, its volume, its budget."""
    ref, spec = observed.ref, desired.spec
    policy = network.network_policy(ref, spec, settings.venues[spec.venue], observed.api_server)
    yield from missing(kinds.NETWORK_POLICY, stamped(policy), observed.network_policy)
    yield from missing(kinds.SERVICE, stamped(engine.service(ref)), observed.service)
    yield from missing(kinds.VOLUME_CLAIM, stamped(engine.volume_claim(ref, spec)), observed.volume_claim)
    yield from missing(
        kinds.DISRUPTION_BUDGET, stamped(engine.disruption_budget(ref, spec)), observed.disruption_budget
    )


def lease(observed: Observed, epoch: int | None, state: State) -> Iterator[Apply | Trim]:
    """What the engine must know within seconds. A stopped bot's engine, should one still run, is halted."""
    told = State.HALTED if state is State.STOPPED else state
    declared = engine.lease(
        observed.ref,
        epoch=epoch,
        desired_state=told.value,
        admitted_pod_uid="" if observed.pod is None else uid_of(observed.pod),
    )
    yield from missing(kinds.LEASE, declared, observed.lease)


def stateful_set(observed: Observed, desired: Desired, settings: Settings, arming: Arming | None) -> Object:
    """The engine, as declared."""
    return stamped(
        engine.stateful_set(
            observed.ref,
            desired.spec,
            image=desired.image,
            service_account=settings.service_accounts.engine,
            config_hash=desired.configuration.config_hash,
            validity_hash=desired.configuration.validity_hash,
            arming=arming,
        )
    )


def fence_setup(observed: Observed, desired: Desired, settings: Settings) -> FenceSetup:
    """What the fence's pods need, for a bot with an account."""
    assert desired.spec.account is not None
    node_selector, tolerations = jobs.placement(desired.spec)
    return FenceSetup(
        image=ResolvedImage(settings.images.fence, settings.images.pull_policy.value),
        service_account=settings.service_accounts.fence,
        config_map=observed.ref.config(desired.configuration.config_hash),
        management_secret=desired.spec.account.secret_name,
        node_selector=node_selector,
        tolerations=tolerations,
    )


def rotation(
    observed: Observed, desired: Desired, settings: Settings, fence: FenceParameters, claim: Object
) -> Iterator[Apply | Trim]:
    """The key-rotation CronJob of a Managed account."""
    assert desired.spec.account is not None
    plan = desired.spec.account.rotation or Rotation()
    setup = fence_setup(observed, desired, settings)
    declared = jobs.rotation(observed.ref, plan, fence.arguments(observed, claim), setup)
    yield from missing(kinds.CRON_JOB, stamped(declared), observed.rotation)


def garbage(observed: Observed, desired: Desired) -> Iterator[Delete]:
    """Configurations and Jobs that nothing refers to any more; only asked once a bot is settled."""
    ref = observed.ref
    used = {ref.config(desired.configuration.config_hash)}
    for pod_spec in _pod_specs(observed):
        used |= {dig(v, "configMap", "name") for v in pod_spec.get("volumes") or []}
    for found in observed.config_maps:
        if name_of(found) not in used and not found["metadata"].get("deletionTimestamp"):
            yield Delete(kinds.CONFIG_MAP, found, "nothing uses this configuration")
    current = {ref.check(desired.configuration.validity_hash), ref.fence(desired.epoch or 0)}
    for job in observed.jobs:
        name = name_of(job)
        ours = name.startswith((f"{ref.name}-check-", f"{ref.name}-fence-e"))
        if ours and name not in current and not job["metadata"].get("deletionTimestamp"):
            yield Delete(kinds.JOB, job, "its work is done and recorded")


def _pod_specs(observed: Observed) -> Iterator[Object]:
    if observed.pod is not None:
        yield observed.pod["spec"]
    if observed.stateful_set is not None:
        yield dig(observed.stateful_set, "spec", "template", "spec") or {}
    if observed.rotation is not None:
        yield dig(observed.rotation, "spec", "jobTemplate", "spec", "template", "spec") or {}
    for job in observed.jobs:
        yield dig(job, "spec", "template", "spec") or {}
