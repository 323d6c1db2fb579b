"""SIGKILLs of the real engine process, against the real exchange process over TLS with faults on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from subprocess import TimeoutExpired
from typing import Any

from soloist_trader.core.account import OPENING_BALANCE
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import CashAdjusted, Intended, Slot
from soloist_trader.journal.reader import Tail, read_journal
from soloist_trader.shell.control import Request, ask

from tests.conformance.engine.engine_processes import ORDERS_PATH, Bot, Exchange, serving

READY_S = 60
DELETE_EVERY = 5
GUARDS = ("starts.json", "venue-attempts.json")
"""What slows a crash loop down is tested elsewhere; here it would only make the test wait."""


def fault_list(account: str) -> list[dict[str, Any]]:
    """Lost replies and 5xx after the commit, duplicates, reordered and late fills, lost private frames, disconnects."""
    requests: list[dict[str, Any]] = [
        {"kind": "reply_lost_after", "method": "POST", "path": ORDERS_PATH, "percent": 6},
        {"kind": "reply_lost_before", "method": "POST", "path": ORDERS_PATH, "percent": 3},
        {"kind": "error_after", "method": "POST", "path": ORDERS_PATH, "percent": 4},
        {"kind": "truncated", "method": "POST", "path": ORDERS_PATH, "percent": 2},
        {"kind": "slow", "method": "POST", "path": ORDERS_PATH, "percent": 5, "delay_ms": 300},
        {"kind": "fill_before_reply", "method": "POST", "path": ORDERS_PATH, "percent": 10, "delay_ms": 20},
        {"kind": "reply_lost_after", "method": "DELETE", "path": ORDERS_PATH, "percent": 8},
        {"kind": "error_after", "method": "DELETE", "path": ORDERS_PATH, "percent": 4},
        {"kind": "error_before", "method": "GET", "path": "/portfolio", "percent": 3},
        {"kind": "frame_dropped", "path": "fill", "percent": 10},
        {"kind": "frame_dropped", "path": "user_orders", "percent": 10},
        {"kind": "duplicate_fill", "percent": 10},
        {"kind": "late_fill_after_cancel", "percent": 8, "delay_ms": 400},
        {"kind": "frame_reordered", "path": "fill", "percent": 8},
        {"kind": "frame_reordered", "path": "user_orders", "percent": 8},
        {"kind": "close_without_frame", "path": "fill", "percent": 2},
    ]
    return [{**fault, "account": account} for fault in requests]


@dataclass
class Killed:
    """What was done and found."""

    kills: int = 0
    deleted: int = 0
    judged: int = 0
    orders: int = 0
    fills: int = 0
    doubles: int = 0
    lost: int = 0
    worst_recovery_s: float = 0.0
    findings: list[str] = field(default_factory=list)

    def add(self, other: Killed) -> None:
        for name in ("kills", "deleted", "judged", "orders", "fills", "doubles", "lost"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.worst_recovery_s = max(self.worst_recovery_s, other.worst_recovery_s)
        self.findings += other.findings


class KilledBot(Bot):
    """A bot whose journal may be deleted: what it intended before is remembered here."""

    def __init__(self, directory: Path, exchange: Exchange, account: Any, **parameters: Any) -> None:
        super().__init__(directory, exchange, account, **parameters)
        self.remembered: dict[str, Slot] = {}
        self.was_deleted = False

    def _records(self) -> list[Any]:
        tail = Tail()
        return [
            record for _, _, records in read_journal(self.state, tail, partial=True) for record in records
        ]

    def delete_journal(self) -> None:
        for record in self._records():
            if isinstance(record, Intended):
                slot = Slot(record.strategy, record.market, record.side, record.level)
                self.remembered[record.client_order_id] = slot
        for path in self.state.iterdir():
            if path.is_file():
                path.unlink()
        self.was_deleted = True

    def forget_crash_loop(self) -> None:
        for name in GUARDS:
            (self.state / name).unlink(missing_ok=True)

    def ledger(self) -> tuple[Ledger, dict[str, Slot]]:
        ledger, slots = super().ledger()
        return ledger, self.remembered | slots

    def _judge_money(self, ledger: Ledger) -> list[str]:
        if not self.was_deleted:
            return super()._judge_money(ledger)
        holdings = self.exchange.holdings(self.account.name)
        found = []
        theirs = {row["ticker"]: row["count"] for row in holdings["positions"]}
        for market in theirs.keys() | ledger.positions.keys():
            count = f"{ledger.position(market).count / 100:.2f}"
            if count != theirs.get(market, "0.00"):
                found.append(f"{market}: position {count}, the exchange says {theirs.get(market)}")
        # Fees of before the deletion are in the opening balance: what the account's cash is now says it all.
        if ledger.cash_known and f"{ledger.expected_cash() / 1e6:.6f}" != holdings["cash"]["0"]:
            found.append(f"money {ledger.expected_cash()}, the exchange says {holdings['cash']}")
        strange = [
            record
            for record in self._records()
            if isinstance(record, CashAdjusted) and record.reason != OPENING_BALANCE
        ]
        return found + [f"unexplained cash: {record}" for record in strange]


def kill_again_and_again(
    directory: Path,
    seed: int,
    kills: int,
    *,
    until_s: float,
    said: Callable[[Killed], None] = lambda _result: None,
) -> Killed:
    """So many kills of one bot, or as many as fit until a monotonic time; each is judged after the recovery from it."""
    random, result = Random(seed), Killed()
    with serving(directory) as exchange:
        account = exchange.account(f"killed-{seed}")
        entry = random.choice(("cross", "join"))
        bot = KilledBot(
            directory, exchange, account, entry=entry, order_contracts=random.choice(("1.00", "2.50"))
        )
        try:
            while result.kills < kills and time.monotonic() < until_s and not result.findings:
                exchange.faults(*fault_list(account.name))
                _live(bot, random)
                bot.kill()
                result.kills += 1
                if result.kills % DELETE_EVERY == 0:
                    bot.delete_journal()
                    result.deleted += 1
                _recover_and_judge(bot, random, result)
                result.findings = [f"seed {seed}, kill {result.kills}: {what}" for what in result.findings]
                said(result)
        except (
            AssertionError,
            TimeoutExpired,
        ) as error:  # it did not come back, or did not end: a finding like any other
            result.findings.append(f"seed {seed}, kill {result.kills}: {error}")
        finally:
            bot.close()
        log = exchange.events(account.name)
        result.orders = sum(event["kind"] == "accepted" for event in log)
        result.fills = sum(event["kind"] == "filled" for event in log)
    return result


def _live(bot: KilledBot, random: Random) -> None:
    """Start, and come to where the kill falls: while it recovers, one time in five, else while it trades."""
    bot.forget_crash_loop()
    bot.start()
    if random.randrange(5) == 0:
        bot.wait_logged("Serving", READY_S)
        time.sleep(random.random() * 2)
        return
    bot.wait_logged("Ready", READY_S)
    time.sleep(random.random())  # where in a loop turn the kill falls is the point


def _recover_and_judge(bot: KilledBot, random: Random, result: Killed) -> None:
    bot.forget_crash_loop()
    began_s = time.monotonic()
    bot.start()
    bot.wait_logged("Ready", READY_S)
    result.worst_recovery_s = max(result.worst_recovery_s, time.monotonic() - began_s)
    if "recovery" in bot.status()["latches"]:
        answer = ask(bot.state, Request("resume", "crash-test", "the journal was deleted on purpose"))
        assert answer["ok"], answer
    time.sleep(random.random() / 2)
    bot.exchange.faults()
    code = bot.terminate(60)
    result.judged += 1
    if code != 0:
        result.findings.append(f"the stop was not proven, exit code {code}")
    for what in bot.judge():
        result.doubles += "never intended" in what or "at once" in what
        result.lost += "rests" in what or " is " in what
        result.findings.append(what)
