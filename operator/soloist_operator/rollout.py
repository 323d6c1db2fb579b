"""A new template reaches the pod, and is taken back when the engine does not come up with it. Pure, but for two clocks.

What a person may change about the pod is one unit, the template: image, strategy, limits, placement. The last one with which
the engine was ready is remembered in `status.rollout`, with its image spelled out. One that does not get ready within its
budget is remembered there as refused, and from then on the spec is read as if it still said what was good. So a way back is
an ordinary rollout: the same stop, the same proof of death. A different template is tried again; the same one never is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from pydantic import ValidationError

from soloist_operator.api.tradingbot import Image, TradingBotSpec, UpdatePolicy
from soloist_operator.api.validate import InvalidSpec, validate
from soloist_operator.conditions import (
    MESSAGE_LIMIT,
    TRUE,
    WAITING_FOR_APPROVAL,
    WAITING_FOR_TURN,
    Verdict,
    no,
    yes,
)
from soloist_operator.custody import Custody
from soloist_operator.death import TERMINAL_PHASES
from soloist_operator.heartbeat import Heartbeat
from soloist_operator.kinds import GROUP, POD
from soloist_operator.objects import Object, annotation, content_hash, deleting, dig, label, name_of, uid_of
from soloist_operator.observe import Observed
from soloist_operator.plan import Delete
from soloist_operator.queue import Key
from soloist_operator.settings import Settings
from soloist_operator.specs import image
from soloist_operator.specs.engine import ANNOTATION_EPOCH, state_claim

BUDGET_S = 120.0
"""How long the engine of a new template may take to get ready; what the venue or a person holds up does not count."""
TRIAL_LOOK_S = 10.0
CHOOSE_LOOK_S = 0.05
"""At once, but after the status was written: what is refused must be on record before anything else is made."""
TURN_LOOK_S = 15.0
SPACING_S = 30.0
"""Between the end of one replacement that nobody asked for and the next, over all bots."""
TURN_S = 600.0
"""After this long a bot that does not get ready no longer keeps the others from their turn."""

NO_POD = no("WaitingForPod", "the engine pod is being made")
ROLLED_BACK = "RolledBack"
ANNOTATION_APPROVE = f"{GROUP}/approve-update"
_REVISION_LABEL = "controller-revision-hash"

TEMPLATE_FIELDS = frozenset(
    {
        "markets", "strategy", "risk", "trading", "image", "resources", "nodeSelector", "tolerations", "affinity",
        "priorityClassName", "podAnnotations",
    }
)  # fmt: skip
"""Fields of the spec that are taken back together. The others are not the pod's: a halt arrives, whatever was refused."""

HELD = frozenset({"VenueUnreachable", "Reducing", "Halted"})
"""Reasons of an engine that came up and cannot reach the venue, or is held back by a limit or a person: not the template's fault."""

SLOW = frozenset({"WaitingForReadModel", "Reading", "DataStale"})
"""Reasons of an engine that waits for what the venue tells it: the venue's fault as often as the template's, but not for ever."""
SLOW_SHARE = 0.2
"""What of such a wait uses up the budget: alone it takes ten minutes."""


# ---------------------------------------------------------------------------------------------- what is remembered


@dataclass(frozen=True)
class Template:
    """What a person may change about the pod, with the image spelled out."""

    image: str
    pull_policy: str
    asked: Object
    """TEMPLATE_FIELDS of the spec, as JSON."""

    @property
    def fingerprint(self) -> str:
        """Equal for equal templates."""
        return content_hash([self.image, self.pull_policy, self.asked], 16)

    @property
    def image_is_default(self) -> bool:
        """Whether the spec left the image to the operator's settings."""
        return not set(self.asked.get("image") or {}) - {"pullPolicy"}


def template_of(spec: TradingBotSpec, settings: Settings) -> Template:
    """The template that a spec asks for."""
    resolved = image.resolve(spec.image, settings.images)
    asked = {
        field: value for field, value in spec.to_json().items() if field in TEMPLATE_FIELDS and value != {}
    }
    return Template(resolved.reference, resolved.pull_policy, asked)


