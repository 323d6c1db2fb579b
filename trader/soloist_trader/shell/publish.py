"""The immutable snapshot that `/status`, `/metrics` and the Lease are made of; built by the loop every 100 ms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from soloist_kalshi.numbers import count_to_text, money_to_dollars, price_to_dollars

from soloist_trader.config import Configuration
from soloist_trader.core.desk import Identity
from soloist_trader.core.orders import Order
from soloist_trader.core.records import Booked
from soloist_trader.core.units import SIDE_NAMES, STATE_RANK
from soloist_trader.journal.quantiles import SLOW_P99_US
from soloist_trader.journal.writer import Commit
from soloist_trader.shell.clock import ms_to_text, now_ms
from soloist_trader.shell.deployment import Deployment
from soloist_trader.shell.market_choice import MarketChoice
from soloist_trader.shell.recovery import Reconciler
from soloist_trader.shell.runtime import Runtime
from soloist_trader.shell.store_follower import StoreFollower
from soloist_trader.shell.venue_recovery import SafetyRecord, fit

SHOWN_ORDERS: Final = 50


class Publisher:
    """Builds snapshots of one engine."""

    def __init__(
        self, configuration: Configuration, identity: Identity, runtime: Runtime, reconciler: Reconciler
    ) -> None:
        self._configuration = configuration
        self._identity = identity
        self._runtime = runtime
        self._reconciler = reconciler
        self._started_ms = now_ms()
        self._risk = configuration.risk.model_dump(mode="json")
        self.recovery = "CleanStart"
        self.stopping = False
        self.lease_age_ms: int | None = None
        self.deployment = Deployment()
        self.choice: MarketChoice | None = None
        self.follower: StoreFollower | None = None
        """The process that keeps the store; None where the configuration wants none."""
        self.watchdog: Callable[[], dict[str, Any] | None] = lambda: None
        """The watchdog's word for the Lease; None where there is no watchdog."""

    def ready(self) -> bool:
        """Reconciled with the venue, and data fresh."""
        engine = self._runtime.engine
        left = self.choice.left if self.choice is not None else frozenset()
        live = any(market.live for name, market in engine.markets.items() if name not in left)
        connected = bool(self._runtime.edge.status().get("connected"))
        return engine.ready and not self.stopping and live and connected

    def reason(self) -> tuple[str, str]:
        """A CamelCase word and a sentence: why the engine is as it is."""
        engine = self._runtime.engine
        if self.stopping:
            return "Stopping", engine.stopping or "stopping"
        if not engine.ready:
            return self._reconciler.phase, self._reconciler.last_error or "not reconciled with the venue yet"
        latches = engine.ledger.latches
        if latches:
            # Of latches that weigh the same, the journal's: the others can be lifted, a failed disk has to be replaced.
            actor, (state, reason) = max(
                latches.items(), key=lambda item: (STATE_RANK[item[1][0]], item[0] == "journal")
            )
            # The latch holds only a word: the safety record, where it goes, too, has little room.
            words = self._runtime.journal.failed if actor == "journal" else ""
            return state.capitalize(), f"{actor}: {words or reason}"
        if not self.ready():
            nothing = self.choice.nothing() if self.choice is not None else ""
            if nothing:
                return "NoMarkets", nothing
            unknown = self._runtime.edge.status().get("unknownMarkets")
            if unknown:
                return "UnknownMarkets", f"the venue knows no market {unknown}; correct spec.markets"
            return "DataStale", self._reconciler.last_error or "no book can be trusted now"
        return "Trading", f"reconciled, data fresh{self._slow_disk()}"

    def _slow_disk(self) -> str:
        """What readiness says of a disk on which orders wait longer than they should."""
        journal = self._runtime.journal
        if journal.mode is Commit.INLINE and journal.measured[1] <= SLOW_P99_US:
            return ""
        return f"; {journal.describe_commits()}"

    def report(self, pod_uid: str) -> dict[str, Any]:
        """What goes into the Lease (docs/interfaces.md)."""
        reason, message = self.reason()
        venue = self._runtime.edge.status()
        report = {
            "podUid": pod_uid,
            "epoch": self._identity.epoch,
            "incarnation": f"{self._identity.incarnation:x}",
            "keyId": venue.get("keyId", ""),
            "generation": venue.get("generation", 0),
            "state": self._runtime.engine.ledger.state,
            "ready": self.ready(),
            "reason": reason,
            "message": message[:300],
            "safety": self.safety().as_json(),
        }
        if (word := self.watchdog()) is not None:
            report["watchdog"] = word
        return fit(report)

    def safety(self) -> SafetyRecord:
        """What has to be known if the volume is lost."""
        engine = self._runtime.engine
        ledger = engine.ledger
        return SafetyRecord(
            now_ms(),
            self._identity.epoch,
            ledger.sequence,
            ledger.day,
            engine.day_profit(),
            dict(ledger.latches),
            {role: group.group_id for role, group in ledger.groups.items()},
        )

    def snapshot(self) -> dict[str, Any]:
        """Everything, as plain values."""
        engine, runtime, ledger = self._runtime.engine, self._runtime, self._runtime.engine.ledger
        reason, message = self.reason()
        venue = runtime.edge.status()
        bot = self._configuration.bot
        return {
            "version": 1,
            "publishedAt": ms_to_text(now_ms()),
            "startedAt": ms_to_text(self._started_ms),
            "bot": {"namespace": bot.namespace, "name": bot.name},
            "mode": self._configuration.mode,
            "strategy": self._configuration.strategy.name,
            "venueName": self._configuration.venue.name,
            "deployment": {
                "image": self.deployment.image,
                "configurationSha256": self.deployment.configuration_sha256,
                "strategySha256": self.deployment.strategy_sha256,
            },
            "state": ledger.state,
            "latches": {
                actor: {"state": state, "reason": why} for actor, (state, why) in ledger.latches.items()
            },
            "ready": self.ready(),
            "reason": reason,
            "message": message,
            "recovery": self.recovery,
            "epoch": self._identity.epoch,
            "incarnation": f"{self._identity.incarnation:x}",
            "sequence": ledger.sequence,
            "keyId": venue.get("keyId", ""),
            "generation": venue.get("generation", 0),
            "venue": venue,
            "leaseAgeMs": self.lease_age_ms,
            "sweeps": self._reconciler.sweeps,
            "differences": {name: {"ours": a, "venue": b} for name, (a, b) in engine.differences.items()},
            "haltedMarkets": dict(ledger.halts),
            "orderGroups": {
                role: {"id": group.group_id, "state": group.state, "limit": count_to_text(group.limit)}
                for role, group in ledger.groups.items()
            },
            "gate": {
                "closed": runtime.gate.closed,
                "kept": runtime.gate.kept,
                "intentsIn": runtime.gate.intents_in,
                "intentsOut": runtime.gate.intents_out,
            },
            "markets": [
                _market(name, market)
                for name, market in engine.markets.items()
                if self.choice is None or name not in self.choice.left
            ],
            "discovery": self.choice.shown() if self.choice is not None else None,
            "store": self.follower.shown() if self.follower is not None else None,
            "positions": self._positions(),
            "profit": self._profit(),
            "orders": [_order(order) for order in list(ledger.orders.values())[-SHOWN_ORDERS:]],
            "unsettledOrders": ledger.unsettled_count(),
            "fills": [_fill(number, record) for number, record in runtime.recent_fills],
            "feeModelDifference": self._fee_difference(),
            "risk": self._risk,
            "writeTokens": engine.budget.tokens,
            "tape": runtime.tape.status() if runtime.tape is not None else {},
            "journal": {
                "durability": "durable",
                "commits": runtime.journal.commits,
                "bytes": runtime.journal.bytes_written,
                "failed": runtime.journal.failed,
                "full": runtime.journal.full,
                "commitQuantilesUs": list(runtime.journal.commit_quantiles()),
                "commitMode": str(runtime.journal.mode),
                "commitWords": runtime.journal.describe_commits(),
            },
            "counters": self._counters(),
            "histograms": {
                "decision_latency": runtime.decision.frozen(),
                "journal_commit": runtime.commit.frozen(),
                "order_round_trip": runtime.order_round_trip.frozen(),
            },
        }

    def _counters(self) -> dict[str, dict[Any, int]]:
        engine, runtime = self._runtime.engine, self._runtime
        return {
            "orders": dict(engine.desk.outcomes),
            "trades": dict(runtime.trades),
            "denials": dict(engine.denials),
            "errors": dict(runtime.errors),
            "alerts": dict(runtime.alerts),
            "frames": dict(getattr(runtime.edge, "frames", {})),
            "journal_commits": {
                "durable": runtime.journal.commits,
                "failed": int(bool(runtime.journal.failed)),
            },
            "fee_checks": dict(runtime.fee_watch.checks) if runtime.fee_watch is not None else {},
            "store_failures": {"ended": self.follower.failures} if self.follower is not None else {},
            "book_gaps": {"sequence": int(str(runtime.edge.status().get("bookGaps", 0)))},
        }

    def _fee_difference(self) -> str | None:
        """Fees booked less what our model says, in dollars, of orders of this process; None where fees are not real."""
        watch = self._runtime.fee_watch
        return money_to_dollars(watch.difference) if watch is not None else None

    def _unrealised(self) -> int:
        total = 0
        for name, position in self._runtime.engine.ledger.positions.items():
            market = self._runtime.engine.markets.get(name)
            if position.count and market is not None and market.live:
                total += position.unrealised(market.view.bid_price, market.view.ask_price)
        return total

    def _profit(self) -> dict[str, str]:
        positions = self._runtime.engine.ledger.positions.values()
        realised = sum(position.realised for position in positions)
        fees = sum(position.fees for position in positions)
        unrealised = self._unrealised()
        return {
            "realised": money_to_dollars(realised),
            "unrealised": money_to_dollars(unrealised),
            "fees": money_to_dollars(fees),
            "net": money_to_dollars(realised + unrealised - fees),
            "day": money_to_dollars(self._runtime.engine.day_profit()),
        }

    def _positions(self) -> list[dict[str, Any]]:
        rows = []
        for name, position in sorted(self._runtime.engine.ledger.positions.items()):
            market = self._runtime.engine.markets.get(name)
            bid, ask = (market.view.bid_price, market.view.ask_price) if market else (0, 0)
            rows.append(
                {
                    "market": name,
                    "count": count_to_text(position.count),
                    "averagePrice": price_to_dollars(position.average_price),
                    "realised": money_to_dollars(position.realised),
                    "unrealised": money_to_dollars(position.unrealised(bid, ask)),
                    "fees": money_to_dollars(position.fees),
                    "fills": position.fills,
                }
            )
        return rows


