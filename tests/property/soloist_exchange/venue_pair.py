"""The two venues that have to agree about a stream of calls: soloist_exchange and the reference."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from soloist_exchange.errors import Refused
from soloist_exchange.ledger import Account
from soloist_exchange.markets import FeeTerms, MarketState
from soloist_exchange.orders import ASK, BID, Amendment, Order, SelfTrade, TimeInForce
from soloist_exchange.switches import Switches
from soloist_exchange.venue import Fill, Listener, Venue
from soloist_kalshi.numbers import PriceGrid

from tests.property.soloist_exchange.order_streams import GRIDS, INTERNAL, TICKERS, Call, World
from tests.property.soloist_exchange.reference_venue import ReferenceVenue, Refusal

START_MS = 1_700_000_000_000
FAR_MS = START_MS + 10**11
LIVES = {
    "gtc": TimeInForce.GOOD_TILL_CANCELED,
    "ioc": TimeInForce.IMMEDIATE_OR_CANCEL,
    "fok": TimeInForce.FILL_OR_KILL,
}
SELF_TRADES = {"taker": SelfTrade.TAKER_AT_CROSS, "maker": SelfTrade.MAKER}


class Disagreement(AssertionError):  # noqa: N818 - reads as what happened
    """The two venues say different things."""


class Ears(Listener):
    """Fills and trades as tuples, as the reference tells them."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def on_fill(self, fill: Fill) -> None:
        self.events.append(
            (
                "fill",
                fill.order.order_id,
                fill.price,
                fill.count,
                fill.fee,
                fill.is_taker,
                fill.position_after,
            )
        )

    def on_trade(self, market: MarketState, fill: Fill) -> None:
        self.events.append(("trade", market.ticker, fill.order.order_id, fill.price, fill.count))


