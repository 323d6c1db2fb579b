"""The conformance cards, one file per subject, and the helpers that they and the other layers share."""

from tests.conformance.card import card
from tests.conformance.kit import (
    BASE_PATH,
    DEADLINE_MS,
    DEADLINE_S,
    Socket,
    connected,
    order,
    place,
    signed,
)

__all__ = [
    "BASE_PATH",
    "DEADLINE_MS",
    "DEADLINE_S",
    "Socket",
    "card",
    "connected",
    "order",
    "place",
    "signed",
]
