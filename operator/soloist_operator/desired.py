"""Everything that should be there for a valid spec, and what of it is not. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from soloist_fence.api import claim_hash

from soloist_operator import custody, kinds, safety
from soloist_operator.api.tradingbot import Rotation, State, TradingBotSpec
from soloist_operator.holding import FenceParameters
from soloist_operator.kinds import Kind
from soloist_operator.objects import Object, as_declared, deleting, dig, name_of, stamped, surplus
from soloist_operator.observe import Observed
from soloist_operator.plan import Apply, Delete, Trim
from soloist_operator.settings import Settings
from soloist_operator.specs import configuration, engine, image, jobs, network
from soloist_operator.specs.common import BotRef
from soloist_operator.specs.configuration import Configuration
from soloist_operator.specs.engine import HOME, Arming, Lodging
from soloist_operator.specs.image import ResolvedImage
from soloist_operator.specs.jobs import FenceSetup


@dataclass(frozen=True)
class Desired:
    """A valid spec, resolved against the settings."""

    spec: TradingBotSpec
    image: ResolvedImage
    preflight: Configuration
    """What the check and every process of the fence read: no epoch is in it, so it outlives all attempts."""
    configuration: Configuration
    """What an engine of this epoch runs; the pre-flight one where there is no account, or no epoch yet."""
    epoch: int | None
    lodging: Lodging = HOME


def resolve(
    observed: Observed,
    spec: TradingBotSpec,
    settings: Settings,
    *,
    claim: str | None,
    epoch: int | None,
    lodging: Lodging = HOME,
) -> Desired:
    """Resolve defaults and render the configuration."""
    resolved = image.resolve(spec.image, settings.images)

    def rendered(claim_hash: str | None, epoch: int | None) -> Configuration:
        return configuration.render(
            observed.ref,
            spec,
            settings.venues[spec.venue],
            image=resolved.reference,
            claim_hash=claim_hash,
            epoch=epoch,
        )

    preflight = rendered(None, None)
    armed = preflight if claim is None or epoch is None else rendered(claim_hash(claim), epoch)
    return Desired(spec, resolved, preflight, armed, epoch, lodging)


def missing(kind: Kind, declared: Object, live: Object | None) -> Iterator[Apply | Trim]:
    """The write that makes the live object what was declared, if one is needed."""
    if live is None or not as_declared(declared, live):
        yield Apply(kind, declared)
    elif added := surplus(declared, live):
        yield Trim(kind, live, tuple(added))


def config_map(observed: Observed, rendered: Configuration) -> Iterator[Apply | Trim]:
    """A rendered configuration."""
    declared = configuration.config_map(observed.ref, rendered)
    live = next((c for c in observed.config_maps if name_of(c) == name_of(declared)), None)
    yield from missing(kinds.CONFIG_MAP, declared, live)


def network_policy(observed: Observed, desired: Desired, settings: Settings) -> Iterator[Apply | Trim]:
    """Who may connect to any pod of the bot, and where its pods may connect to: there before the first of them."""
    venue = settings.venues[desired.spec.venue]
    policy = network.network_policy(observed.ref, desired.spec, venue, observed.api_server)
    yield from missing(kinds.NETWORK_POLICY, stamped(policy), observed.network_policy)


def surroundings(observed: Observed, desired: Desired) -> Iterator[Apply | Trim]:
    """What must be there before an engine: its name, its volume, its budget."""
    ref, spec = observed.ref, desired.spec
    yield from missing(kinds.SERVICE, stamped(engine.service(ref)), observed.service)
    yield from state_volume(observed, desired)
    yield from missing(
        kinds.DISRUPTION_BUDGET, stamped(engine.disruption_budget(ref, spec)), observed.disruption_budget
    )


def state_volume(observed: Observed, desired: Desired) -> Iterator[Apply | Trim]:
    """The generation of the state volume that the next pod mounts."""
    declared = engine.volume_claim(observed.ref, desired.spec, desired.lodging.volume)
    live = next((c for c in observed.volume_claims if name_of(c) == name_of(declared)), None)
    yield from missing(kinds.VOLUME_CLAIM, stamped(declared), live)


def lease(observed: Observed, epoch: int | None, state: State) -> Iterator[Apply | Trim]:
    """What the engine must know within seconds. A stopped bot's engine, should one still run, is halted."""
    told = State.HALTED if state is State.STOPPED else state
    declared = engine.lease(
        observed.ref,
        epoch=epoch,
        desired_state=told.value,
        admitted_pod_uid=custody.admitted(observed),
        given_back=safety.given_back(observed),
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
            configuration=desired.configuration,
            arming=arming,
            lodging=desired.lodging,
        )
    )


