"""What ends a fence attempt early.

FenceError                         carries what the evidence needs: reason, message, field to change, counts
├── RestrictedKeyRefusedError      the venue makes no key with these restrictions for this account (tier)
└── NoAnswerError                  no usable answer: for a write, the outcome is unknown
"""

from __future__ import annotations

from collections.abc import Mapping

from soloist_fence.api import Reason


class FenceError(Exception):
    """The attempt cannot go on; the message says what happened, where, and what to do next."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        field: str | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.counts = dict(counts or {})


class RestrictedKeyRefusedError(FenceError):
    """The venue answered that it makes no key with these scopes or this subaccount; nothing was created."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.MANAGEMENT_KEY_REJECTED, message)


class NoAnswerError(FenceError):
    """Neither a yes nor a no arrived. A read may be repeated; a write may have happened."""