def _market(name: str, market: Any) -> dict[str, Any]:
    view = market.view
    return {
        "market": name,
        "live": market.live,
        "open": market.is_open,
        "bid": price_to_dollars(view.bid_price),
        "ask": price_to_dollars(view.ask_price),
        "bidSize": count_to_text(view.bid_count),
        "askSize": count_to_text(view.ask_count),
        "volume": count_to_text(view.volume),
    }


def _order(order: Order) -> dict[str, Any]:
    return {
        "clientOrderId": order.client_order_id,
        "orderId": order.order_id,
        "sequence": order.sequence,
        "market": order.slot.market,
        "side": SIDE_NAMES[order.slot.side],
        "level": order.slot.level,
        "price": price_to_dollars(order.price),
        "size": count_to_text(order.size),
        "filled": count_to_text(order.evidence),
        "timeInForce": order.time_in_force,
        "label": str(order.label),
        "intendedAt": ms_to_text(order.intended_ms),
        "updatedAt": ms_to_text(order.updated_ms),
        "code": order.release_code,
    }


def _fill(number: int, record: Booked) -> dict[str, Any]:
    return {
        "number": number,
        "fillId": record.fill_id,
        "clientOrderId": record.client_order_id,
        "market": record.market,
        "side": SIDE_NAMES[record.side],
        "price": price_to_dollars(record.price),
        "size": count_to_text(record.size),
        "fee": money_to_dollars(record.fee),
        "taker": record.is_taker,
        "at": ms_to_text(record.fill_time_ms),
    }
