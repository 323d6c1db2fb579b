"""The comparison sees what it must: clients that are broken in the three classic ways do not pass it."""

import re

import msgspec
import pytest
from soloist_kalshi.account_facts import AccountFacts, OrderFacts
from soloist_kalshi.account_view import AccountView
from soloist_kalshi.orders import OrderClient, Unknown

from tests.conformance.exchange_process import ExchangeProcess
from tests.property.soloist_kalshi_faults.client_world import Round, Totals

SEEDS = range(60)


class ResendingOrders(OrderClient):
    """Takes an unknown outcome for a failure, and sends the order again under a fresh id."""

    async def create(self, order, **arguments):
        outcome = await super().create(order, **arguments)
        if isinstance(outcome, Unknown):
            again = msgspec.structs.replace(order, client_order_id=f"{order.client_order_id}-again")
            outcome = await super().create(again, **arguments)
        return outcome


class FramesOnlyView(AccountView):
    """Believes that the fill channel tells everything."""

    async def _read_fills(self, _from_s):
        return set()

    async def _read_missing_fills(self):
        self.facts._lacking.clear()


class ReopeningFacts(AccountFacts):
    """Takes whatever came last for the newest."""

    def _merge(self, news, *, is_read):
        self.intents.pop(news.client_order_id, None)
        self.suspects.pop(news.order_id, None)
        if not is_read or news.order_id not in self.orders:
            self.orders[news.order_id] = OrderFacts(**{name: getattr(news, name) for name in news.__slots__})
            self._doubt()


class ReopeningView(AccountView):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.facts = ReopeningFacts(self.facts.subaccount, self.facts.clock_ms)


BROKEN = {
    "writes are sent again under a fresh id": ({"make_orders": ResendingOrders}, r"never meant"),
    "fills are counted by frames only": ({"make_view": FramesOnlyView}, r"fill .*believed None"),
    "a late frame reopens an order": ({"make_view": ReopeningView}, r"order .*true \('(canceled|executed)'.*believed \('resting'"),
}  # fmt: skip


@pytest.fixture
def exchange(tmp_path):
    served = ExchangeProcess(tmp_path, tls=False)
    yield served
    served.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", BROKEN)
async def test_a_broken_client_is_seen(exchange, how):
    build, expected = BROKEN[how]
    found = await Round(exchange, SEEDS, **build).run(Totals())
    assert [text for text in found if re.search(expected, text)], found
