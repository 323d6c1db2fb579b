"""Faults that the admin API sets on the wire, each for an account, an endpoint and a probability."""

import random
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

__all__ = ["FAULT_KINDS", "Fault", "Faults"]

FaultKind = Literal[
    "error_before",  # 503, nothing happened
    "error_after",  # 503, and yet it happened
    "reply_lost_before",  # the connection ends, nothing happened
    "reply_lost_after",  # the connection ends, and yet it happened
    "slow",  # carried out at once, but the reply comes late
    "frame_dropped",  # a WebSocket frame is not sent
]
FAULT_KINDS: tuple[str, ...] = (
    "error_before", "error_after", "reply_lost_before", "reply_lost_after", "slow", "frame_dropped",
)  # fmt: skip


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault. Empty account, method or path mean every one; `path` is a prefix after /trade-api/v2."""

    kind: FaultKind
    account: str = ""
    method: str = ""
    path: str = ""
    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 100
    times: Annotated[int, msgspec.Meta(ge=0)] = 0  # 0 = until it is taken away
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 1000


@dataclass(slots=True)
class _Armed:
    fault: Fault
    left: int


class Faults:
    """The faults in force."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a test's dice, not a secret
        self._armed: list[_Armed] = []

    def set(self, faults: list[Fault]) -> None:
        """Replace all faults."""
        self._armed = [_Armed(fault, fault.times) for fault in faults]

    def draw(self, account: str, method: str, path: str) -> Fault | None:
        """Return the fault that hits this request, if one does."""
        for armed in self._armed:
            fault = armed.fault
            if (
                fault.kind != "frame_dropped"
                and fault.account in {"", account}
                and fault.method in {"", method}
                and path.startswith(fault.path)
                and self._hits(armed)
            ):
                return fault
        return None

    def drops_frame(self, account: str, channel: str) -> bool:
        """Whether a frame of a channel is dropped on the way to an account."""
        return any(
            armed.fault.kind == "frame_dropped"
            and armed.fault.account in {"", account}
            and armed.fault.path in {"", channel}
            and self._hits(armed)
            for armed in self._armed
        )

    def _hits(self, armed: _Armed) -> bool:
        if armed.fault.times and armed.left == 0:
            return False
        if self._random.randrange(100) >= armed.fault.percent:
            return False
        armed.left -= 1
        return True
