"""Whatever was done, a kill loses what was not committed and nothing else."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from soloist_exchange.errors import Refused
from soloist_exchange.exchange import Exchange
from soloist_exchange.orders import ASK, BID, Amendment, TimeInForce
from soloist_exchange.store import Range
from soloist_exchange.store_codec import MARKET_FIELDS, ORDER_FIELDS, STATISTICS_FIELDS
from soloist_exchange.switches import Switches

from tests.unit.soloist_exchange.exchange_starts import Starts
from tests.unit.soloist_exchange.exchange_venues import still

WHO = st.integers(0, 1)
PICK = st.integers(0, 50)
ACTIONS = st.one_of(
    st.tuples(st.just("order"), WHO, st.sampled_from([BID, ASK]), st.integers(45, 55), st.integers(1, 300),
              st.sampled_from(list(TimeInForce)), st.booleans(), st.integers(0, 1)),
    st.tuples(st.just("cancel"), PICK),
    st.tuples(st.just("amend"), PICK, st.integers(40, 60), st.integers(1, 400)),
    st.tuples(st.just("cancel_all"), WHO),
    st.tuples(st.just("transfer"), WHO, st.integers(0, 1), st.integers(1, 200_000_000), PICK),
    st.tuples(st.just("group"), WHO, st.sampled_from(["reset", "trigger", "delete"])),
    st.tuples(st.just("pause"), st.sampled_from(["pause_trading", "resume_trading"])),
    st.tuples(st.just("end"), st.sampled_from(["close", "yes", "no", "settle"])),
    st.tuples(st.just("wait"), st.integers(1, 20_000)),
    st.just(("commit",)),
    st.just(("kill",)),
)  # fmt: skip


class World:
    """An exchange without participants, two accounts in it, and what it looked like when it was last committed."""

    def __init__(self, directory: Path, switches: Switches) -> None:
        self.starts = Starts(directory, still("M", "N"))
        self.accounts = [self.starts.account(name, subaccounts=1) for name in ("one", "two")]
        self.switches = switches
        self.exchange = self.starts.start(switches=switches)
        for account_id in self.accounts:
            self.exchange.account(account_id)
            self.exchange.venue.groups.create(account_id, 0, 100_000)
        self.transfers = 0
        self.commit()

    def commit(self) -> None:
        self.exchange.commit()
        self.committed = seen(self.exchange, self.accounts)

    def kill(self) -> None:
        self.exchange = self.starts.start(switches=self.switches)
        assert seen(self.exchange, self.accounts) == self.committed
        self.exchange.venue.ledger.recount()
        self.exchange.venue.groups.check()

    def act(self, kind: str, *what: Any) -> None:
        with contextlib.suppress(Refused):
            getattr(self, kind)(*what)

    def order(
        self, who: int, side: int, cents: int, count: int, life: TimeInForce, grouped: bool, sub: int
    ) -> None:
        groups = self.exchange.venue.groups.of(self.accounts[who])
        group_id = groups[0].group_id if grouped and groups else ""
        self.starts.send(
            self.exchange, self.accounts[who], side, cents * 100, count, ticker="MN"[count % 2], time_in_force=life,
            group_id=group_id, subaccount=sub,
        )  # fmt: skip

    def cancel(self, pick: int) -> None:
        if resting := list(self.exchange.venue.orders.values()):
            self.exchange.venue.cancel(resting[pick % len(resting)])

    def amend(self, pick: int, cents: int, count: int) -> None:
        if resting := list(self.exchange.venue.orders.values()):
            order = resting[pick % len(resting)]
            name = f"renamed-{count}" if count % 3 == 0 else None
            self.exchange.venue.amend(order, Amendment(price=cents * 100, count=count, client_order_id=name))

    def cancel_all(self, who: int) -> None:
        self.exchange.venue.cancel_all(self.accounts[who])

    def transfer(self, who: int, source: int, money: int, name: int) -> None:
        self.exchange.transfer(self.accounts[who], f"t{name}", source, 1 - source, money)

    def group(self, who: int, what: str) -> None:
        for group in self.exchange.venue.groups.of(self.accounts[who]):
            getattr(self.exchange.venue, f"{what}_group")(group)

    def pause(self, what: str) -> None:
        getattr(self.exchange.venue, what)()

    def end(self, what: str) -> None:
        venue = self.exchange.venue
        if what in {"yes", "no"}:
            venue.determine("N", what)
        else:
            getattr(venue, what)("N")

    def wait(self, by_ms: int) -> None:
        self.starts.clock.now_ms += by_ms
        self.exchange.venue.tick()


def seen(exchange: Exchange, accounts: list[int]) -> dict[str, Any]:
    """Return everything that anybody may ask an exchange."""
    everything = Range(limit=10_000)
    venue = exchange.venue
    shown: dict[str, Any] = {
        "markets": {
            ticker: [getattr(market, name) for name in (*MARKET_FIELDS, *STATISTICS_FIELDS)]
            for ticker, market in venue.markets.items()
        },
        "queues": {
            ticker: [
                [(order.order_id, order.remaining) for order in market.book.orders(side)]
                for side in (BID, ASK)
            ]
            for ticker, market in venue.markets.items()
        },
        "open interest": {ticker: count for ticker, count in venue.ledger.open_interest.items() if count},
        "pauses": (venue.trading_active, venue.exchange_active),
        "trades": exchange.history.trades(limit=10_000),
        "log": exchange.store.events(),
        "sequence": venue.last_sequence,
    }
    for account_id in accounts:
        account = exchange.account(account_id)
        shown[account.name] = {
            "cash": {purse: money for purse, money in account.cash.items() if money},
            "reserved": {purse: money for purse, money in account.reserved.items() if money},
            "deposited": account.deposited,
            "positions": dict(account.positions),
            "orders": [
                [getattr(order, name) for name in ORDER_FIELDS]
                for order in exchange.orders_view(account_id, everything)
            ],
            "resting": sorted(order.order_id for order in venue.resting(account_id)),
            "fills": exchange.fills_view(account_id, everything),
            "settlements": exchange.settlements_view(account_id, everything),
            "transfers": exchange.store.transfers(account_id, everything),
            "groups": [
                (group.group_id, group.limit, group.triggered, group.matched, sorted(order.order_id for order in group.orders))
                for group in venue.groups.of(account_id)
            ],
            "keys": [key.key_id for key in exchange.keys_view(account_id)],
        }  # fmt: skip
    return shown


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    actions=st.lists(ACTIONS, max_size=40),
    removed=st.booleans(),
)
def test_a_kill_loses_what_was_not_committed_and_nothing_else(actions, removed):
    switches = Switches(settled_positions="removed" if removed else "kept")
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory), switches)
        for kind, *what in [*actions, ("kill",), ("commit",), ("kill",)]:
            if kind in {"commit", "kill"}:
                getattr(world, kind)()
            else:
                world.act(kind, *what)
        world.starts.stop()
