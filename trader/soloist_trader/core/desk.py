"""The order desk: intends, cancels, takes in evidence, and chases what is in doubt.

Two rules live here. A slot with an unsettled order takes no other (slot rule). An order that may or may not have arrived
is never sent again and never replaced under a new id: it is looked up, and if the venue does not show it, its own id is
burnt by an order that cannot fill (tombstone rule).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from soloist_trader.core import events
from soloist_trader.core.budget import CANCEL_COST, ORDER_COST, WriteBudget
from soloist_trader.core.commands import Alert, Cancel, Command, Entomb, FindFills, FindOrder, Persist, Place
from soloist_trader.core.identifiers import is_ours, order_id
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.orders import Contradiction, Order
from soloist_trader.core.records import (
    Booked,
    Contradicted,
    Doubted,
    Found,
    Intended,
    Observed,
    Record,
    Released,
    Slot,
    Started,
    Tombstoned,
)
from soloist_trader.core.units import BID

TOMBSTONE_COUNT: Final = 1
"""The smallest count the venue takes: 0.01 contract."""
CHASE_EVERY_MS: Final = 500
CANCEL_AGAIN_MS: Final = 1000
FETCH_FILLS_AFTER_MS: Final = 500
EXPIRY_GRACE_MS: Final = 3000
DECISION_DEADLINE_MS: Final = 2000
"""An order that could not be sent within this is not worth sending; the gate keeps it."""
ACCEPTANCE_WINDOW_MS: Final = 60_000
"""The venue refuses a signed timestamp older than this (no source names more than 60 s)."""
LISTING_MARGIN_MS: Final = 60_000
"""How far before the intent a listing looks: clocks of venue and engine differ."""


class Identity(NamedTuple):
    """Who trades: part of every client order id."""

    claim_hash: str
    subaccount: int
    epoch: int
    incarnation: int
    mode: str


class Desk:
    """Orders of one engine. Every method appends to `commands`; the engine hands them out after each step."""

    def __init__(self, ledger: Ledger, identity: Identity, budget: WriteBudget) -> None:
        self.ledger = ledger
        self.identity = identity
        self.budget = budget
        self.commands: list[Command] = []
        self.outcomes: dict[str, int] = {}
        self.changed_markets: set[str] = set()
        self._chased_ms: dict[str, int] = {}
        self._cancelled_ms: dict[str, int] = {}
        self._known_to_exist: set[str] = set()

    def record(self, record: Record) -> None:
        """Change the durable state, and ask for the change to be journaled."""
        self.ledger.apply(record)
        self.commands.append(Persist(record))

    def count(self, outcome: str) -> None:
        """Count what became of orders, for metrics."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    # -- deciding

    def begin(self, now_ms: int) -> None:
        """Write who trades from here on; an order without an outcome is in doubt (a `sent` mark proves nothing)."""
        identity = self.identity
        self.record(
            Started(
                now_ms,
                identity.claim_hash,
                identity.subaccount,
                identity.epoch,
                identity.incarnation,
                identity.mode,
            )
        )
        for order in list(self.ledger.unsettled()):
            if not order.exists and not order.doubted:
                self.record(Doubted(now_ms, order.client_order_id, "the process that intended it ended"))

    def slot_is_free(self, slot: Slot) -> bool:
        """The slot rule."""
        return self.ledger.in_slot(slot) is None

    def next_order_id(self) -> tuple[int, str]:
        """The next sequence number and the client order id made from it."""
        sequence = self.ledger.sequence + 1
        identity = self.identity
        return sequence, order_id(identity.claim_hash, identity.epoch, identity.incarnation, sequence)

    def intend(
        self,
        now_ms: int,
        slot: Slot,
        price: int,
        count: int,
        time_in_force: str,
        expiration_s: int,
        reduce_only: bool,
        book_generation: int,
    ) -> None:
        """Record an order and ask for it to be sent, in this sequence."""
        sequence, client_order_id = self.next_order_id()
        self.record(
            Intended(
                now_ms,
                client_order_id,
                sequence,
                slot.strategy,
                slot.market,
                slot.side,
                slot.level,
                price,
                count,
                time_in_force,
                expiration_s,
                reduce_only,
            )
        )
        self.count("intended")
        self.commands.append(
            Place(
                client_order_id,
                slot.market,
                slot.side,
                price,
                count,
                time_in_force,
                expiration_s,
                reduce_only,
                now_ms + DECISION_DEADLINE_MS,
                book_generation,
                now_ms,
            )
        )

    def cancel(self, now_ms: int, order: Order) -> None:
        """Cancel what rests. Asked for again only after a while: a cancel on its way needs no second."""
        if not order.resting:
            return
        if now_ms - self._cancelled_ms.get(order.client_order_id, 0) < CANCEL_AGAIN_MS:
            return
        self._cancelled_ms[order.client_order_id] = now_ms
        self.budget.force(now_ms, CANCEL_COST)
        self.commands.append(Cancel(order.client_order_id, order.order_id, order.slot.market))

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
            self.commands.append(
                Alert(
                    "OwnOrderFound", f"{event.client_order_id} rests at the venue and is not in the journal"
                )
            )
            order = self.ledger.orders[event.client_order_id]
        elif not self._matches(order, event):
            self._contradict(event.now_ms, order, Contradiction.FIELDS_DIFFER)
        if (
            order.order_id == event.order_id
            and order.filled >= event.filled
            and (order.closed or not event.closed)
        ):
            return  # nothing new: stale or repeated evidence costs no journal record
        self.record(
            Observed(
                event.now_ms,
                event.client_order_id,
                event.order_id,
                event.filled,
                event.closed,
                event.source,
            )
        )
        self._report(event.now_ms, order)

    @staticmethod
    def _matches(order: Order, event: events.OrderSeen) -> bool:
        if order.slot.market != event.market or order.slot.side != event.side:
            return False
        if order.tombstoned and event.size == TOMBSTONE_COUNT:
            return True
        if order.price != event.price:
            return False
        # The venue cuts a reduce-only order to the position that it finds.
        return event.size == order.size or (order.reduce_only and event.size < order.size)

    def _contradict(self, now_ms: int, order: Order, contradiction: Contradiction) -> None:
        if order.contradiction:
            return
        self.record(Contradicted(now_ms, order.client_order_id, contradiction))

    def _report(self, now_ms: int, order: Order, *, wake: bool = True) -> None:
        """After a change. `wake` lets the strategy decide at once; after a refusal it waits for the next tick."""
        if wake:
            self.changed_markets.add(order.slot.market)
        if order.contradiction:
            self.commands.append(
                Alert(
                    "Contradiction", f"{order.client_order_id} in {order.slot.market}: {order.contradiction}"
                )
            )
        if order.settled:
            self.count(order.label)
            for volatile in (self._chased_ms, self._cancelled_ms):
                volatile.pop(order.client_order_id, None)
            self._known_to_exist.discard(order.client_order_id)
        elif order.closed:
            self._chased_ms[order.client_order_id] = now_ms + FETCH_FILLS_AFTER_MS - CHASE_EVERY_MS

    def on_refused(self, event: events.OrderRefused) -> None:
        """The venue refused. That releases the slot, except where it was the tombstone that was refused."""
        order = self.ledger.orders.get(event.client_order_id)
        if event.code == "too_many_requests":
            self.budget.exhaust(event.now_ms)
        if order is None or order.settled:
            return
        if order.doubted or order.tombstoned:
            self.commands.append(
                Alert(
                    "TombstoneRefused",
                    f"{event.client_order_id}: {event.code} {event.message}; still in doubt",
                )
            )
            return
        self.record(Released(event.now_ms, event.client_order_id, event.code or "Refused", event.message))
        self.count("rejected")
        self._report(event.now_ms, order, wake=False)

    def on_not_sent(self, event: events.OrderNotSent) -> None:
        """No byte left. Says nothing about an earlier send of the same id."""
        order = self.ledger.orders.get(event.client_order_id)
        if order is None or order.settled or order.doubted or order.tombstoned:
            return
        self.record(Released(event.now_ms, event.client_order_id, "NotSent", event.reason))
        self.count("not_sent")
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
        """Send the same id as an order that cannot fill."""
        if not self.budget.take(now_ms, ORDER_COST):
            return  # asked again with the next listing
        if not order.tombstoned:
            self.record(Tombstoned(now_ms, order.client_order_id))
        self.count("tombstone")
        self.commands.append(
            Entomb(order.client_order_id, order.slot.market, order.slot.side, order.price, TOMBSTONE_COUNT)
        )

    def on_cancel_ended(self, event: events.CancelEnded) -> None:
        """`reduced_by` tells how much was taken off; any other outcome is no evidence, and a look-up follows."""
        order = self.ledger.orders.get(event.client_order_id)
        if order is None or order.settled:
            return
        if event.reduced_by >= 0:
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
        """One fill, by its id; repeated ones are absorbed."""
        ledger = self.ledger
        if ledger.has_fill(event.fill_id) or event.fill_time_ms < ledger.horizon_ms:
            return
        order = ledger.order_by_id(event.order_id) or ledger.orders.get(event.client_order_id)
        client_order_id = order.client_order_id if order else event.client_order_id
        if not is_ours(client_order_id, self.identity.claim_hash):
            return
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
            self._report(event.now_ms, order)

    # -- chasing

    def _find(self, now_ms: int, order: Order) -> None:
        self._chased_ms[order.client_order_id] = now_ms
        self.commands.append(
            FindOrder(order.client_order_id, order.slot.market, order.intended_ms - LISTING_MARGIN_MS)
        )

    def chase(self, now_ms: int) -> None:
        """Look after everything whose outcome is due: doubts, closed orders with fills missing, expiries, cancels."""
        for order in self.ledger.unsettled():
            if now_ms - self._chased_ms.get(order.client_order_id, 0) < CHASE_EVERY_MS:
                continue
            if order.unknown:
                self._find(now_ms, order)
            elif order.exists and not order.resting:
                self._chased_ms[order.client_order_id] = now_ms
                self.commands.append(FindFills(order.client_order_id, order.order_id, order.slot.market))
            elif order.resting:
                expired = order.expiration_s and now_ms > order.expiration_s * 1000 + EXPIRY_GRACE_MS
                cancelled_ms = self._cancelled_ms.get(order.client_order_id)
                if expired or (cancelled_ms and now_ms - cancelled_ms > CANCEL_AGAIN_MS):
                    self._find(now_ms, order)


def worst_price(side: int, ticks: tuple[int, ...]) -> int:
    """The price at which an order of this side is the least likely to fill."""
    return ticks[0] if side == BID else ticks[-1]
