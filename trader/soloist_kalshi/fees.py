"""Trading fees (section 12), in money of 1/1 000 000 dollar. The exchange charges by them; the engine compares and alarms.

A fill pays a trade fee, and its balance change is then floored to the account's precision; what that floor takes is the rounding fee.
An accumulator per order adds the rounding fees up and gives 0.01 back whenever it exceeds 0.01.
"""

from dataclasses import dataclass
from typing import Final

__all__ = [
    "DIRECT_PRECISION",
    "INDIRECT_PRECISION",
    "MULTIPLIER_ONE",
    "FeeAccumulator",
    "maker_fee",
    "taker_fee",
]

# The multiplier of a series or event, in 1/10 000: 10 000 is one.
MULTIPLIER_ONE: Final = 10_000
# The steps that a balance moves in: direct members, and everybody else.
DIRECT_PRECISION: Final = 100
INDIRECT_PRECISION: Final = 10_000
_TRADE_FEE_STEP: Final = 100
_REBATE: Final = 10_000
_DOLLAR: Final = 10_000
_TAKER_RATE: Final = 700  # 0.07 in 1/10 000
_MAKER_RATE: Final = 175  # a quarter of it


def taker_fee(
    price: int, count: int, *, multiplier: int = MULTIPLIER_ONE, step: int = _TRADE_FEE_STEP
) -> int:
    """Return 0.07 x C x P x (1-P) x multiplier for a fill, rounded up to `step` (money; 0.0001 dollar by default).

    `price` is in 1/10 000 dollar and strictly between 0 and 1 dollar (or at its ends, which cost nothing), `count` in 1/100 contract.
    """
    return _fee(_TAKER_RATE, price, count, multiplier, step)


def maker_fee(
    price: int, count: int, *, multiplier: int = MULTIPLIER_ONE, step: int = _TRADE_FEE_STEP
) -> int:
    """Return the maker's quarter of the taker fee, for series whose fee type has maker fees; otherwise it is 0."""
    return _fee(_MAKER_RATE, price, count, multiplier, step)


def _fee(rate: int, price: int, count: int, multiplier: int, step: int) -> int:
    assert 0 <= price <= _DOLLAR
    assert count >= 0
    assert step > 0
    # rate/1e4 x count/1e2 x price/1e4 x (1e4-price)/1e4 x multiplier/1e4 dollars, times 1e6 for money: 1e18 / 1e6 = 1e12.
    numerator = rate * count * price * (_DOLLAR - price) * multiplier
    return -(-numerator // (10**12 * step)) * step


@dataclass(slots=True)
class FeeAccumulator:
    """The rounding fees of one order so far, taker and maker parts together (money)."""

    precision: int = INDIRECT_PRECISION
    carried: int = 0

    def charge(self, cash_change: int, trade_fee: int) -> int:
        """Return the net fee of the next fill: trade fee plus rounding fee minus rebate, never below 0.

        `cash_change` is what the fill does to the balance before fees (negative for a purchase), both in money.
        """
        assert trade_fee >= 0
        exact = cash_change - trade_fee
        rounding_fee = exact % self.precision  # the distance down to the next step, for negative amounts too
        self.carried += rounding_fee
        fee = trade_fee + rounding_fee
        if self.carried > _REBATE and fee >= _REBATE:
            self.carried -= _REBATE
            fee -= _REBATE
        return fee