@dataclass(frozen=True)
class Memory:
    """`status.rollout`."""

    good: Template | None = None
    """With this one the engine was ready."""
    refused: str = ""
    """Fingerprint of the one that was taken back."""
    why: str = ""

    def shown(self) -> dict[str, str] | None:
        """As it stands in the status; None when there is nothing to remember."""
        if self.good is None:
            return None
        good = {"image": self.good.image, "pullPolicy": self.good.pull_policy, "spec": self.good.asked}
        found = {"good": json.dumps(good, sort_keys=True, separators=(",", ":")), "refused": self.refused}
        return {name: value for name, value in {**found, "why": self.why}.items() if value}


def remembered(bot: Object) -> Memory:
    """What the status remembers; nothing when it is not what we wrote: then there is no way back, and no harm either."""
    shown = dig(bot, "status", "rollout") or {}
    try:
        good = json.loads(shown["good"])
        template = Template(str(good["image"]), str(good["pullPolicy"]), dict(good["spec"]))
    except (KeyError, TypeError, ValueError):
        return Memory()
    return Memory(template, str(shown.get("refused") or ""), str(shown.get("why") or ""))


# ---------------------------------------------------------------------------------------------- which one applies


@dataclass(frozen=True)
class Chosen:
    """The spec and the settings to work with, and why they are not quite what was asked for."""

    spec: TradingBotSpec
    settings: Settings
    template: Template
    memory: Memory
    back: str = ""
    """Why the template that the spec asks for is not used; empty when it is."""
    waits: Verdict | None = None
    """A new default image exists, and is not taken yet."""

    @property
    def is_good(self) -> bool:
        """Whether the engine was ready with this template before."""
        good = self.memory.good
        return good is not None and good.fingerprint == self.template.fingerprint

    @property
    def taken_back(self) -> Verdict:
        """Condition Updated while the last good template is in place of what the spec asks for."""
        return no(ROLLED_BACK, _rolled_back(self.back))


def choose(bot: Object, spec: TradingBotSpec, settings: Settings, *, turn: bool) -> Chosen:
    """Decide which template applies: what the spec asks for, the last good one, or the spec's with the image it had."""
    memory = remembered(bot)
    asked = template_of(spec, settings)
    plain = Chosen(spec, settings, asked, memory)
    good = memory.good
    if good is None or plain.is_good:
        return plain
    if memory.refused == asked.fingerprint:
        return _taken_back(plain, good)
    if not asked.image_is_default or not good.image_is_default or asked.image == good.image:
        return plain
    word = image_word(asked.image)
    approved = annotation(bot, ANNOTATION_APPROVE) == word
    automatic = spec.update.policy is UpdatePolicy.AUTOMATIC
    begun = dig(bot, "status", "resolved", "image") == asked.image  # nothing goes to and fro
    if approved or begun or (automatic and turn):
        return plain
    waits = (
        no(
            WAITING_FOR_TURN,
            f"image {asked.image} is the new default; it is taken when it is this bot's turn",
        )
        if automatic
        else no(
            WAITING_FOR_APPROVAL,
            f"image {asked.image} is the new default: kubectl annotate --overwrite tbs {bot['metadata']['name']} "
            f"{ANNOTATION_APPROVE}={word}",
        )
    )
    kept = _with_image(settings, good.image)
    sticky = replace(plain, settings=kept, template=template_of(spec, kept), waits=waits)
    refused = not sticky.is_good and memory.refused == sticky.template.fingerprint
    return _taken_back(sticky, good) if refused else sticky


def standing(bot: Object, spec: TradingBotSpec, settings: Settings) -> Chosen:
    """A template that is in use already: nothing is chosen."""
    return Chosen(spec, settings, template_of(spec, settings), remembered(bot))


def image_word(reference: str) -> str:
    """What approves a new default image."""
    return f"image-{content_hash(reference)}"


