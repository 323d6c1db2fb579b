"""The protocol holds in every small world, and each change of its order breaks an invariant: the search can fail."""

import pytest

from tests.model.explorer import explore
from tests.model.settings import FAILS, HOLDS


@pytest.mark.parametrize("name", [name for name, search in HOLDS.items() if not search.large])
def test_the_protocol_holds(name, record_property):
    search = HOLDS[name]
    found = explore(search.setting, live=search.live)
    record_property("states", found.states)
    assert not found.violation, "\n".join((found.violation, *found.trace))
    assert found.complete, f"more than {found.states} states: mark it as large"
    assert found.states > 50


@pytest.mark.parametrize("mutation", FAILS)
def test_each_change_of_the_order_is_noticed(mutation):
    search, invariant = FAILS[mutation]
    found = explore(search.setting._replace(mutations=frozenset({mutation})), live=search.live)
    assert found.violation.startswith(invariant), f"{mutation}: {found}"
    assert found.trace