def fence_setup(
    observed: Observed, desired: Desired, settings: Settings, *, avoid: tuple[str, ...] = ()
) -> FenceSetup:
    """What the fence's pods need, for a bot with an account. `avoid`: nodes that they are not scheduled to."""
    assert desired.spec.account is not None
    node_selector, tolerations = jobs.placement(desired.spec)
    return FenceSetup(
        image=ResolvedImage(settings.images.fence, settings.images.pull_policy.value),
        service_account=settings.service_accounts.fence,
        config_map=observed.ref.config(desired.preflight.config_hash),
        management_secret=desired.spec.account.secret_name,
        node_selector=node_selector,
        tolerations=tolerations,
        avoid=avoid,
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


def audit(
    observed: Observed, desired: Desired, settings: Settings, fence: FenceParameters, claim: Object
) -> Iterator[Apply | Trim]:
    """The CronJob that audits a Managed account."""
    setup = fence_setup(observed, desired, settings)
    declared = jobs.audit(observed.ref, fence.arguments(observed, claim), setup)
    yield from missing(kinds.CRON_JOB, stamped(declared), observed.audit)


def reap_job(
    observed: Observed, desired: Desired, settings: Settings, fence: FenceParameters, claim: Object
) -> Object:
    """The Job that deletes keys of older epochs, should an audit find any."""
    arguments = replace(fence.arguments(observed, claim), reap=True)
    return jobs.reap_job(observed.ref, arguments, fence_setup(observed, desired, settings))


_ATTEMPT = re.compile(r"-(fence|release|reap)-e(?P<epoch>[1-9][0-9]*)")
ATTEMPTS_KEPT = 3
"""Jobs of attempts that stay for their logs. What they found is in the claim, so the others are of no use to anybody."""


def garbage(observed: Observed, desired: Desired) -> Iterator[Delete]:
    """Configurations that nothing refers to any more; only asked once a bot is settled."""
    ref = observed.ref
    used = {ref.config(desired.configuration.config_hash), ref.config(desired.preflight.config_hash)}
    for pod_spec in _pod_specs(observed):
        used |= {dig(v, "configMap", "name") for v in pod_spec.get("volumes") or []}
    for found in observed.config_maps:
        if name_of(found) not in used and not deleting(found):
            yield Delete(kinds.CONFIG_MAP, found, "nothing uses this configuration")


def finished_jobs(observed: Observed, validity_hash: str | None, epoch: int) -> Iterator[Delete]:
    """Jobs whose work is recorded: bounded on every run, because an account that cannot be fenced fails for days.

    `epoch` is the claim's: the attempts before it are over, for otherwise it would not have been opened.
    """
    ref = observed.ref
    oldest_kept = epoch - ATTEMPTS_KEPT + 1
    for job in observed.jobs:
        name = name_of(job)
        if deleting(job):
            continue
        is_check = name.startswith(ref.check(""))
        if is_check and validity_hash is not None and name != ref.check(validity_hash):
            yield Delete(kinds.JOB, job, "another configuration was checked since")
        elif (attempt := _attempt_epoch(ref, name)) is not None and attempt < oldest_kept:
            yield Delete(kinds.JOB, job, "its attempt is over and recorded")


def _attempt_epoch(ref: BotRef, name: str) -> int | None:
    """The epoch of an attempt's Job by its name, None for another Job."""
    found = _ATTEMPT.fullmatch(name.removeprefix(ref.name))
    return None if found is None else int(found["epoch"])


def _pod_specs(observed: Observed) -> Iterator[Object]:
    if observed.pod is not None:
        yield observed.pod["spec"]
    if observed.stateful_set is not None:
        yield dig(observed.stateful_set, "spec", "template", "spec") or {}
    for cron_job in (observed.rotation, observed.audit):
        yield dig(cron_job, "spec", "jobTemplate", "spec", "template", "spec") or {}
    for job in observed.jobs:
        yield dig(job, "spec", "template", "spec") or {}
