"""What a decision is made of: what is known, what was found so far, and the plan being written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from soloist_fence.api import Verb

from soloist_operator import (
    conditions,
    drain,
    judgements,
)
from soloist_operator.attempts import AttemptView
from soloist_operator.conditions import Findings, Verdict
from soloist_operator.desired import Desired
from soloist_operator.drain import Move
from soloist_operator.heartbeat import Heartbeat
from soloist_operator.objects import deleting
from soloist_operator.observe import Observed
from soloist_operator.plan import (
    Again,
    Done,
    Draft,
    Outcome,
    Plan,
)
from soloist_operator.relocation import Watch
from soloist_operator.rollout import Chosen
from soloist_operator.settings import Settings

DYING_POD_LOOK_S = 5.0
"""A dying pod is looked at again even if no event comes: its node may be the one that fell silent."""


@dataclass(frozen=True)
class Context:
    """What a decision needs besides the cluster. `now` is RFC 3339 text in UTC."""

    settings: Settings
    now: str
    heartbeat: Heartbeat
    attempts: Mapping[Verb, AttemptView]
    restored: bool = False
    """The operator was started with --after-restore, and has opened no epoch of this bot's claim since."""
    watch: Watch = field(default_factory=Watch)
    turn: bool = False
    """It is this bot's turn for a replacement that nobody asked for."""
    trial_s: float = 0.0
    """How long the pod has been up and not ready."""


@dataclass
class Road:
    """One run: what is known so far, and the plan being written."""

    observed: Observed
    context: Context
    draft: Draft = field(default_factory=Draft)
    findings: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    replace: str | None = None
    """Why a running epoch must be replaced by a new one, in one word: takeover.py's, or renewal.py's."""
    watch: Watch = field(default_factory=Watch)
    chosen: Chosen | None = None
    """Which template applies; None before the spec was found valid."""
    move: Move | None = None
    """The engine's node is cordoned, and the bot goes elsewhere."""
    stays: Verdict | None = None
    """The engine's node is cordoned, and the bot cannot go: condition Protected."""
    refused: dict[str, Verdict] = field(default_factory=dict)
    """What is wrong with the spec while the last accepted one is worked with: these judgements stand, whatever is found."""
    look_s: float | None = None
    """Something has to be judged again that soon, whatever else there is to wait for."""

    def look_again(self, after_s: float) -> None:
        """Ask to be looked at again at least this soon."""
        self.look_s = after_s if self.look_s is None else min(self.look_s, after_s)

    def found(self, **verdicts: Verdict | str) -> None:
        """Remember judgements, by their names in Findings."""
        self.findings |= verdicts

    def end(self, outcome: Outcome) -> Plan:
        """The plan, with the status that follows from what was found."""
        bot = self.observed.bot
        status = conditions.status_of(
            bot, Findings(**{**self.findings, **self.refused}), self.facts, self.context.now
        )
        told = conditions.announcements(bot, status)
        drafted = self.draft.actions
        # The guard's word to the Lease comes first, and may be all that the Lease needs.
        once = tuple(action for place, action in enumerate(drafted) if action not in drafted[:place])
        return Plan(once, status, outcome, told)


def finish(road: Road, wanted: Desired, outcome: Outcome) -> Plan:
    """The plan, with what the engine says about itself; looked at again at least as soon as the road asks for."""
    engine = judgements.engine_verdict(
        road.observed, road.context.heartbeat, road.facts.get("epoch"), wanted.spec.state
    )
    road.found(engine=engine)
    if road.chosen is not None and road.chosen.back:  # whatever step of the way back this is
        road.found(updated=road.chosen.taken_back)
    if road.stays is not None:
        road.found(protected=road.stays)
        road.look_again(drain.LOOK_S)
    if isinstance(outcome, Done) and road.observed.pod is not None and deleting(road.observed.pod):
        outcome = Again(DYING_POD_LOOK_S)
    if road.look_s is not None:
        outcome = Again(min(road.look_s, outcome.after_s) if not isinstance(outcome, Done) else road.look_s)
    return road.end(outcome)
