"""The last spec that was accepted: what an epoch is replaced with while a later edit cannot be used. Pure.

It is noted on the StatefulSet that was made from it, so it is true as long as there is something that it is true of. A bad
edit stops nothing that runs, and it must not stop what keeps the account safe either: a lost engine is fenced and replaced by
one of the last accepted spec, and a bot is deleted with it, while the edit goes on being reported.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from soloist_operator import claims, relocation, renewal
from soloist_operator.api.status import Phase
from soloist_operator.api.tradingbot import Image, State, TradingBotSpec
from soloist_operator.api.validate import InvalidSpec, validate
from soloist_operator.kinds import GROUP
from soloist_operator.objects import Object, annotation, dig
from soloist_operator.observe import Observed
from soloist_operator.road import Road
from soloist_operator.settings import Settings
from soloist_operator.specs.engine import ANNOTATION_EPOCH, ANNOTATION_STATE

ANNOTATION_ACCEPTED = f"{GROUP}/accepted-spec"
LONGEST_BYTES = 200_000
"""Kubernetes allows 262 144 bytes of annotations in all. A longer spec is not noted, so that it can still be run."""
_READ_OFF = frozenset({"state", "image"})
"""Not noted: a state is obeyed whatever else is refused, and the image is the one in the template."""


@dataclass(frozen=True)
class Accepted:
    """A spec that an engine was made from, and the settings in which its image is the default."""

    spec: TradingBotSpec
    settings: Settings

    def instead(self, bot: Object) -> Object:
        """The bot, as if it still asked for this."""
        return {**bot, "spec": self.spec.to_json()}


def noted(stateful_set: Object, spec: TradingBotSpec) -> Object:
    """A declared StatefulSet that remembers what it was made from; its pod is not concerned."""
    kept = {field: value for field, value in spec.to_json().items() if field not in _READ_OFF}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    if len(text.encode()) > LONGEST_BYTES:
        return stateful_set
    metadata = stateful_set["metadata"]
    annotations = {**(metadata.get("annotations") or {}), ANNOTATION_ACCEPTED: text}
    return {**stateful_set, "metadata": {**metadata, "annotations": annotations}}


def last(observed: Observed, settings: Settings) -> Accepted | None:
    """The last accepted spec; None before the first, or when it is not what we wrote or the settings no longer allow it."""
    engine = _engine(observed.stateful_set)
    try:
        kept = dict(json.loads(annotation(observed.stateful_set, ANNOTATION_ACCEPTED) or ""))
    except (TypeError, ValueError):
        return None
    if not engine.get("image"):
        return None
    spec = validate({**kept, "state": _state(observed).value}, settings.venues)
    if isinstance(spec, InvalidSpec):
        return None
    image = Image.model_validate({"pullPolicy": engine.get("imagePullPolicy") or "IfNotPresent"})
    images = settings.images.model_copy(update={"trader": engine["image"]})
    return Accepted(spec.model_copy(update={"image": image}), settings.model_copy(update={"images": images}))


def _engine(stateful_set: Object | None) -> Object:
    containers: list[Object] = dig(stateful_set, "spec", "template", "spec", "containers") or []
    return next((container for container in containers if container["name"] == "engine"), {})


def _state(observed: Observed) -> State:
    """What the spec asks for; where that cannot be read, what the engine was told last: a mistyped halt lifts none."""
    asked = (observed.bot.get("spec") or {}).get("state", State.RUNNING.value)
    if asked in set(State):
        return State(asked)
    if dig(observed.stateful_set, "spec", "replicas") == 0:
        return State.STOPPED
    told = annotation(observed.lease, ANNOTATION_STATE)
    return State(told) if told in set(State) else State.HALTED


def replacing(road: Road, spec: TradingBotSpec) -> bool:
    """Whether an epoch has to be replaced, or is being replaced, up to the moment when the old pod's name is free."""
    observed, claim = road.observed, road.observed.claim
    if road.replace is not None or relocation.ousted(observed, road.watch):
        return True
    if spec.account is None or claim is None:
        return False
    if claims.whose_claim(claim, observed.ref.uid) is not claims.Whose.OURS:
        return False
    template: Object = dig(observed.stateful_set, "spec", "template") or {}
    return (
        claims.phase_of(claim) is not Phase.ACTIVE
        or annotation(template, ANNOTATION_EPOCH) != str(claims.epoch_of(claim))
        or renewal.due(observed, claim, spec.account, now=road.context.now, restored=road.context.restored)
        is not None
    )
