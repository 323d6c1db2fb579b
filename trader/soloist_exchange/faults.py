"""Faults on the wire, each for an account, an endpoint and a probability: what a client must survive.

They are set while the exchange runs (`POST /admin/faults`) or by the scenario. A fault hits requests, WebSocket upgrades or frames;
the first one in the list that hits is the one that happens. Section 13.5 and the issue "The venue" name them.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec

from soloist_exchange.errors import ExchangeError

__all__ = ["FAULT_KINDS", "Fault", "FaultReport", "Faults", "FrameFault", "FrameKind", "How", "parse"]

FrameKind = Literal["frame_dropped", "frame_duplicated", "frame_delayed", "frame_reordered", "overflow"]
How = Literal["with_frame", "without_frame"]
FaultKind = Literal[
    # ---- requests
    "error_before",  # `status` (503) with an HTML or JSON body, nothing happened
    "error_after",  # the same, and yet it happened
    "reply_lost_before",  # the connection ends, nothing happened
    "reply_lost_after",  # the connection ends, and yet it happened
    "connection_reset",  # the connection ends with RST; `when` says whether it happened
    "half_open",  # nothing is answered any more on this connection, which stays open; `when` as above
    "slow",  # carried out at once, but the reply comes `delay_ms` late
    "truncated",  # carried out; the reply's body ends early, and then the connection
    "rate_limited",  # 429, nothing happened
    "clock_skew",  # 401 header_timestamp_expired, nothing happened
    "forbidden",  # 403 of a restricted key, nothing happened
    "fill_before_reply",  # the reply waits until the owner's frames were sent, and `delay_ms` more
    "market_paused",  # carried out after the market `ticker` was deactivated; use `after` to hit the middle of a burst
    # ---- WebSocket connections
    "websocket_refused",  # 502 instead of 101
    "close_with_frame",  # the account's connections end with a close frame instead of its next frame
    "close_without_frame",  # the same without one
    # ---- WebSocket frames; `path` is the channel
    "frame_dropped",
    "frame_duplicated",
    "frame_delayed",
    "frame_reordered",
    "overflow",  # error 25 ends the subscription
    "duplicate_fill",  # frame_duplicated of the channel fill
    "late_fill_after_cancel",  # frame_delayed of the channel fill: the cancel's frames overtake it
    # ---- keys, for every account as long as the fault is set: the switches with `delay_ms`
    "revocation_delayed",  # revocation_delay_ms: a deleted key still works
    "key_list_stale",  # key_list_lag_ms: GET /api_keys shows the past
]
FAULT_KINDS: Final[tuple[str, ...]] = FaultKind.__args__  # type: ignore[attr-defined]
_CONNECTION_KINDS: Final[dict[str, How]] = {
    "close_with_frame": "with_frame",
    "close_without_frame": "without_frame",
}
_FRAME_KINDS: Final[dict[str, tuple[FrameKind, str | None]]] = {
    "frame_dropped": ("frame_dropped", None),
    "frame_duplicated": ("frame_duplicated", None),
    "frame_delayed": ("frame_delayed", None),
    "frame_reordered": ("frame_reordered", None),
    "overflow": ("overflow", None),
    "duplicate_fill": ("frame_duplicated", "fill"),
    "late_fill_after_cancel": ("frame_delayed", "fill"),
}
_SWITCH_KINDS: Final = {"revocation_delayed": "revocation_delay_ms", "key_list_stale": "key_list_lag_ms"}
_UPGRADE_PATH: Final = "/ws"


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault. Empty account, method, path and endpoint mean every one.

    `path` is a prefix after /trade-api/v2, for frames the channel, and `/ws/v2` for a WebSocket upgrade, which other request faults spare.
    `endpoint` is a call's whole path with its parameters, such as `/portfolio/events/orders/{order_id}`.
    The first `after` requests or frames that match are spared; `times` 0 means until the fault is taken away.
    """

    kind: FaultKind
    account: str = ""
    method: str = ""
    path: str = ""
    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 100
    times: Annotated[int, msgspec.Meta(ge=0)] = 0
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=600_000)] = 1000
    endpoint: str = ""
    after: Annotated[int, msgspec.Meta(ge=0)] = 0
    status: Annotated[int, msgspec.Meta(ge=500, le=599)] = 503
    body: Literal["html", "json"] = "html"
    when: Literal["before", "after"] = "before"
    ticker: str = ""
    name: str = ""


class FaultReport(msgspec.Struct, frozen=True):
    """A fault in force, how often it matched, and how often it happened."""

    fault: Fault
    matched: int
    hits: int


@dataclass(frozen=True, slots=True)
class FrameFault:
    """What happens to one frame; `delay_ms` is for frame_delayed only."""

    kind: FrameKind
    delay_ms: int = 0


@dataclass(slots=True)
class _Armed:
    fault: Fault
    matched: int = 0
    hits: int = 0


