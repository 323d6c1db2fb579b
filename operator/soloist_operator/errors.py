"""Errors of the operator.

OperatorError
├── SettingsError          the settings file cannot be used
└── ClusterError           the API server did not do what was asked
├── NotFoundError      404
├── ConflictError      409: a precondition no longer holds, or the name is taken
│   └── NameTakenError     by an object that is not this bot's
├── InvalidError       400, 422: the API server refuses the object as written
├── ForbiddenError     401, 403: our rights are missing
├── TooManyRequestsError  429, with the delay the server asked for
└── UnavailableError   5xx, time-out, no connection: could not look
"""

from __future__ import annotations


class OperatorError(Exception):
    """Whatever the operator itself raises."""


class SettingsError(OperatorError):
    """The settings file is missing or wrong; the message names the field."""


class ClusterError(OperatorError):
    """A request to the API server failed; `status` is the HTTP status, 0 without an answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NotFoundError(ClusterError):
    """The object does not exist."""


class ConflictError(ClusterError):
    """Somebody else was faster: look again before acting."""


class NameTakenError(ConflictError):
    """Somebody else's object has a name that we need; looking again does not help, the message says what does."""


class InvalidError(ClusterError):
    """The API server refuses the object; the message holds its words, which name the field."""


class ForbiddenError(ClusterError):
    """The operator's service account lacks a right."""


class TooManyRequestsError(ClusterError):
    """The API server asks us to slow down."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message, 429)
        self.retry_after_s = retry_after_s


class UnavailableError(ClusterError):
    """No usable answer. For a read: could not look. For a write: it may or may not have happened."""
