"""What was before the last changes: the read model of the venue shows the past (section 3.5), by `switches.read_model_lag_ms`.

Only what changed within the lag is kept here; everything else is as old as it looks.
"""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from soloist_exchange.ledger import Position
from soloist_exchange.orders import Order

__all__ = ["Past", "PursePlace", "Versions"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
# Account, subaccount, shard; and account, subaccount, ticker.
PursePlace = tuple[int, int, int]
PositionPlace = tuple[int, int, str]


class Versions(Generic[Key, Value]):
    """The states of things by the time from which they hold; None = it was not there."""

    def __init__(self) -> None:
        self._states: dict[Key, deque[tuple[int, Value | None]]] = {}
        self._order: deque[tuple[int, Key]] = deque()

    def __len__(self) -> int:
        return len(self._states)

    def note(self, key: Key, time_ms: int, before: Callable[[], Value | None], after: Value | None) -> None:
        """Note a change; `before` is asked when nothing is known of the thing."""
        states = self._states.get(key)
        if states is None:
            states = self._states[key] = deque([(-1, before())])
        states.append((time_ms, after))
        self._order.append((time_ms, key))

    def changed(self, as_of_ms: int) -> dict[Key, Value | None]:
        """Return the state at a time of everything that changed after it; what did not change is not here."""
        self.forget(as_of_ms)
        return {key: self._at(states, as_of_ms) for key, states in self._states.items()}

    def forget(self, as_of_ms: int) -> None:
        """Drop what no read of this time or of a later one needs."""
        while self._order and self._order[0][0] <= as_of_ms:
            _, key = self._order.popleft()
            states = self._states[key]
            states.popleft()
            if len(states) == 1:
                del self._states[key]

    @staticmethod
    def _at(states: deque[tuple[int, Value | None]], as_of_ms: int) -> Value | None:
        found = states[0][1]
        for time_ms, state in states:
            if time_ms > as_of_ms:
                break
            found = state
        return found


class Past:
    """Earlier states of orders (by order id), positions and available cash."""

    def __init__(self) -> None:
        self.orders: Versions[str, Order] = Versions()
        self.positions: Versions[PositionPlace, Position] = Versions()
        self.available: Versions[PursePlace, int] = Versions()

    def __bool__(self) -> bool:
        return bool(self.orders or self.positions or self.available)

    def forget(self, as_of_ms: int) -> None:
        """Drop what no read of this time or of a later one needs."""
        self.orders.forget(as_of_ms)
        self.positions.forget(as_of_ms)
        self.available.forget(as_of_ms)
