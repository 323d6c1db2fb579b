"""What this process saw go by, and when: its own access to the API server, the nodes' heartbeats, pods that overran.

Every time is a monotonic second of this process. What another machine's clock says is never compared with ours: a
`renewTime` only has to differ from the one before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from soloist_operator.objects import Object, dig, name_of

SILENT_AFTER_S = 15.0
LOOK_S = 5.0
"""How often the nodes' Leases are listed; a kubelet renews every 10 s."""
UNHEARD_S = 12.0
"""More than two looks without an answer: whatever we took for silence may be our own."""
WRITES_UNSEEN_S = 25.0
"""Longer than a lone kubelet's renewal and our look together: with none renewed, it is the API server that takes no writes."""


class ApiHealth:
    """Since when the API server answers us, and takes other people's writes."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._answered_s = float("-inf")

    def answered(self, now_s: float, *, writes_seen: bool) -> None:
        """A look succeeded; `writes_seen`: somebody's heartbeat was written lately."""
        if not writes_seen:
            self._since_s = None
        elif self._since_s is None or now_s - self._answered_s > UNHEARD_S:
            self._since_s = now_s
        self._answered_s = now_s

    def failed(self) -> None:
        """A request of ours came to nothing."""
        self._since_s = None

    def healthy_s(self, now_s: float) -> float:
        """For how long everything went well, 0 when it does not, or when we ourselves were paused."""
        if self._since_s is None or now_s - self._answered_s > UNHEARD_S:
            return 0.0
        return now_s - self._since_s


@dataclass
class _Renewal:
    renewed_at: str
    seen_at_s: float
    told: bool = False
    heard: bool = False
    """We saw it change: until then we know of it, and of no sign of life."""


class NodeLeases:
    """The kubelets' heartbeats in `kube-node-lease`."""

    def __init__(self) -> None:
        self._seen: dict[str, _Renewal] = {}

    def listed(self, leases: Iterable[Object], now_s: float) -> None:
        """All of them, as they are now."""
        found = {name_of(lease): lease for lease in leases}
        for node in [known for known in self._seen if known not in found]:
            del self._seen[node]
        for node, lease in found.items():
            self.note(node, lease, now_s)

    def note(self, node: str, lease: Object | None, now_s: float) -> None:
        """One of them, read live; None when it is gone."""
        if lease is None:
            self._seen.pop(node, None)
            return
        renewed_at = str(dig(lease, "spec", "renewTime"))
        known = self._seen.get(node)
        if known is None or known.renewed_at != renewed_at:
            self._seen[node] = _Renewal(renewed_at, now_s, heard=known is not None)

    def silent_s(self, node: str, now_s: float) -> float | None:
        """How long since a node's Lease was seen to change, None when we know of no such Lease."""
        known = self._seen.get(node)
        return None if known is None else now_s - known.seen_at_s

    def silent(self, now_s: float) -> tuple[str, ...]:
        """Nodes whose kubelet we have not heard, in a stable order: nothing new is to be sent there."""
        return tuple(
            sorted(node for node, known in self._seen.items() if now_s - known.seen_at_s >= SILENT_AFTER_S)
        )

    def unheard(self, node: str) -> bool:
        """Whether this process has yet to see a node's first renewal, so that a predecessor's word about it stands."""
        known = self._seen.get(node)
        return known is not None and not known.heard

    def newly_silent(self, now_s: float) -> tuple[str, ...]:
        """Those that fell silent since the last call; each is told once."""
        fallen = tuple(node for node in self.silent(now_s) if not self._seen[node].told)
        for node in fallen:
            self._seen[node].told = True
        return fallen

    def any_within(self, seconds: float, now_s: float) -> bool:
        """Whether any kubelet's renewal was seen lately."""
        return any(now_s - known.seen_at_s < seconds for known in self._seen.values())


class Overruns:
    """Pods whose grace period is over and whose end is not proven, by uid."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    def seen(self, uid: str, now_s: float, *, overrun: bool) -> float:
        """For how long this pod has overrun, as far as this process saw."""
        if not overrun:
            self._since_s.pop(uid, None)
            return 0.0
        return now_s - self._since_s.setdefault(uid, now_s)


@dataclass
class Sightings:
    """Everything this process timed that belongs to no single bot."""

    api: ApiHealth = field(default_factory=ApiHealth)
    nodes: NodeLeases = field(default_factory=NodeLeases)
    overruns: Overruns = field(default_factory=Overruns)
