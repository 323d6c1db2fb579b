"""The order desk: intends, amends, cancels, and chases what is in doubt.

A slot with an unsettled order takes no other (slot rule); what is in doubt is never sent again (`intake`).
"""

from __future__ import annotations

from typing import Final

from soloist_trader.core.budget import CANCEL_COST
from soloist_trader.core.commands import Amend, Cancel, FindFills, Place
from soloist_trader.core.identifiers import order_id
from soloist_trader.core.intake import CHASE_EVERY_MS, Identity, Intake
from soloist_trader.core.orders import Order, Terms
from soloist_trader.core.records import Amending, Doubted, Intended, Slot, Started

__all__ = ["Desk", "Identity"]

CANCEL_AGAIN_MS: Final = 1000
AMEND_REPLY_MS: Final = 1500
"""An amend without an answer for so long is in doubt and looked up."""
AMEND_PATIENCE_MS: Final = 5000
"""An amend in doubt for so long: the order is cancelled, which ends the doubt whatever arrived."""
EXPIRY_GRACE_MS: Final = 3000
DECISION_DEADLINE_MS: Final = 2000
"""An order that could not be sent within this is not worth sending; the gate keeps it."""


class Desk(Intake):
    """Orders of one engine: what is decided, beside what is known."""

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
        role: str = "",
    ) -> None:
        """Record an order and ask for it to be sent, in this sequence. `role` names its order group."""
        sequence, client_order_id = self.next_order_id()
        group = self.ledger.groups.get(role)
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
                role if group else "",
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
                group.group_id if group else "",
            )
        )

    def amend(
        self, now_ms: int, order: Order, price: int, size: int, expiration_s: int, book_generation: int
    ) -> None:
        """Change a resting order. Until its outcome is known, the order counts in both forms."""
        terms = Terms(price, size, expiration_s)
        self.record(Amending(now_ms, order.client_order_id, *terms))
        self._replies_due.add(order.client_order_id)
        self.count("amending")
        self.commands.append(
            Amend(
                order.client_order_id,
                order.order_id,
                order.slot.market,
                order.slot.side,
                *terms,
                now_ms + DECISION_DEADLINE_MS,
                book_generation,
                now_ms,
            )
        )

    def awaits_reply(self, order: Order) -> bool:
        """True until the edge answered the last amend, whatever evidence said meanwhile.

        A reply names terms only: the late reply to one amend must not be taken for the answer to another to the same terms.
        """
        return order.client_order_id in self._replies_due

    def is_cancelling(self, order: Order) -> bool:
        """True if a cancel was asked for: nothing else is done with the order."""
        return order.client_order_id in self._cancelled_ms

    def cancel(self, now_ms: int, order: Order) -> None:
        """Cancel what rests. Asked for again only after a while: a cancel on its way needs no second."""
        if not order.resting:
            return
        if now_ms - self._cancelled_ms.get(order.client_order_id, 0) < CANCEL_AGAIN_MS:
            return
        self._cancelled_ms[order.client_order_id] = now_ms
        self.budget.force(now_ms, CANCEL_COST)
        self.commands.append(Cancel(order.client_order_id, order.order_id, order.slot.market))

    # -- chasing

    def chase(self, now_ms: int) -> None:
        """Look after everything whose outcome is due: doubts, closed orders with fills missing, expiries, cancels."""
        for order in self.ledger.unsettled():
            if now_ms - self._chased_ms.get(order.client_order_id, 0) < CHASE_EVERY_MS:
                continue
            if order.unknown:
                self._find(now_ms, order)
            elif order.amending and order.resting and now_ms - order.amending_ms > AMEND_REPLY_MS:
                self._find(now_ms, order)
                if now_ms - order.amending_ms > AMEND_PATIENCE_MS:
                    self.cancel(now_ms, order)
            elif order.exists and (not order.resting or order.filled > order.booked):
                self._chased_ms[order.client_order_id] = now_ms
                self.commands.append(FindFills(order.client_order_id, order.order_id, order.slot.market))
            elif order.resting:
                expired = order.expiration_s and now_ms > order.expiration_s * 1000 + EXPIRY_GRACE_MS
                cancelled_ms = self._cancelled_ms.get(order.client_order_id)
                if expired or (cancelled_ms and now_ms - cancelled_ms > CANCEL_AGAIN_MS):
                    self._find(now_ms, order)
