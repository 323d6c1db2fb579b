"""A bot in the namespace of its test's module; the installation is tests/installation.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.scene import Bot
from tests.installation import installed, oracle  # noqa: F401 fixtures


@pytest.fixture
def bot(request, cluster, oracle) -> Iterator[Bot]:  # noqa: F811 the fixture itself
    """A bot object in the namespace that the module names in `NAMESPACE`; deleted afterwards."""
    made = Bot(cluster, oracle, request.module.NAMESPACE)
    yield made
    made.delete()
