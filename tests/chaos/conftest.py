"""The chaos that CI plays runs on the session's cluster and installation."""

from tests.installation import installed, oracle  # noqa: F401 fixtures
