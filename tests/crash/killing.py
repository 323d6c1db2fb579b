"""SIGKILLs of the real engine process, against the real exchange process over TLS with faults on."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from subprocess import TimeoutExpired
from typing import Any

from soloist_trader.shell.control import Request, ask

from tests.conformance.engine.engine_processes import ORDERS_PATH, Exchange, serving
from tests.crash.killed_bot import KilledBot, make_bots

READY_S = 180
"""Patience, no budget: the machine may be busy with others."""
DELETE_EVERY = 5
STALE_MS = (0, 150, 1_200)
"""How far the exchange's reads may be behind what has happened."""


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
        {"kind": "frame_duplicated", "path": "user_orders", "percent": 8},
        {"kind": "frame_delayed", "path": "user_orders", "percent": 10, "delay_ms": 900},
        {"kind": "close_without_frame", "path": "fill", "percent": 2},
        {"kind": "websocket_refused", "percent": 10},
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


def kill_again_and_again(
    directory: Path,
    seed: int,
    kills: int,
    *,
    until_s: float,
    bots: int = 1,
    said: Callable[[Killed], None] = lambda _result: None,
) -> Killed:
    """So many kills, or as many as fit until a monotonic time. All bots trade at once; each is judged after it recovered."""
    random, result = Random(seed), Killed()
    directory.mkdir(parents=True, exist_ok=True)
    with serving(directory) as exchange:
        name = f"killed-{seed}"
        parameters = {
            "entry": random.choice(("cross", "join")),
            "order_contracts": random.choice(("1.00", "2.50")),
        }
        killed = make_bots(directory, exchange, name, bots, parameters)
        try:
            while result.kills < kills and time.monotonic() < until_s and not result.findings:
                _be_stale(exchange, random.choice(STALE_MS))
                exchange.faults(*fault_list(name))
                for bot in killed:
                    _live(bot)
                for bot in killed:
                    _kill(bot, random, result)
                for bot in killed:
                    _recover(bot, result)
                time.sleep(random.random() / 2)
                exchange.faults()
                _be_stale(exchange, 0)
                for bot in killed:
                    _judge(bot, result)
                result.findings = [f"seed {seed}, kill {result.kills}: {what}" for what in result.findings]
                said(result)
        except (
            AssertionError,
            TimeoutExpired,
        ) as error:  # it did not come back, or did not end: a finding like any other
            result.findings.append(f"seed {seed}, kill {result.kills}: {error}")
        finally:
            for bot in killed:
                bot.close()
        log = exchange.events(name)
        result.orders = sum(event["kind"] == "accepted" for event in log)
        result.fills = sum(event["kind"] == "filled" for event in log)
    return result


def _be_stale(exchange: Exchange, lag_ms: int) -> None:
    """Reads show what was so long ago."""
    body = json.dumps({"read_model_lag_ms": lag_ms}).encode()
    request = urllib.request.Request(f"{exchange.admin_url}/admin/switches", body, method="PATCH")
    with urllib.request.urlopen(request, timeout=10):
        pass


def _live(bot: KilledBot) -> None:
    bot.forget_crash_loop()
    bot.start()


def _kill(bot: KilledBot, random: Random, result: Killed) -> None:
    """Where the kill falls: while it recovers, one time in five, else while it trades."""
    if random.randrange(5) == 0:
        bot.wait_logged("Serving", READY_S)
        time.sleep(random.random() * 2)
    else:
        bot.wait_logged("Ready", READY_S)
        time.sleep(random.random())  # where in a loop turn the kill falls is the point
    bot.kill()
    result.kills += 1
    if result.kills % DELETE_EVERY == 0:
        bot.delete_journal()
        result.deleted += 1


def _recover(bot: KilledBot, result: Killed) -> None:
    began_s = time.monotonic()
    _live(bot)
    bot.wait_logged("Ready", READY_S)
    result.worst_recovery_s = max(result.worst_recovery_s, time.monotonic() - began_s)
    if "recovery" in bot.status()["latches"]:
        answer = ask(bot.state, Request("resume", "crash-test", "the journal was deleted on purpose"))
        assert answer["ok"], answer


def _judge(bot: KilledBot, result: Killed) -> None:
    code = bot.terminate(READY_S)
    result.judged += 1
    if code != 0:
        result.findings.append(f"the stop was not proven, exit code {code}")
    for what in bot.judge():
        result.doubles += "never intended" in what or "at once" in what
        result.lost += "rests" in what or " is " in what
        result.findings.append(what)