class Pair:
    """Both venues, the calls that were made, and how they are compared."""

    def __init__(self, world: World) -> None:
        rules, markets, accounts = world
        self.now_ms = START_MS
        numbers = itertools.count(1)
        self.names: set[tuple[int, int, str]] = set()
        self.venue = Venue(lambda: self.now_ms, lambda: f"id-{next(numbers)}", self._taken, Switches(**rules))
        self.ears = Ears()
        self.venue.listeners.append(self.ears)
        for ticker, terms in markets.items():
            self.venue.add_market(
                MarketState(
                    ticker, "E", ticker, PriceGrid.from_ranges(GRIDS[500]), GRIDS[500], START_MS, FAR_MS,
                    market_type="scalar", exchange_index=terms["shard"], fee=FeeTerms(terms["fee"], terms["multiplier"]),
                )
            )  # fmt: skip
        for account_id, (money, internal) in accounts.items():
            self.venue.ledger.open(Account(account_id, str(account_id), internal=internal, deposited=money))
        self.reference = ReferenceVenue(rules, markets, accounts, START_MS)
        self.orders: list[Order] = []
        self.groups: list[Any] = []
        self.refused = 0
        self._told = 0

    def _taken(self, account_id: int, subaccount: int | None, name: str) -> bool:
        if subaccount is not None:
            return (account_id, subaccount, name) in self.names
        return any((who, what) == (account_id, name) for who, _, what in self.names)

    def play(self, call: Call) -> None:
        """Make one call at both, and compare what they answer and what they did."""
        kind, *arguments = call
        theirs = self._answer(self._method("_reference_", self.reference, kind), arguments, Refusal)
        ours = self._answer(self._method("_venue_", self.venue, kind), arguments, Refused)
        if ours != theirs:
            raise Disagreement(f"{call}: the venue answers {ours or 'yes'}, the reference {theirs or 'yes'}")
        self.refused += ours is not None
        events, self.ears.events = self.ears.events, []
        wanted = self.reference.events[self._told :]
        self._told += len(wanted)
        if events != wanted:
            raise Disagreement(f"{call}: the venue tells {events}, the reference {wanted}")
        self._compare_queues(call)

    def _method(self, prefix: str, venue: object, kind: str) -> Callable[..., object]:
        """Return how a venue is called: by a method below where the words differ, else by its own."""
        method: Callable[..., object] = getattr(self, prefix + kind, None) or getattr(venue, kind)
        return method

    @staticmethod
    def _answer(method: Callable[..., object], arguments: list[Any], refusal: type[Exception]) -> str | None:
        try:
            method(*arguments)
        except refusal as error:
            return getattr(error, "code", None) or str(error)
        return None

    def _compare_queues(self, call: Call) -> None:
        for ticker in TICKERS:
            book = self.venue.markets[ticker].book
            for side in (BID, ASK):
                ours = [(o.order_id, o.price, o.remaining) for o in book.orders(side)]
                theirs = [(o["id"], o["price"], o["left"]) for o in self.reference.line(ticker, side)]
                if ours != theirs:
                    raise Disagreement(
                        f"{call}: {ticker} {side} queues as {ours}, in the reference as {theirs}"
                    )

    def compare(self) -> None:
        """Compare everything that is left when a stream is over, and every law."""
        venue, reference = self.venue, self.reference
        venue.recount()
        reference.check()
        for order in self.orders:
            twin = reference.orders.get(order.order_id)
            if twin is None:
                continue
            said = (order.status.value, order.reason.value, order.filled, order.remaining, order.initial)
            wanted = (twin["state"], twin["why"], twin["filled"], twin["left"], twin["size"])
            _same(f"{order.order_id} (status, reason, filled, remaining, initial)", said, wanted)
            money = (
                order.taker_cost + order.maker_cost,
                order.taker_fees + order.maker_fees,
                order.fee_carry,
            )
            _same(
                f"{order.order_id} (cost, fees, carried)", money, (twin["paid"], twin["fees"], twin["carry"])
            )
            if order.level is not None:
                line = [o for o in reference.line(order.ticker, order.side) if o["price"] == order.price]
                ahead = sum(o["left"] for o in line[: [o["id"] for o in line].index(twin["id"])])
                _same(f"{order.order_id} (queue position)", venue.queue_ahead(order), ahead)
        for account in venue.ledger.accounts.values():
            for purse in set(account.cash) | set(account.reserved):
                place = (account.account_id, *purse)
                _same(f"cash of {place}", account.cash.get(purse, 0), reference.cash.get(place, 0))
                if not account.internal:
                    _same(f"reserved of {place}", account.reserved.get(purse, 0), reference.reserved(*place))
            for (sub, ticker), position in account.positions.items():
                held = reference.held[account.account_id, sub, ticker]
                said = (position.count, position.cost, position.realized)
                _same(f"position of {account.name}", said, (held["count"], held["cost"], held["gain"]))
        _same("fees", venue.ledger.fees, reference.fees)
        _same("rounding", venue.ledger.rounding, reference.rounding)
        for group in self.groups:
            if (twin := reference.groups.get(group.group_id)) is not None:
                said = (group.matched, group.triggered, group.limit)
                wanted = (reference.matched(group.group_id), twin["triggered"], twin["limit"])
                _same(f"group {group.group_id}", said, wanted)

    # ---------------------------------------------------------------- the calls, twice

    def _order(self, pick: int) -> Order | None:
        return self.orders[pick % len(self.orders)] if self.orders else None

    def _group(self, pick: int) -> Any:
        return self.groups[pick % len(self.groups)] if self.groups else None

    def _venue_create(self, *_: Any) -> None:
        order = self.orders[-1]
        self.venue.create(order)
        if not order.releases_id:
            self.names.add((order.account_id, order.subaccount, order.client_order_id))

    def _reference_create(
        self, account: int, sub: int, ticker: str, side: int, price: int, size: int, life: str, self_trade: str,
        post_only: bool, reduce_only: bool, pick: int | None, expires: int, on_pause: bool, again: bool,
    ) -> None:  # fmt: skip
        internal = account == INTERNAL  # the exchange's own participants send plain orders only
        own = [group for group in self.groups if group.account_id == account] or self.groups
        group = own[pick % len(own)] if own and pick is not None and not internal else None
        if reduce_only and (held := self.reference.held.get((account, sub, ticker))):
            side = ASK if held["count"] > 0 else BID  # else hardly one of them would have something to reduce
        number = len(self.orders) + 1
        name = self.orders[-1].client_order_id if again and self.orders else f"name-{number}"
        due = self.now_ms + expires if expires else 0
        group_id = "" if group is None else group.group_id
        self.orders.append(
            Order(
                order_id=f"order-{number}", client_order_id=name, account_id=account, subaccount=sub, ticker=ticker,
                side=side, price=price, count=size, created_ms=self.now_ms, time_in_force=LIVES[life],
                self_trade=SELF_TRADES[self_trade], post_only=post_only, reduce_only=reduce_only and not internal,
                group_id=group_id, expiration_ms=due, cancel_on_pause=on_pause,
            )
        )  # fmt: skip
        self.reference.create({
            "id": f"order-{number}", "name": name, "account": account, "sub": sub, "ticker": ticker, "side": side,
            "price": price, "size": size, "life": life, "self_trade": self_trade, "post_only": post_only,
            "reduce_only": reduce_only and not internal, "group": group_id, "expires": due, "on_pause": on_pause,
        })  # fmt: skip

    def _venue_cancel(self, pick: int) -> None:
        if (order := self._known(pick)) is not None:
            self.venue.cancel(order)

    def _reference_cancel(self, pick: int) -> None:
        if (order := self._known(pick)) is not None:
            self.reference.cancel(order.order_id)

    def _known(self, pick: int) -> Order | None:
        """Return an order that was accepted once."""
        order = self._order(pick)
        return order if order is not None and order.order_id in self.reference.orders else None

    def _amended(self, pick: int, size: int | None, expires: int | None, renamed: bool) -> Any:
        order = self._known(pick)
        if order is None:
            return None
        wanted_size = None if size is None else order.filled + order.remaining + size
        wanted_expiry = None if expires is None else expires and self.now_ms + expires
        name = f"again-{pick}" if renamed and order.account_id != INTERNAL else None
        return order, wanted_size, wanted_expiry, name

    def _reference_amend(
        self, pick: int, price: int | None, size: int | None, expires: int | None, renamed: bool
    ) -> None:
        if (wanted := self._amended(pick, size, expires, renamed)) is not None:
            order, wanted_size, wanted_expiry, name = wanted
            self._amend = (order, Amendment(price, wanted_size, name, wanted_expiry))
            self.reference.amend(order.order_id, price, wanted_size, wanted_expiry, name)

    def _venue_amend(self, pick: int, *_: Any) -> None:
        if self._known(pick) is not None:
            order, amendment = self._amend
            self.venue.amend(order, amendment)
            self.names.add((order.account_id, order.subaccount, order.client_order_id))

    def _reference_decrease(self, pick: int, percent: int) -> None:
        if (order := self._known(pick)) is not None:
            self._to = order.remaining * percent // 100
            self.reference.decrease(order.order_id, self._to)

    def _venue_decrease(self, pick: int, _: int) -> None:
        if (order := self._known(pick)) is not None:
            self.venue.decrease(order, to=self._to)

    def _venue_wait(self, milliseconds: int) -> None:
        self.now_ms += milliseconds
        self.venue.tick()

    def _reference_group(self, what: str, pick: int, account: int, limit: int, shard: int) -> None:
        group = self._group(pick)
        if what == "create":
            self.groups.append(self.venue.groups.create(account, 0, limit, shard))
            self.reference.group(self.groups[-1].group_id, account, 0, shard, limit)
        elif group is not None and what == "limit":
            self.reference.limit(group.group_id, limit)
        elif group is not None:
            getattr(self.reference, what)(group.group_id)

    def _venue_group(self, what: str, pick: int, _account: int, limit: int, _shard: int) -> None:
        group = None if what == "create" else self._group(pick)
        if group is None:
            return
        if what == "limit":
            self.venue.limit_group(group, limit)
        else:
            getattr(self.venue, f"{what}_group")(group)
        if what == "delete":
            self.groups.remove(group)

    def _venue_transfer(self, account: int, source: Any, target: Any, money: int) -> None:
        self.venue.transfer(account, source[0], target[0], source[1], target[1], money)

    def _venue_pause(self) -> None:
        self.venue.pause_trading()

    def _venue_resume(self) -> None:
        self.venue.resume_trading()

    def _venue_retick(self, ticker: str, tick: int) -> None:
        self.venue.set_price_ranges(ticker, GRIDS[tick], f"{tick}")

    def _reference_finish(self, ticker: str, value: int) -> None:
        if self.reference.markets[ticker]["status"] != "finalized":
            self.reference.finish(ticker, value)

    def _venue_finish(self, ticker: str, value: int) -> None:
        if self.venue.markets[ticker].status == "finalized":
            return
        self.venue.close(ticker)
        result = {0: "no", 10_000: "yes"}.get(value, "scalar")
        self.venue.determine(ticker, result, value)
        self.venue.settle(ticker)


def _same(what: str, ours: Any, theirs: Any) -> None:
    if ours != theirs:
        raise Disagreement(f"{what}: the venue has {ours}, the reference {theirs}")


def played(world: World, calls: list[Call]) -> Pair:
    """Play a stream to its end and compare. Raises what went wrong, Disagreement or worse."""
    pair = Pair(world)
    for call in calls:
        pair.play(call)
    pair.compare()
    return pair


def shrunk(world: World, calls: list[Call]) -> tuple[list[Call], Exception]:
    """Return a shorter stream that fails, too, and how: the shortest failing beginning, then without calls that it does not need."""
    failure = _failure(world, calls)
    assert failure is not None
    for length in range(1, len(calls) + 1):
        if (found := _failure(world, calls[:length])) is not None:
            calls, failure = calls[:length], found
            break
    for index in range(len(calls) - 2, -1, -1):
        fewer = calls[:index] + calls[index + 1 :]
        if (found := _failure(world, fewer)) is not None:
            calls, failure = fewer, found
    return calls, failure


def _failure(world: World, calls: list[Call]) -> Exception | None:
    try:
        played(world, calls)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in a stream is its failure
        return error
    return None
