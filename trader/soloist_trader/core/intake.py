"""Taking in what the venue says of orders: every road, any order, any number of times.

An order that may or may not have arrived is never sent again and never replaced under a new id: it is looked up, and if
the venue does not show it, its own id is burnt by an order that cannot fill (tombstone rule).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from soloist_trader.core import events
from soloist_trader.core.budget import ORDER_COST, WriteBudget
from soloist_trader.core.codes import AlertCode, Contradiction, is_pause
from soloist_trader.core.commands import Alert, Command, Entomb, FindOrder, Persist
from soloist_trader.core.evidence import (
    ACCEPTANCE_WINDOW_MS,
    TOMBSTONE_COUNT,
    amend_verdict,
    is_news,
    matches,
    worst_price,
)
from soloist_trader.core.identifiers import is_ours
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.orders import Order
from soloist_trader.core.patience import Patience
from soloist_trader.core.records import (
    FOUND,
    Amended,
    Amending,
    Booked,
    Contradicted,
    Doubted,
    Excluded,
    FeesAdjusted,
    Found,
    Observed,
    Record,
    Released,
    Tombstoned,
)

CHASE_EVERY_MS: Final = 500
FETCH_FILLS_AFTER_MS: Final = 500
LISTING_MARGIN_MS: Final = 60_000
"""How far before the intent a listing looks: clocks of venue and engine differ."""


class Identity(NamedTuple):
    """Who trades: part of every client order id."""

    claim_hash: str
    subaccount: int
    epoch: int
    incarnation: int
    mode: str


TicksOf = Callable[[str], tuple[int, ...]]
"""The price grid of a market, ascending; empty while it is not known."""


class Intake:
    """What is known of the orders of one engine. Every method appends to `commands`; the engine hands them out after each step."""

    def __init__(self, ledger: Ledger, identity: Identity, budget: WriteBudget, ticks_of: TicksOf) -> None:
        self.ledger = ledger
        self.ticks_of = ticks_of
        self.identity = identity
        self.budget = budget
        self.commands: list[Command] = []
        self.outcomes: dict[str, int] = {}
        self.changed_markets: set[str] = set()
        self.patience = Patience()
        self._chased_ms: dict[str, int] = {}
        self._cancelled_ms: dict[str, int] = {}
        self._known_to_exist: set[str] = set()
        self._replies_due: set[str] = set()
        """Orders whose last amend this process sent and the edge has not answered yet."""

    def record(self, record: Record) -> None:
        """Change the durable state, and ask for the change to be journaled."""
        self.ledger.apply(record)
        self.commands.append(Persist(record))

    def count(self, outcome: str) -> None:
        """Count what became of orders, for metrics."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    # -- evidence

    def on_seen(self, event: events.OrderSeen) -> None:
        """The venue showed an order."""
        if not is_ours(event.client_order_id, self.identity.claim_hash):
            return
        order = self.ledger.orders.get(event.client_order_id)
        if order is None:
            if event.closed:
                return  # settled and forgotten long ago, or of a journal that was lost: the position tells
            self.record(
                Found(
                    event.now_ms,
                    event.client_order_id,
                    event.order_id,
                    event.market,
                    event.side,
                    event.price,
                    event.size,
                )
            )
            self.alert(
                AlertCode.OWN_ORDER_FOUND,
                f"{event.client_order_id} rests at the venue and is not in the journal",
            )
            order = self.ledger.orders[event.client_order_id]
        elif order.slot.strategy == FOUND and not order.had(event.price, event.size):
            self._follow(event, order)
        elif not matches(order, event):
            self._contradict(event.now_ms, order, Contradiction.FIELDS_DIFFER)
        was_settled = order.settled
        taken = amend_verdict(order, event)
        if taken is not None:
            self._end_amend(event.now_ms, order, taken=taken)
        elif not is_news(order, event):
            return
        if is_news(order, event):
            self.record(
                Observed(
                    event.now_ms,
                    event.client_order_id,
                    event.order_id,
                    event.filled,
                    event.closed,
                    event.source,
                    event.fees,
                )
            )
        self._report(event.now_ms, order, was_settled=was_settled)

    def _contradict(self, now_ms: int, order: Order, contradiction: Contradiction) -> None:
        if order.contradiction:
            return
        self.record(Contradicted(now_ms, order.client_order_id, contradiction))

    def _report(self, now_ms: int, order: Order, *, was_settled: bool = False, wake: bool = True) -> None:
        """After a change. `wake` lets the strategy decide at once; after a refusal it waits for the next tick."""
        if wake:
            self.changed_markets.add(order.slot.market)
            if order.resting or order.booked:
                self.patience.met(order.slot)
        if order.halting:
            self.alert(
                AlertCode.CONTRADICTION,
                f"{order.client_order_id} in {order.slot.market}: {order.contradiction}",
            )
        if order.settled:
            self._adjust_fees(now_ms, order)
            if not was_settled:
                self._on_settled(now_ms, order)
        elif order.closed or order.filled > order.booked:
            self._chased_ms[order.client_order_id] = now_ms + FETCH_FILLS_AFTER_MS - CHASE_EVERY_MS

    def _on_settled(self, now_ms: int, order: Order) -> None:
        self.count(order.label)
        cancelled = order.client_order_id in self._cancelled_ms
        for volatile in (self._chased_ms, self._cancelled_ms):
            volatile.pop(order.client_order_id, None)
        self._known_to_exist.discard(order.client_order_id)
        self._replies_due.discard(order.client_order_id)
        if order.exists and not order.booked and not cancelled:
            self.patience.missed(now_ms, order.slot)

    def _adjust_fees(self, now_ms: int, order: Order) -> None:
        """The order's own fee total is the truth once all of its fills are booked (money, not our arithmetic)."""
        difference = order.fees_total - order.fees
        if order.fees_total < 0 or not difference or order.fees_filled != order.booked or order.credited:
            return
        self.record(FeesAdjusted(now_ms, order.client_order_id, order.slot.market, difference))
        self.alert(
            AlertCode.FEES_DIFFER,
            f"{order.client_order_id}: the venue's total is {order.fees_total}, its fills' fees make "
            f"{order.fees_total - difference} (1/1 000 000 dollar)",
        )

    def alert(self, code: AlertCode, message: str) -> None:
        """Tell a person."""
        self.commands.append(Alert(code, message))

    # -- amends

    def _follow(self, event: events.OrderSeen, order: Order) -> None:
        """A found order whose lost process had an amend under way: the venue's terms are all that is known of it."""
        terms = (event.price, event.size, order.expiration_s)
        self.record(Amending(event.now_ms, order.client_order_id, *terms))
        self.record(Amended(event.now_ms, order.client_order_id, *terms, taken=True))

    def _end_amend(self, now_ms: int, order: Order, *, taken: bool) -> None:
        assert order.amending is not None
        self.record(Amended(now_ms, order.client_order_id, *order.amending, taken))
        self.count("amended" if taken else "amend_failed")

    def on_amend_ended(self, event: events.AmendEnded) -> None:
        """The answer to an amend, or that there was none. A refusal of the one copy that was sent is certain."""
        self._replies_due.discard(event.client_order_id)
        order = self.ledger.orders.get(event.client_order_id)
        if order is None or order.amending != (event.price, event.size, event.expiration_s):
            return  # evidence was faster
        if event.outcome == "unknown":
            self.count("amend_unknown")
            self._find(event.now_ms, order)
            return
        was_settled = order.settled
        self._end_amend(event.now_ms, order, taken=event.outcome == "amended")
        if event.outcome == "amended":
            filled = max(event.filled, event.size - event.remaining if event.remaining >= 0 else 0)
            closed = event.remaining == 0
            if filled > order.evidence or (closed and not order.closed):
                self.record(
                    Observed(
                        event.now_ms, order.client_order_id, order.order_id, filled, closed, source="amend"
                    )
                )
            self._report(event.now_ms, order, was_settled=was_settled)
            return
        if event.outcome == "too_many_requests":
            self.budget.exhaust(event.now_ms)
        self.patience.missed(event.now_ms, order.slot)
        if event.outcome != "not_sent":
            self._find(event.now_ms, order)
        self._report(event.now_ms, order, was_settled=was_settled, wake=False)

    def on_refused(self, event: events.OrderRefused) -> None:
        """The venue refused. That releases the slot, except where it was the tombstone that was refused."""
        order = self.ledger.orders.get(event.client_order_id)
        if event.code == "too_many_requests":
            self.budget.exhaust(event.now_ms)
        if order is None or order.settled:
            return
        if order.doubted or order.tombstoned:
            self.alert(
                AlertCode.TOMBSTONE_REFUSED,
                f"{event.client_order_id}: {event.code} {event.message}; still in doubt",
            )
            return
        self.record(Released(event.now_ms, event.client_order_id, event.code or "Refused", event.message))
        self.count("paused" if is_pause(event.code) else "rejected")
        self.patience.missed(event.now_ms, order.slot)
        self._report(event.now_ms, order, wake=False)

    def on_not_sent(self, event: events.OrderNotSent) -> None:
        """No byte left. Says nothing about an earlier send of the same id."""
        order = self.ledger.orders.get(event.client_order_id)
        if order is None or order.settled or order.doubted or order.tombstoned:
            return
        self.record(Released(event.now_ms, event.client_order_id, "NotSent", event.reason))
        self.count("not_sent")
        self.patience.missed(event.now_ms, order.slot)
        self._report(event.now_ms, order, wake=False)

    def on_unknown(self, event: events.OrderUnknown) -> None:
        """Sent, outcome not known: occupies its slot, counts in full, is chased."""
        order = self.ledger.orders.get(event.client_order_id)
        if order is None or order.settled or order.exists:
            return
        if not order.doubted:
            self.record(Doubted(event.now_ms, event.client_order_id, event.reason))
            self.count("unknown")
        self._report(event.now_ms, order)

    def on_exists(self, event: events.OrderExists) -> None:
        """409: it is, or was, on the venue's books. Which of both, and how much filled, only a listing tells."""
        order = self.ledger.orders.get(event.client_order_id)
        if order is None or order.settled:
            return
        self._known_to_exist.add(event.client_order_id)
        if not order.doubted and not order.exists:
            self.record(Doubted(event.now_ms, event.client_order_id, "order_already_exists"))

    def on_absent(self, event: events.OrderAbsent) -> None:
        """Not in a listing of all statuses: burn the id, or accept absence once the venue could no longer take it."""
        order = self.ledger.orders.get(event.client_order_id)
        if order is None or not order.unknown or event.client_order_id in self._known_to_exist:
            return
        if event.as_of_ms > order.intended_ms + ACCEPTANCE_WINDOW_MS and order.tombstoned:
            self.record(
                Released(event.now_ms, event.client_order_id, "Absent", "absent after the acceptance window")
            )
            self.count("absent")
            self._report(event.now_ms, order)
            return
        self.entomb(event.now_ms, order)

    def entomb(self, now_ms: int, order: Order) -> None:
        """Send the same id as an order that cannot fill: the smallest count at the worst price of the grid."""
        ticks = self.ticks_of(order.slot.market)
        if not ticks:
            return  # which price is the worst is not known yet; asked again with the next listing
        if not self.budget.take(now_ms, ORDER_COST):
            return  # asked again with the next listing
        if not order.tombstoned:
            self.record(Tombstoned(now_ms, order.client_order_id))
        self.count("tombstone")
        self.commands.append(
            Entomb(
                order.client_order_id,
                order.slot.market,
                order.slot.side,
                worst_price(order.slot.side, ticks),
                TOMBSTONE_COUNT,
            )
        )

    def on_cancel_ended(self, event: events.CancelEnded) -> None:
        """`reduced_by` tells how much was taken off; any other outcome is no evidence, and a look-up follows."""
        order = self.ledger.orders.get(event.client_order_id)
        if order is None or order.settled:
            return
        amending = order.amending
        if event.reduced_by >= 0 and amending is not None and amending.size != order.size:
            # How much was filled depends on which size was taken off: only a look-up tells.
            self._find(event.now_ms, order)
            return
        if event.reduced_by >= 0:
            # An amend of the price alone stays open: closed is closed, and a late frame may show either price.
            filled = max(order.size - event.reduced_by, order.evidence)
            self.record(
                Observed(
                    event.now_ms, order.client_order_id, order.order_id, filled, closed=True, source="cancel"
                )
            )
            self._report(event.now_ms, order)
            return
        if event.outcome != "not_sent":
            self._find(event.now_ms, order)

    def on_fill(self, event: events.FillSeen) -> None:
        """One fill, by its id; repeated ones are absorbed.

        Before the first comparison nothing is booked: the position that is adopted then contains the fill, and the order's
        evidence brings it back if not. One that an adopted position contains counts for its order only.
        """
        ledger = self.ledger
        if ledger.is_booked(event.fill_id) or ledger.cursor_ms == 0:
            return
        order = ledger.order_by_id(event.order_id) or ledger.orders.get(event.client_order_id)
        client_order_id = order.client_order_id if order else event.client_order_id
        if not is_ours(client_order_id, self.identity.claim_hash):
            return
        if ledger.is_adopted(event.fill_id, event.fill_time_ms):
            if order is not None and not order.settled and event.fill_id not in order.credited:
                self.record(
                    Excluded(
                        event.now_ms, event.fill_id, event.fill_time_ms, order.client_order_id, event.size
                    )
                )
                self._report(event.now_ms, order)
            return
        if event.fill_time_ms < ledger.horizon_ms:
            return
        was_settled = order is not None and order.settled
        self.record(
            Booked(
                event.now_ms,
                event.fill_id,
                client_order_id,
                event.order_id,
                event.market,
                event.side,
                event.price,
                event.size,
                event.fee,
                event.is_taker,
                event.fill_time_ms,
            )
        )
        self.count("fill")
        self.changed_markets.add(event.market)
        if order is not None:
            self._report(event.now_ms, order, was_settled=was_settled)

    # -- looking up

    def _find(self, now_ms: int, order: Order) -> None:
        self._chased_ms[order.client_order_id] = now_ms
        self.commands.append(
            FindOrder(order.client_order_id, order.slot.market, order.intended_ms - LISTING_MARGIN_MS)
        )
