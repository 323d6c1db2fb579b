"""What can go wrong inside the exchange.

ExchangeError
├── ScenarioError        a scenario that cannot be run; names file, line and field
├── StateError           a state directory that cannot be used
├── ConservationError    money or contracts appeared or vanished: the process must not go on
└── Refused              a request that the venue refuses: HTTP status and one of the wire's error bodies
"""

from typing import Literal

__all__ = ["BodyShape", "ConservationError", "ExchangeError", "Refused", "ScenarioError", "StateError"]

BodyShape = Literal["nested", "flat", "parameter", "text"]


class ExchangeError(Exception):
    """Anything this package raises on purpose."""


class ScenarioError(ExchangeError):
    """A scenario that cannot be run; the message is `file:line: field: what is wrong`."""


class StateError(ExchangeError):
    """A state directory that cannot be used, or an account that is not there; says what to do next."""


class ConservationError(ExchangeError):
    """Money or contracts were made or lost. A bug of the exchange: it stops instead of going on wrong."""


class Refused(ExchangeError):  # noqa: N818 - reads as what happened
    """A refused request. `shape` picks the wire's error body (section 3.1)."""

    def __init__(
        self, status: int, code: str, message: str = "", details: str = "", shape: BodyShape = "nested"
    ) -> None:
        super().__init__(f"{status} {code}: {details or message or code}")
        self.status = status
        self.code = code
        self.message = message or code
        self.details = details
        self.shape = shape
