"""Engines for the modelled venue: the real one, and with a part exchanged."""

from __future__ import annotations

from collections.abc import Callable

from soloist_trader.core.desk import Desk, Identity
from soloist_trader.core.engine import Engine, Settings
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.risk import Limits
from soloist_trader.core.strategy import MarketView, Target
from soloist_trader.strategies.threshold import Threshold, ThresholdParameters

from tests.property.soloist_trader.venue_model import MARKETS

LIMITS = Limits(1_000, 2_000, 1_000_000_000, 50, 1_000_000_000)
SETTINGS = Settings(amends=True, groups=True)


class Restless(Threshold):
    """Takes another part of the position off the table every few seconds: amends of size and price."""

    def targets(self, view: MarketView) -> list[Target]:
        wanted = super().targets(view)
        if not view.position or view.now_ms // 2_500 % 2:
            return wanted
        return [target._replace(size=max(target.size // 2, 1)) for target in wanted]


def strategy() -> Threshold:
    return Restless(
        ThresholdParameters.model_validate(
            {
                "entry": "join",
                "order_contracts": "2.00",
                "maximum_hold_seconds": 2,
                "cooldown_seconds": 0.1,
                "minimum_seconds_to_close": 0,
            }
        )
    )


def made(kind: type[Engine], ledger: Ledger, identity: Identity) -> Engine:
    """An engine of this kind on the model's markets."""
    return kind(ledger, identity, strategy(), LIMITS, MARKETS, SETTINGS)


def real_engine(ledger: Ledger, identity: Identity) -> Engine:
    return made(Engine, ledger, identity)


def engine_with(desk: type[Desk]) -> Callable[[Ledger, Identity], Engine]:
    """An engine with another desk, to show that a broken one is noticed."""

    class Built(Engine):
        def _make_desk(self, ledger: Ledger, identity: Identity) -> Desk:
            return desk(ledger, identity, self.budget, self._ticks_of)

    return lambda ledger, identity: made(Built, ledger, identity)
