"""Random streams of calls to a venue.

A stream is a list of plain tuples that name orders and groups by number, so any part of it is a stream, too: what fails can be cut down.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

MONEY = 10**6
INTERNAL = 1
ACCOUNTS = (INTERNAL, 100, 101, 102)
TICKERS = ("A", "B")
BID, ASK = 1, -1
FEES = ("quadratic", "quadratic_with_maker_fees", "quadratic_with_combo_maker_fees", "flat")
RULES: dict[str, tuple[Any, ...]] = {
    "post_only_cross": ("reject", "cancel"),
    "group_trigger": ("reached", "exceeded"),
    "reduce_only": ("immediate_or_cancel", "any", "any"),
    "fill_or_kill": ("cancel", "reject"),
    "fee_precision": ("direct", "indirect"),
    "fee_step": ("0.0001", "0.000001"),
    "client_order_id_scope": ("account", "subaccount"),
    "zero_fill_ioc_uses_id": (True, False),
    "reduce_to_zero": ("cancel", "reject"),
}
GRIDS = {tick: [{"start": "0.0000", "end": "1.0000", "step": f"0.{tick:04d}"}] for tick in (100, 500, 1_000)}
# How often each kind of call is drawn.
KINDS = {
    "create": 150, "amend": 24, "cancel": 12, "decrease": 9, "wait": 9, "group": 7, "cancel_all": 2, "transfer": 4,
    "pause": 1, "resume": 4, "deactivate": 1, "activate": 4, "retick": 1, "finish": 1,
}  # fmt: skip
# How many streams end with the settlement of what is still traded.
SETTLED_SHARE = 0.3
DRAWN = tuple(itertools.chain.from_iterable([kind] * weight for kind, weight in KINDS.items()))

Call = tuple[Any, ...]
World = tuple[dict[str, Any], dict[str, Any], dict[int, tuple[int, bool]]]


def drawn_world(rng: random.Random) -> World:
    """Return switches, markets and accounts of a stream; an account has enough money for some of its orders."""
    rules = {name: rng.choice(choices) for name, choices in RULES.items()}
    markets = {
        ticker: {"shard": 0, "fee": rng.choice(FEES), "multiplier": rng.choice((100, 100, 50, 175))}
        for ticker in TICKERS
    }
    markets["B"]["shard"] = rng.choice((0, 0, 2))
    accounts = {account: (rng.choice((5, 50, 1_000)) * MONEY, account == INTERNAL) for account in ACCOUNTS}
    accounts[INTERNAL] = (10**12, True)
    return rules, markets, accounts


def drawn_call(rng: random.Random) -> Call:
    """Return one call. Orders and groups are named by a number that is taken modulo how many there are."""
    kind = rng.choice(DRAWN)
    pick = rng.randrange(1 << 16)
    if kind == "create":
        return _drawn_order(rng)
    if kind == "amend":
        price = None if rng.random() < 0.3 else rng.randrange(7, 14) * 500
        size = None if rng.random() < 0.2 else rng.choice((-50, -1, 0, 0, 1, 60, 300))
        expires = rng.choice((None, None, None, 0, -1, 3_000))
        return (kind, pick, price, size, expires, rng.random() < 0.1)
    if kind == "cancel":
        return (kind, pick)
    if kind == "decrease":
        return (kind, pick, rng.choice((0, 1, 25, 50, 99, 100, 120)))
    if kind == "wait":
        return (kind, rng.choice((1, 500, 4_000, 14_999, 15_000)))
    if kind == "group":
        what = rng.choice(("create", "create", "create", "reset", "trigger", "limit", "delete"))
        return (
            kind,
            what,
            pick,
            rng.choice(ACCOUNTS[1:]),
            rng.choice((100, 250, 500)),
            rng.choice((0, 0, 2)),
        )
    if kind == "cancel_all":
        return (kind, rng.choice(ACCOUNTS[1:]), rng.choice((None, 0, 1)))
    if kind == "transfer":
        places = ((0, 0), (1, 0), (0, 2))
        return (
            kind,
            rng.choice(ACCOUNTS[1:]),
            rng.choice(places),
            rng.choice(places),
            rng.randrange(-1, 4) * MONEY,
        )
    if kind == "retick":
        return (kind, rng.choice(TICKERS), rng.choice(tuple(GRIDS)))
    if kind in {"pause", "resume"}:
        return (kind,)
    if kind == "finish":
        return (kind, rng.choice(TICKERS), rng.choice((0, 10_000, rng.randrange(10_001))))
    return (kind, rng.choice(TICKERS))


def drawn_stream(rng: random.Random, length: int) -> list[Call]:
    """Return a stream that begins with a group per account and two positions, so that orders find something to do; some end settled."""
    calls: list[Call] = [
        ("group", "create", 0, account, rng.choice((100, 250, 500)), 0) for account in ACCOUNTS[1:]
    ]
    for account, side in ((100, BID), (101, ASK)):
        plain = ("gtc", "taker", False, False, None, 0, False, False)
        count = rng.randrange(50, 500)
        calls.append(("create", INTERNAL, 0, "A", -side, 5000, count, *plain))
        calls.append(("create", account, 0, "A", side, 5000, count, *plain))
    calls += [drawn_call(rng) for _ in range(length)]
    if rng.random() < SETTLED_SHARE:
        calls += [("finish", ticker, rng.choice((0, 10_000, rng.randrange(10_001)))) for ticker in TICKERS]
    return calls


def _drawn_order(rng: random.Random) -> Call:
    dice = rng.random
    life = "gtc" if dice() < 0.7 else rng.choice(("ioc", "fok"))
    return (
        "create",
        rng.choice(ACCOUNTS),
        1 if dice() < 0.1 else 0,
        TICKERS[dice() < 0.25],
        rng.choice((BID, ASK)),
        rng.randrange(7, 14) * 500 + (100 if dice() < 0.03 else 0),
        0 if dice() < 0.01 else rng.choice((1, 33, 100, 100, 200, rng.randrange(1, 600))),
        life,
        "maker" if dice() < 0.4 else "taker",
        dice() < 0.1,  # post-only
        dice() < 0.15,  # reduce-only
        rng.randrange(1 << 16) if dice() < 0.2 else None,  # group
        rng.choice((-1, 1_000, 10_000)) if dice() < 0.12 else 0,  # expiration
        dice() < 0.2,  # cancel on pause
        dice() < 0.03,  # a client order id that was used before
    )
