"""What the exchange counts about its own work, and the Prometheus text format (version 0.0.4) that shows it."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = ["CONTENT_TYPE", "Family", "RequestTimes", "Usage", "render"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
Kind = Literal["counter", "gauge", "histogram"]
Labels = Mapping[str, str]
Sample = tuple[str, Labels, int | float]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: samples are (suffix of the name, labels, value)."""

    name: str
    kind: Kind
    help: str
    samples: Iterable[Sample]

    @classmethod
    def single(cls, name: str, kind: Kind, text: str, value: float) -> "Family":
        """Return a metric of one value without labels."""
        return cls(name, kind, text, [("", {}, value)])


def render(families: Iterable[Family]) -> str:
    """Return metrics as Prometheus reads them."""
    lines: list[str] = []
    for family in families:
        lines += (f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}")
        for suffix, labels, value in family.samples:
            text = ",".join(f'{name}="{_escaped(label)}"' for name, label in labels.items())
            lines.append(
                f"{family.name}{suffix}{{{text}}} {value}" if text else f"{family.name}{suffix} {value}"
            )
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class RequestTimes:
    """How long requests took, from their last byte to their reply's hand-over to the kernel, per endpoint; and their statuses."""

    def __init__(self) -> None:
        self._buckets: dict[str, list[int]] = {}
        self._sums_s: dict[str, float] = {}
        self._statuses: dict[tuple[str, int], int] = {}

    def observe(self, endpoint: str, status: int, took_s: float) -> None:
        """Count one request."""
        buckets = self._buckets.get(endpoint)
        if buckets is None:
            buckets = self._buckets[endpoint] = [0] * (len(BOUNDS_S) + 1)
            self._sums_s[endpoint] = 0.0
        buckets[bisect_left(BOUNDS_S, took_s)] += 1
        self._sums_s[endpoint] += took_s
        key = (endpoint, status)
        self._statuses[key] = self._statuses.get(key, 0) + 1

    def families(self) -> list[Family]:
        """Return the counters and the histogram."""
        samples: list[Sample] = []
        for endpoint, buckets in sorted(self._buckets.items()):
            total = 0
            for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), buckets, strict=True):
                total += count
                samples.append(("_bucket", {"endpoint": endpoint, "le": bound}, total))
            samples.append(("_sum", {"endpoint": endpoint}, round(self._sums_s[endpoint], 6)))
            samples.append(("_count", {"endpoint": endpoint}, total))
        counts = [
            ("", {"endpoint": endpoint, "status": str(status)}, count)
            for (endpoint, status), count in sorted(self._statuses.items())
        ]
        return [
            Family("soloist_exchange_requests_total", "counter", "Requests answered.", counts),
            Family(
                "soloist_exchange_request_duration_seconds",
                "histogram",
                "Time from a request's last byte to its reply.",
                samples,
            ),
        ]


@dataclass(slots=True)
class _Open:
    """What an account has open now, and the most it ever had at once."""

    by_key: dict[str, int] = field(default_factory=dict)
    connections: int = 0
    websockets: int = 0
    most_keys: int = 0
    most_connections: int = 0
    most_websockets: int = 0


class Usage:
    """Which keys are in use, and on how many connections: an account that two traders share shows here.

    A key is in use as long as a connection is open on which it was the last to sign.
    """

    def __init__(self) -> None:
        self._accounts: dict[str, _Open] = {}

    def enter(self, account: str, key_id: str, *, websocket: bool = False) -> None:
        """Count a connection on which a key signed."""
        found = self._accounts.setdefault(account, _Open())
        found.by_key[key_id] = found.by_key.get(key_id, 0) + 1
        found.connections += 1
        found.websockets += websocket
        found.most_keys = max(found.most_keys, len(found.by_key))
        found.most_connections = max(found.most_connections, found.connections)
        found.most_websockets = max(found.most_websockets, found.websockets)

    def leave(self, account: str, key_id: str, *, websocket: bool = False) -> None:
        """Count its end."""
        found = self._accounts[account]
        found.by_key[key_id] -= 1
        if not found.by_key[key_id]:
            del found.by_key[key_id]
        found.connections -= 1
        found.websockets -= websocket
        assert found.connections >= 0
        assert found.websockets >= 0

    def websockets(self, account: str) -> int:
        """Return how many WebSocket connections an account has open."""
        return self._accounts.get(account, _Open()).websockets

    def of(self, account: str) -> dict[str, int]:
        """Return the counts of an account, now and the most since the start."""
        found = self._accounts.get(account, _Open())
        return {
            "keys": len(found.by_key),
            "keys_max": found.most_keys,
            "connections": found.connections,
            "connections_max": found.most_connections,
            "websockets": found.websockets,
            "websockets_max": found.most_websockets,
        }

    def families(self) -> list[Family]:
        """Return the counts of all accounts."""
        names = {
            "keys": "API keys in use on open connections, per account",
            "connections": "Open connections that have signed, per account",
            "websockets": "Open WebSocket connections, per account",
        }
        counts = {account: self.of(account) for account in sorted(self._accounts)}
        return [
            Family(
                f"soloist_exchange_account_{name}{suffix}",
                "gauge",
                f"{text}{more}.",
                [("", {"account": account}, item[name + suffix]) for account, item in counts.items()],
            )
            for name, text in names.items()
            for suffix, more in (("", ""), ("_max", ", most at once since the start"))
        ]