def _taken_back(chosen: Chosen, good: Template) -> Chosen:
    others = {k: v for k, v in chosen.spec.to_json().items() if k not in TEMPLATE_FIELDS}
    try:
        spec = TradingBotSpec.model_validate({**others, **good.asked})
    except ValidationError:
        return chosen  # remembered by an operator with other rules
    # The image is spelled out: what is the default today may be what was refused.
    spec = spec.model_copy(update={"image": Image.model_validate({"pullPolicy": good.pull_policy})})
    settings = _with_image(chosen.settings, good.image)
    return replace(chosen, spec=spec, settings=settings, template=good, back=chosen.memory.why)


def _with_image(settings: Settings, trader: str) -> Settings:
    return settings.model_copy(update={"images": settings.images.model_copy(update={"trader": trader})})


# ---------------------------------------------------------------------------------------------- does it work?


@dataclass(frozen=True)
class Judged:
    """Whether the template that the pod runs is good."""

    memory: Memory
    verdict: Verdict
    refused: bool = False
    """In this very run: what applies is to be chosen anew."""
    look_s: float | None = None


def judge(chosen: Chosen, engine: Verdict, trial_s: float) -> Judged:
    """What follows from the engine's readiness. `trial_s`: how long this pod has not been ready, by Trials."""
    memory, good = chosen.memory, chosen.memory.good
    told = chosen.waits or yes(
        "Current", "the pod runs the configuration and the image that the spec asks for"
    )
    if chosen.back:
        told = chosen.taken_back
    if engine.status == TRUE:
        kept = memory if chosen.back else Memory()
        return Judged(replace(kept, good=chosen.template), told)
    if good is None or chosen.back or chosen.is_good:
        return Judged(memory, told)
    if trial_s < BUDGET_S:
        return Judged(memory, told, look_s=min(TRIAL_LOOK_S, BUDGET_S - trial_s))
    allowed_s = BUDGET_S / SLOW_SHARE if engine.reason in SLOW else BUDGET_S
    why = f"image {chosen.template.image}: the engine was not ready within {allowed_s:.0f} s ({engine.reason}: {engine.message})"
    why = why[: MESSAGE_LIMIT - 300]
    return Judged(
        replace(memory, refused=chosen.template.fingerprint, why=why),
        no(ROLLED_BACK, _rolled_back(why)),
        refused=True,
    )


def _rolled_back(why: str) -> str:
    return (
        f"{why}. The last good template is put back, with image and settings as they were. Change image, strategy, limits or "
        "placement in the spec to try again; the same spec is not tried a second time"
    )


def share(observed: Observed, heartbeat: Heartbeat) -> float:
    """How fast the engine's pod is using up its budget now: 0 not at all, 1 second by second."""
    pod, record = observed.pod, heartbeat.record
    if pod is None or deleting(pod) or dig(pod, "status", "phase") in TERMINAL_PHASES:
        return 0.0
    if record is None or heartbeat.silent or record.pod_uid != uid_of(pod):
        return 1.0
    if record.ready or record.reason in HELD:
        return 0.0
    return SLOW_SHARE if record.reason in SLOW else 1.0


class Trials:
    """How much of its budget each bot's pod has used up, by our own clock: an operator that restarts counts anew."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[str, float, float]] = {}

    def seen(self, key: Key, uid: str, now_s: float, *, share: float) -> float:
        """Note a look; seconds used up so far. A gap between looks longer than a trial's is our own, and does not count."""
        known_uid, last_s, used_s = self._known.get(key, ("", now_s, 0.0))
        if known_uid != uid:
            last_s, used_s = now_s, 0.0
        used_s += share * min(now_s - last_s, 2 * TRIAL_LOOK_S)
        self._known[key] = (uid, now_s, used_s)
        return used_s

    def forget(self, key: Key) -> None:
        """The bot, or its pod, is gone."""
        self._known.pop(key, None)


# ---------------------------------------------------------------------------------------------- replacing the pod


def outdated(stateful_set: Object | None, pod: Object) -> str | None:
    """The revision that the pod should have and has not; None when it is current or the controller has not looked yet."""
    if stateful_set is None or not seen_by_controller(stateful_set):
        return None
    wanted = dig(stateful_set, "status", "updateRevision")
    return None if not wanted or label(pod, _REVISION_LABEL) == wanted else str(wanted)


