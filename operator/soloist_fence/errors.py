"""What ends a fence attempt early.

FenceError                         carries what the evidence needs: reason, message, field to change, counts, key ids
├── RestrictedKeyRefusedError      the venue makes no key with these restrictions for this account (tier)
├── NotPermittedError              the key that asked is genuine and may not do this
└── NoAnswerError                  no usable answer: for a write, the outcome is unknown
    └── NoConnectionError          not even a connection: refused, timed out, or the name did not resolve
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
        key_ids: Iterable[str] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.counts = dict(counts or {})
        self.key_ids = tuple(key_ids)
        self.key_may_exist = True
        """Whether the attempt may have left a key of its nonce behind; whoever knows better says so."""


class RestrictedKeyRefusedError(FenceError):
    """The venue answered that it makes no key with these scopes or this subaccount; nothing was created."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.MANAGEMENT_KEY_REJECTED, message)


class NotPermittedError(FenceError):
    """The venue knows the key that asked and does not let it do this (403); nothing was done."""

    def __init__(self, message: str, *, field: str | None) -> None:
        super().__init__(Reason.MANAGEMENT_KEY_REJECTED, message, field=field)


class NoAnswerError(FenceError):
    """Neither a yes nor a no arrived. A read may be repeated; a write may have happened."""


class NoConnectionError(NoAnswerError):
    """The network between us did not carry a reply: refused, timed out, no such name. Nobody answered anything."""
