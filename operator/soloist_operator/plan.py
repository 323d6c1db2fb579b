"""What a decision is: writes in their order, the status to show, and when to look again. Data only."""

from __future__ import annotations

from dataclasses import dataclass, field

from soloist_operator.attempts import Attempt
from soloist_operator.kinds import Kind
from soloist_operator.objects import Object


@dataclass(frozen=True)
class Apply:
    """Server-side apply of a child."""

    kind: Kind
    body: Object


@dataclass(frozen=True)
class Trim:
    """Take away what somebody added to the lists of exactly the object that was read."""

    kind: Kind
    target: Object
    pointers: tuple[str, ...]
    """JSON pointers, in an order in which one removal does not move the next."""


@dataclass(frozen=True)
class Create:
    """Create an object that must be new (a Job). `opens` is an attempt that begins with it and has no claim yet."""

    kind: Kind
    body: Object
    opens: Attempt | None = None


@dataclass(frozen=True)
class Delete:
    """Delete exactly the object that was read. `failed` is an attempt without a claim that ends with it."""

    kind: Kind
    target: Object
    why: str
    failed: Attempt | None = None


@dataclass(frozen=True)
class ForceDelete:
    """Delete exactly the pod that was read, with no grace: of a lost node nothing less frees the name."""

    pod: Object
    why: str


@dataclass(frozen=True)
class SetFinalizer:
    """Add or remove one finalizer of exactly the object that was read."""

    kind: Kind
    target: Object
    finalizer: str
    present: bool
    why: str


@dataclass(frozen=True)
class ScaleToZero:
    """Ask the StatefulSet controller to end the engine, whatever else the StatefulSet says."""

    stateful_set: Object


@dataclass(frozen=True)
class SwapClaim:
    """Compare-and-swap of a claim; creation when the body carries no resourceVersion.

    When it succeeds the attempt `opens` may be believed by this process; `closes` is over.
    """

    body: Object
    why: str
    opens: Attempt | None = None
    closes: Attempt | None = None
    failed: bool = False


@dataclass(frozen=True)
class Announce:
    """One typed Event on the TradingBot."""

    kind: str
    """Normal or Warning."""
    reason: str
    message: str


Action = Apply | Trim | Create | Delete | ForceDelete | SetFinalizer | ScaleToZero | SwapClaim


@dataclass(frozen=True)
class Done:
    """Nothing to wait for: the next event, or the resync, brings the bot back."""


@dataclass(frozen=True)
class Again:
    """Look again after a delay, 0 at once."""

    after_s: float


@dataclass(frozen=True)
class Blocked:
    """Nothing can be done until something outside changes; look again after a delay all the same."""

    reason: str
    after_s: float


Outcome = Done | Again | Blocked

AT_ONCE = Again(0.0)
"""The plan was one step of several; its status is not worth writing."""


@dataclass
class Draft:
    """A plan being written."""

    actions: list[Action] = field(default_factory=list)

    def do(self, action: Action) -> None:
        """Add a write; writes happen in this order, and none after one that failed."""
        self.actions.append(action)


@dataclass(frozen=True)
class Plan:
    """A complete decision. `status` None leaves the status alone (the bot is about to vanish)."""

    actions: tuple[Action, ...]
    status: Object | None
    outcome: Outcome
    announcements: tuple[Announce, ...] = ()
