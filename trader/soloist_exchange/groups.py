"""Order groups: a limit on what is matched inside a group in any 15 seconds, and a handle that cancels all its orders (section 9)."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from soloist_exchange.errors import Refused
from soloist_exchange.orders import Order, UpdateReason

if TYPE_CHECKING:
    from soloist_exchange.floor import Floor

__all__ = ["GROUPS_PER_ACCOUNT", "LARGEST_LIMIT", "SMALLEST_LIMIT", "WINDOW_MS", "Group", "Groups"]

WINDOW_MS: Final = 15_000
SMALLEST_LIMIT: Final = 100  # 1/100 contract
LARGEST_LIMIT: Final = 100_000_000
GROUPS_PER_ACCOUNT: Final = 100_000


class Group:
    """One group of orders, bound to a subaccount and a shard. `limit` in 1/100 contract; `orders` are those that rest."""

    __slots__ = (
        "_clock_ms",
        "_members",
        "_total",
        "_window",
        "account_id",
        "exchange_index",
        "group_id",
        "limit",
        "subaccount",
        "triggered",
    )

    def __init__(
        self,
        group_id: str,
        account_id: int,
        subaccount: int,
        exchange_index: int,
        limit: int,
        clock_ms: Callable[[], int],
    ) -> None:
        self.group_id = group_id
        self.account_id = account_id
        self.subaccount = subaccount
        self.exchange_index = exchange_index
        self.limit = limit
        self.triggered = False
        self._clock_ms = clock_ms
        self._members: dict[str, Order] = {}
        self._window: deque[tuple[int, int]] = deque()
        self._total = 0

    @property
    def matched(self) -> int:
        """What was matched inside the group in the last 15 seconds (1/100 contract)."""
        oldest_ms = self._clock_ms() - WINDOW_MS
        window = self._window
        while window and window[0][0] <= oldest_ms:
            self._total -= window.popleft()[1]
        return self._total

    @property
    def orders(self) -> list[Order]:
        """The resting orders of the group, oldest first."""
        return list(self._members.values())

    @property
    def window(self) -> tuple[tuple[int, int], ...]:
        """The matches in the window as (time_ms, count), oldest first: what a restart has to bring back."""
        return tuple(self._window)

    def count(self, count: int, time_ms: int) -> None:
        """Add a match to the window."""
        self._window.append((time_ms, count))
        self._total += count

    def clear(self) -> None:
        """Forget what was matched, and the trigger."""
        self._window.clear()
        self._total = 0
        self.triggered = False

    def join(self, order: Order) -> None:
        """Take an order in."""
        self._members[order.order_id] = order

    def leave(self, order: Order) -> None:
        """Let an order go; one that is not here is fine."""
        self._members.pop(order.order_id, None)


class Groups:
    """All order groups of a venue. Calls of users raise Refused; each is one step of the venue."""

    def __init__(self, venue: "Floor") -> None:
        self._venue = venue
        self._by_id: dict[str, Group] = {}
        self._by_account: dict[int, dict[str, Group]] = {}

    def create(self, account_id: int, subaccount: int, limit: int, exchange_index: int = 0) -> Group:
        """Make a group with a limit in 1/100 contract."""
        self._venue.require_exchange()
        _require_limit(limit)
        own = self._by_account.get(account_id, {})
        if len(own) >= GROUPS_PER_ACCOUNT:
            raise Refused(400, "bad_request", details=f"more than {GROUPS_PER_ACCOUNT} order groups")
        group = Group(
            self._venue.new_id(), account_id, subaccount, exchange_index, limit, self._venue.clock_ms
        )
        self._add(group)
        self._tell(group, "created")
        return group

    def restore(
        self,
        group_id: str,
        account_id: int,
        subaccount: int,
        exchange_index: int,
        limit: int,
        *,
        triggered: bool = False,
        window: Iterable[tuple[int, int]] = (),
    ) -> Group:
        """Put back a group that was there before a restart, silently; its orders join when they are restored."""
        group = Group(group_id, account_id, subaccount, exchange_index, limit, self._venue.clock_ms)
        for time_ms, count in window:
            group.count(count, time_ms)
        group.triggered = triggered
        self._add(group)
        return group

    def find(self, account_id: int, group_id: str) -> Group:
        """Return a group of an account. Raises Refused (404)."""
        group = self._by_id.get(group_id)
        if group is None or group.account_id != account_id:
            raise Refused(404, "order_group_not_found", "order group not found", "ORDER_GROUP_NOT_FOUND")
        return group

    def of(self, account_id: int, subaccount: int | None = None) -> list[Group]:
        """Return the groups of an account, oldest first, of one subaccount or of all."""
        own = self._by_account.get(account_id, {})
        return [group for group in own.values() if subaccount is None or group.subaccount == subaccount]

    def admit(self, order: Order, exchange_index: int) -> None:
        """Refuse an order whose group is unknown, of another subaccount or shard, or triggered."""
        group = self.find(order.account_id, order.group_id)
        if (group.subaccount, group.exchange_index) != (order.subaccount, exchange_index):
            raise Refused(404, "order_group_not_found", "order group not found", "ORDER_GROUP_NOT_FOUND")
        if group.triggered:
            raise Refused(
                400,
                "exceeded_order_group_risk_limit",
                "order group is triggered: reset it first",
                "EXCEEDED_ORDER_GROUP_RISK_LIMIT",
            )

    def join(self, order: Order) -> None:
        """Take an accepted order into its group; a restored order may have outlived its group."""
        if (group := self._by_id.get(order.group_id)) is not None:
            group.join(order)

    def leave(self, order: Order) -> None:
        """An order of a group is over."""
        if (group := self._by_id.get(order.group_id)) is not None:
            group.leave(order)

    def matched(self, order: Order, count: int, time_ms: int) -> None:
        """Count a fill of a group's order; the one that crosses the limit stands, and triggers."""
        group = self._by_id.get(order.group_id)
        if group is not None:
            group.count(count, time_ms)
            self._judge(group)

    def reset(self, group: Group) -> None:
        """Clear the counter and the trigger."""
        self._venue.require_exchange()
        group.clear()
        self._tell(group, "reset")

    def trigger(self, group: Group) -> None:
        """Cancel all orders of the group and take no new ones until it is reset."""
        self._venue.require_exchange()
        self._pull(group)

    def limit(self, group: Group, limit: int) -> None:
        """Change the limit; at once a trigger when the window holds that much."""
        self._venue.require_exchange()
        _require_limit(limit)
        group.limit = limit
        self._tell(group, "limit_updated")
        self._judge(group)

    def delete(self, group: Group) -> None:
        """Cancel the group's orders and forget it."""
        self._venue.require_exchange()
        self._cancel_orders(group)
        del self._by_id[group.group_id]
        own = self._by_account[group.account_id]
        del own[group.group_id]
        if not own:
            del self._by_account[group.account_id]
        self._tell(group, "deleted")

    def is_auto_cancel_enabled(self, group: Group) -> bool:
        """Return the wire's is_auto_cancel_enabled; for a triggered group it is a switch."""
        return not group.triggered or self._venue.switches.group_auto_cancel_when_triggered

    def check(self) -> None:
        """Assert that members and windows are what they say; for tests and on demand."""
        for group in self._by_id.values():
            for order in group.orders:
                assert order.group_id == group.group_id, f"a member of another group: {order}"
                assert order.remaining > 0, f"a finished order is a member: {order}"
            assert group.matched == sum(count for _, count in group.window), f"window of {group.group_id}"
            assert not (group.triggered and group.orders), f"triggered with orders: {group.group_id}"

    def _judge(self, group: Group) -> None:
        over = group.matched - group.limit
        reached = over >= 0 if self._venue.switches.group_trigger == "reached" else over > 0
        if reached:
            self._pull(group)

    def _pull(self, group: Group) -> None:
        if group.triggered:
            return
        group.triggered = True
        self._cancel_orders(group)
        self._tell(group, "triggered")

    def _cancel_orders(self, group: Group) -> None:
        for order in group.orders:
            if order.remaining:  # the one whose last contract triggered the group ends by its fill
                self._venue.withdraw(order, UpdateReason.ORDER_GROUP_CANCEL)

    def _add(self, group: Group) -> None:
        self._by_id[group.group_id] = group
        self._by_account.setdefault(group.account_id, {})[group.group_id] = group

    def _tell(self, group: Group, event_type: str) -> None:
        for listener in self._venue.listeners:
            listener.on_group(group, event_type)


def _require_limit(limit: int) -> None:
    if not SMALLEST_LIMIT <= limit <= LARGEST_LIMIT:
        raise Refused(400, "bad_request", details="contracts_limit must be 1 to 1000000 contracts")
