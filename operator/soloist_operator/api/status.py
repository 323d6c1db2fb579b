"""Status of a TradingBot, and the AccountClaim: written by the operator, read by people and tools."""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

from pydantic import Field

from soloist_operator.api.fields import Block


class ConditionType(enum.StrEnum):
    """What the status says something about, in the order in which people read it."""

    READY = "Ready"
    ACCOUNT_CLAIMED = "AccountClaimed"
    FENCED = "Fenced"
    ENGINE_READY = "EngineReady"
    UPDATED = "Updated"
    KEYS_HEALTHY = "KeysHealthy"
    PROTECTED = "Protected"
    PROGRESSING = "Progressing"


class Condition(Block):
    """One judgement, with the generation of the spec it was made for."""

    type: str = Field(max_length=63)
    status: Literal["True", "False", "Unknown"]
    reason: str = Field(max_length=63, description="One CamelCase word.")
    message: str = Field(max_length=4096, description="What, where, and what to do next.")
    last_transition_time: str = Field(json_schema_extra={"format": "date-time"})
    observed_generation: int


class TradingBotStatus(Block):
    """What is."""

    observed_generation: int | None = None
    conditions: (
        Annotated[
            list[Condition],
            Field(
                json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
                max_length=20,
            ),
        ]
        | None
    ) = None
    mode: str | None = None
    state: str | None = Field(
        default=None,
        description="Pending, Running, Reducing, Halted or Stopped: what the engine reports, not what was asked.",
    )
    account_identity: str | None = Field(
        default=None,
        description="Which account it is, by the venue's own word: found once, bound, and never derived again.",
    )
    claim: str | None = Field(default=None, description="The AccountClaim of this bot's account.")
    epoch: int | None = Field(default=None, description="The epoch in which the engine may trade.")
    pod: str | None = None
    node: str | None = None
    image: str | None = Field(default=None, description="The image that the pod runs.")
    config_hash: str | None = Field(default=None, description="The configuration that the pod runs.")
    key_id: str | None = Field(default=None, description="The key that the engine uses.")
    resolved: Annotated[dict[str, str], Field(description="Defaults and profiles, resolved.")] | None = None
    safety: (
        Annotated[
            dict[str, Any],
            Field(
                description="The engine's safety record, as of its last change of latches, order groups or day.",
                json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
            ),
        ]
        | None
    ) = None
    rollout: (
        Annotated[
            dict[str, str],
            Field(
                description="`good`: the template with which the engine was ready last, put back when another one fails. `refused`: "
                "the fingerprint of the one that failed, and `why`."
            ),
        ]
        | None
    ) = None


class Phase(enum.StrEnum):
    """Where a claim stands."""

    IDLE = "Idle"
    """Nobody holds it; every key of it is revoked."""
    FENCING = "Fencing"
    """An attempt is making its epoch the only one."""
    ACTIVE = "Active"
    """The engine of this epoch may trade."""
    CONFLICT = "Conflict"
    """The last attempt found a key that is not ours to revoke."""
    ORPHANED = "Orphaned"
    """The bot was abandoned, or vanished without a word: its last key may still be accepted by the venue."""


class Holder(Block):
    """The TradingBot that holds a claim."""

    namespace: str
    name: str
    uid: str


class ClaimSpec(Block):
    """Whose account it is."""

    holder: Holder | None = None
    venue: str | None = None
    subaccount: int | None = None
    account_identity: str | None = Field(
        default=None,
        max_length=200,
        description="Which account it is, by the venue's own word; the name is its hash.",
    )


class Takeover(Block):
    """One line of a claim's history."""

    epoch: int
    time: str = Field(json_schema_extra={"format": "date-time"})
    outcome: str = Field(max_length=63)
    reason: str = Field(max_length=63, description="Why the epoch was opened, or why it failed.")
    holder: str = Field(max_length=512)


class OrderGroup(Block):
    """An order group that an engine of this claim uses or used."""

    epoch: int
    id: str = Field(max_length=200)


class Halt(Block):
    """An audit found an accepted order that the claim's engine did not send: the bot is halted until a person says otherwise."""

    since: str = Field(json_schema_extra={"format": "date-time"})
    message: str = Field(max_length=1024)
    orders: int = Field(default=0, ge=0, description="How many were seen; more of them halt the bot again.")
    acknowledged: bool = False


class ClaimStatus(Block):
    """Who may trade this account, since when, and why."""

    phase: Phase = Phase.IDLE
    epoch: int = Field(default=0, ge=0)
    nonce: str | None = None
    nonces: list[str] | None = Field(default=None, max_length=1000)
    job_uid: str | None = None
    key_id: str | None = None
    secret_name: str | None = None
    since: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    reason: str | None = Field(
        default=None, max_length=63, description="Why the claim is in this phase, in one word."
    )
    message: str | None = Field(default=None, max_length=1024)
    acknowledged_key_ids: list[str] | None = Field(
        default=None, max_length=50, description="Recorded when the epoch was opened."
    )
    order_groups: list[OrderGroup] | None = Field(
        default=None, max_length=50, description="A takeover deletes those of older epochs."
    )
    halt: Halt | None = None
    evidence: (
        Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
        | None
    ) = None
    history: list[Takeover] | None = Field(default=None, max_length=10)