def seen_by_controller(stateful_set: Object | None) -> bool:
    """Whether the next pod will come from the template as it is now."""
    generation = dig(stateful_set, "metadata", "generation")
    return generation is not None and dig(stateful_set, "status", "observedGeneration") == generation


def replacement(
    observed: Observed, policy: UpdatePolicy, *, at_once: bool = False, waits_for_turn: bool = False
) -> Custody | Verdict:
    """Bring a changed template to the pod; only called when the StatefulSet is as declared.

    Returns the verdict for condition Updated when there is nothing to do. `at_once`: nobody has to approve.
    """
    pod = observed.pod
    if pod is None:
        return NO_POD
    if deleting(pod) or dig(pod, "status", "phase") in TERMINAL_PHASES:
        return no("RollingOut", f"pod {name_of(pod)} is stopping, the next one comes from the new template")
    if not seen_by_controller(observed.stateful_set):
        return no("RollingOut", "the StatefulSet controller has not looked at the template yet")
    revision = outdated(observed.stateful_set, pod)
    if revision is None:
        return yes("Current", "the pod runs the configuration and the image that the spec asks for")
    given = annotation(observed.bot, ANNOTATION_APPROVE)
    images: list[Object] = dig(observed.stateful_set, "spec", "template", "spec", "containers") or []
    words = {revision, *(image_word(str(container.get("image"))) for container in images)}
    if policy is UpdatePolicy.MANUAL and not at_once and given not in words:
        return no(
            WAITING_FOR_APPROVAL,
            f"a new template waits: kubectl annotate --overwrite tbs {observed.ref.name} {ANNOTATION_APPROVE}={revision}",
        )
    if waits_for_turn and not at_once:
        return no(
            WAITING_FOR_TURN, "the operator changed the template; it is rolled out when it is this bot's turn"
        )
    return Custody((Delete(POD, pod, f"its template changed to revision {revision}"),))


# ---------------------------------------------------------------------------------------------- nobody asked for it


def unasked(observed: Observed, settings: Settings) -> bool:
    """Whether a replacement is wanted that no person asked for: a new default image, or another template of ours.

    An epoch's key or a volume that changes is no such thing: those cannot wait.
    """
    spec = validate(observed.bot.get("spec") or {}, settings.venues)
    if isinstance(spec, InvalidSpec) or spec.update.policy is not UpdatePolicy.AUTOMATIC:
        return False
    memory, asked = remembered(observed.bot), template_of(spec, settings)
    if memory.good is None or memory.refused == asked.fingerprint:
        return False
    if asked.image_is_default and memory.good.image_is_default and asked.image != memory.good.image:
        return True
    return memory.good.fingerprint == asked.fingerprint and reshaped(observed)


def reshaped(observed: Observed) -> bool:
    """Whether the pod is outdated by nothing that is urgent: same epoch, same volume."""
    pod, stateful_set = observed.pod, observed.stateful_set
    if pod is None or outdated(stateful_set, pod) is None:
        return False
    template: Object = dig(stateful_set, "spec", "template") or {}
    return annotation(template, ANNOTATION_EPOCH) == annotation(pod, ANNOTATION_EPOCH) and state_claim(
        template.get("spec") or {}
    ) == state_claim(pod.get("spec") or {})


class Turns:
    """One bot at a time, over all bots, for replacements that nobody asked for; the next one after a pause."""

    def __init__(self) -> None:
        self._holder: Key | None = None
        self._since_s = 0.0
        self._ended_s = float("-inf")

    def take(self, key: Key, now_s: float, *, wanted: bool) -> bool:
        """Whether it is this bot's turn; one that wants nothing any more gives its turn back."""
        if not wanted:
            if self._holder == key:
                self._holder, self._ended_s = None, now_s
            return False
        if self._holder == key:
            return True
        if self._holder is not None and now_s - self._since_s < TURN_S:
            return False
        if now_s - self._ended_s < SPACING_S:
            return False
        self._holder, self._since_s = key, now_s
        return True
