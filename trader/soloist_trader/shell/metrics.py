"""Counting in plain integers on the loop's side, metrics on the scraper's. Names under the prefix `soloist_`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

BUCKETS_US: Final = (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 200_000, 1_000_000)


class Histogram:
    """Durations in microseconds, counted in fixed buckets (about 0.2 us per observation)."""

    __slots__ = ("counts", "total_us")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_US) + 1)
        self.total_us = 0

    def observe(self, duration_us: int) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS_US, duration_us)] += 1
        self.total_us += duration_us

    def frozen(self) -> tuple[tuple[int, ...], int]:
        """Counts per bucket (not cumulated) and the sum, for the snapshot."""
        return tuple(self.counts), self.total_us


class SnapshotCollector(Collector):
    """Turns the last published snapshot into metrics; never looks at the engine itself."""

    def __init__(self, snapshot: Callable[[], dict[str, Any]], age_s: Callable[[], float]) -> None:
        self._snapshot = snapshot
        self._age_s = age_s

    def collect(self) -> Iterable[Metric]:
        """Every metric of the engine."""
        snapshot = self._snapshot()
        if not snapshot:
            return
        yield _gauge("snapshot_age_seconds", "age of the state shown here", self._age_s())
        yield _deployment(snapshot["deployment"])
        yield from _state(snapshot)
        yield from _money(snapshot)
        yield from _counters(snapshot["counters"])
        for name, (counts, total_us) in snapshot["histograms"].items():
            yield _histogram(name, counts, total_us)


def _gauge(name: str, document: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"soloist_{name}", document, value=value)


def _deployment(shown: dict[str, str]) -> Metric:
    labels = {
        "image": shown["image"],
        "configuration_sha256": shown["configurationSha256"],
        "strategy_sha256": shown["strategySha256"],
    }
    return InfoMetricFamily("soloist_deployment", "what runs here", value=labels)


def _state(snapshot: dict[str, Any]) -> Iterable[Metric]:
    state = GaugeMetricFamily("soloist_state", "1 for the engine's trading state", labels=["state"])
    for name in ("ACTIVE", "REDUCING", "HALTED"):
        state.add_metric([name], float(snapshot["state"] == name))
    yield state
    yield _gauge("ready", "1 once reconciled with the venue and not stopping", float(snapshot["ready"]))
    yield _gauge("epoch", "epoch of the claim in which this engine trades", snapshot["epoch"])
    if snapshot["leaseAgeMs"] is not None:
        yield _gauge("lease_age_seconds", "time since the last renewal", snapshot["leaseAgeMs"] / 1000)
    yield _gauge("unsettled_orders", "orders that may still change a position", snapshot["unsettledOrders"])
    yield _gauge("write_budget_tokens", "tokens left of the account's write bucket", snapshot["writeTokens"])
    if snapshot["store"] is not None:
        yield _gauge(
            "store_following", "1 while the store's process runs", float(snapshot["store"]["running"])
        )
    if snapshot["discovery"] is not None:
        chosen = snapshot["discovery"]["followed"]
        yield _gauge("discovered_markets", "markets of the series that are followed now", chosen)
    live = GaugeMetricFamily(
        "soloist_book_live", "1 while the book of a market can be trusted", labels=["market"]
    )
    for market in snapshot["markets"]:
        live.add_metric([market["market"]], float(market["live"]))
    yield live


def _money(snapshot: dict[str, Any]) -> Iterable[Metric]:
    profit = GaugeMetricFamily("soloist_pnl_dollars", "profit since the journal began", labels=["kind"])
    for kind in ("realised", "unrealised", "fees", "net", "day"):
        profit.add_metric([kind], float(snapshot["profit"][kind]))
    yield profit
    if snapshot["feeModelDifference"] is not None:
        yield _gauge(
            "fee_model_difference_dollars",
            "fees booked less what our model says, since the start",
            float(snapshot["feeModelDifference"]),
        )
    held = GaugeMetricFamily(
        "soloist_position_contracts", "signed position, YES above zero", labels=["market"]
    )
    for position in snapshot["positions"]:
        held.add_metric([position["market"]], float(position["count"]))
    yield held
    opened = sum(1 for position in snapshot["positions"] if float(position["count"]))
    yield _gauge("positions_open", "markets with a position", opened)


def _counters(counters: dict[str, dict[Any, int]]) -> Iterable[Metric]:
    """Counters by name, each {label value or tuple of values: count}; the labels are part of the name table."""
    for name, (labels, document) in COUNTERS.items():
        family = CounterMetricFamily(f"soloist_{name}", document, labels=labels)
        for values, count in counters.get(name, {}).items():
            family.add_metric(list(values) if isinstance(values, tuple) else [values], count)
        yield family


COUNTERS: Final[dict[str, tuple[list[str], str]]] = {
    "orders": (["outcome"], "what became of orders"),
    "trades": (["market", "side", "status"], "fills of this bot"),
    "denials": (["code"], "orders denied before they were intended"),
    "errors": (["error_type"], "errors by kind"),
    "alerts": (["code"], "what a person should read"),
    "frames": (["kind"], "frames of the venue's WebSocket"),
    "fee_checks": (["outcome"], "settled orders whose fees were compared with our model"),
    "store_failures": (["kind"], "ends of the store's process"),
    "journal_commits": (["outcome"], "commits of the journal"),
    "book_gaps": (["kind"], "sequence gaps and impossible books"),
}


def _histogram(name: str, counts: tuple[int, ...], total_us: int) -> HistogramMetricFamily:
    buckets, total = [], 0
    for index, count in enumerate(counts):
        total += count
        limit = str(BUCKETS_US[index] / 1_000_000) if index < len(BUCKETS_US) else "+Inf"
        buckets.append((limit, float(total)))
    return HistogramMetricFamily(
        f"soloist_{name}_seconds", "duration", buckets=buckets, sum_value=total_us / 1_000_000
    )


def render(collector: Collector) -> bytes:
    """The text that Prometheus scrapes."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)