def parse(items: Iterable[Any]) -> list[Fault]:
    """Return the faults that decoded JSON or YAML describes. Raises ExchangeError saying which one is wrong, and how."""
    faults = []
    for index, item in enumerate(items):
        try:
            fault = msgspec.convert(item, Fault)
        except msgspec.ValidationError as error:
            raise ExchangeError(f"fault {index}: {error}; kinds are {', '.join(FAULT_KINDS)}") from None
        if fault.kind == "market_paused" and not fault.ticker:
            raise ExchangeError(f"fault {index}: market_paused needs the market's ticker")
        if fault.kind in _SWITCH_KINDS and fault.account:
            raise ExchangeError(f"fault {index}: {fault.kind} is for every account; leave account empty")
        faults.append(fault)
    return faults


class Faults:
    """The faults in force. `disconnect` ends the WebSocket connections of an account; `on_change` hears of every new set."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a test's dice, not a secret
        self._armed: list[_Armed] = []
        self._requests: list[_Armed] = []
        self._frames: list[_Armed] = []
        self.totals: dict[str, int] = {}
        self.disconnect: Callable[[str, How], object] | None = None
        self.on_change: Callable[[], object] | None = None

    @property
    def hits_requests(self) -> bool:
        """Whether any fault could hit a request; the server asks no further when none can."""
        return bool(self._requests)

    @property
    def hits_frames(self) -> bool:
        """Whether any fault could hit a frame."""
        return bool(self._frames)

    def set(self, faults: Iterable[Fault]) -> None:
        """Replace all faults."""
        self._arm([_Armed(fault) for fault in faults])

    def add(self, faults: Iterable[Fault]) -> None:
        """Set further faults; those in force keep their counts."""
        self._arm([*self._armed, *(_Armed(fault) for fault in faults)])

    def remove(self, name: str) -> None:
        """Take away the faults of a name ("" = all)."""
        self._arm([armed for armed in self._armed if name not in {"", armed.fault.name}])

    def reports(self) -> list[FaultReport]:
        """Return the faults in force, with their counts."""
        return [FaultReport(armed.fault, armed.matched, armed.hits) for armed in self._armed]

    def switches(self) -> dict[str, int]:
        """Return the switches that faults set as long as they are in force."""
        return {
            _SWITCH_KINDS[armed.fault.kind]: armed.fault.delay_ms
            for armed in self._armed
            if armed.fault.kind in _SWITCH_KINDS
        }

    def request(self, account: str, method: str, path: str, endpoint: str = "") -> Fault | None:
        """Return the fault that hits a request, if one does; `path` is what follows /trade-api/v2."""
        for armed in self._requests:
            fault = armed.fault
            if (
                fault.kind != "websocket_refused"
                and fault.account in {"", account}
                and fault.method in {"", method}
                and path.startswith(fault.path)
                and fault.endpoint in {"", endpoint}
                and self._hits(armed)
            ):
                return fault
        return None

    def upgrade(self, account: str) -> Fault | None:
        """Return the fault that hits a WebSocket upgrade: websocket_refused, or one whose path names it."""
        for armed in self._requests:
            fault = armed.fault
            if (
                (fault.kind == "websocket_refused" or fault.path.startswith(_UPGRADE_PATH))
                and fault.account in {"", account}
                and self._hits(armed)
            ):
                return fault
        return None

    def frame(self, account: str, channel: str) -> FrameFault | None:
        """Return what happens to a frame of a channel on its way to an account, None for nothing."""
        for armed in self._frames:
            fault = armed.fault
            how = _CONNECTION_KINDS.get(fault.kind)
            kind, only = _FRAME_KINDS.get(fault.kind, (None, None))
            if (
                fault.account not in {"", account}
                or fault.path not in {"", channel}
                or only not in {None, channel}
                or not self._hits(armed)
            ):
                continue
            if kind is not None:
                return FrameFault(kind, fault.delay_ms if kind == "frame_delayed" else 0)
            if how is not None and self.disconnect is not None:
                self.disconnect(account, how)
                return FrameFault("frame_dropped")
        return None

    def _arm(self, armed: list[_Armed]) -> None:
        self._armed = armed
        self._frames = [item for item in armed if item.fault.kind in {*_FRAME_KINDS, *_CONNECTION_KINDS}]
        others = {*_FRAME_KINDS, *_CONNECTION_KINDS, *_SWITCH_KINDS}
        self._requests = [item for item in armed if item.fault.kind not in others]
        if self.on_change is not None:
            self.on_change()

    def _hits(self, armed: _Armed) -> bool:
        fault = armed.fault
        if fault.times and armed.hits >= fault.times:
            return False
        armed.matched += 1
        if armed.matched <= fault.after:
            return False
        if fault.percent < 100 and self._random.randrange(100) >= fault.percent:  # noqa: PLR2004 - percent
            return False
        armed.hits += 1
        self.totals[fault.kind] = self.totals.get(fault.kind, 0) + 1
        return True
