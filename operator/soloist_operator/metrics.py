"""The operator's own figures, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """Every metric of the operator, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.writes = Counter(
            "soloist_operator_write_requests",
            "Write requests sent to the API server.",
            ["verb", "kind"],
            registry=self.registry,
        )
        self.runs = Counter(
            "soloist_operator_runs",
            "Runs of the reconcile loop, by how they ended.",
            ["outcome"],
            registry=self.registry,
        )
        self.run_seconds = Histogram(
            "soloist_operator_run_seconds", "Duration of one run.", registry=self.registry
        )
        self.queued = Gauge(
            "soloist_operator_queued", "TradingBots planned for a look.", registry=self.registry
        )
        self.watch_silence_seconds = Gauge(
            "soloist_operator_watch_silence_seconds",
            "How long the watch has failed to deliver a change that a list shows; 0 when it hears everything.",
            registry=self.registry,
        )

        self.takeovers = Counter(
            "soloist_operator_takeovers",
            "Takeovers of a running epoch that were opened, by cause.",
            ["cause"],
            registry=self.registry,
        )
        self.takeovers_stopped = Gauge(
            "soloist_operator_takeovers_stopped",
            "TradingBots that are taken over no more until a person acknowledges: page on any.",
            registry=self.registry,
        )

        self.keys_unhealthy = Gauge(
            "soloist_operator_keys_unhealthy",
            "1 while condition KeysHealthy of the claim's holder is not True, by its reason: page on ForeignKey, ForeignOrders and UnknownHistory.",
            ["claim", "reason"],
            registry=self.registry,
        )
        self._unhealthy: dict[str, str] = {}

    def keys(self, claim: str, reason: str | None) -> None:
        """Why the keys of a claim are not healthy, None when they are or when it has no holder here."""
        before = self._unhealthy.pop(claim, None)
        if before is not None:
            self.keys_unhealthy.remove(claim, before)
        if reason is not None:
            self._unhealthy[claim] = reason
            self.keys_unhealthy.labels(claim, reason).set(1)

    def count_write(self, verb: str, kind: str) -> None:
        """Called before every write request."""
        self.writes.labels(verb, kind).inc()
