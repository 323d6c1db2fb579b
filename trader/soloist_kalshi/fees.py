"""Trading fees (section 12), in money of 1/1 000 000 dollar. The exchange charges by them; the engine compares and alarms.

A fill pays a trade fee, and its balance change is then floored to the account's precision; what that floor takes is the rounding fee.
An accumulator per order adds the rounding fees up and gives 0.01 back whenever it exceeds 0.01.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, get_args

from soloist_kalshi.messages import Event, Series
from soloist_kalshi.numbers import NumberError

__all__ = [
    "DIRECT_PRECISION",
    "INDIRECT_PRECISION",
    "MULTIPLIER_ONE",
    "FeeAccumulator",
    "FeeKind",
    "FeeTerms",
    "maker_fee",
    "multiplier_from_number",
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
_TAKER_RATE: Final = 7_000  # 0.07 in 1/100 000
_MAKER_RATE: Final = 1_750  # a quarter of it
_COMBO_MAKER_RATE: Final = 3_500  # half of the taker's

FeeKind = Literal["quadratic", "quadratic_with_maker_fees", "quadratic_with_combo_maker_fees", "flat"]


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
    # rate/1e5 x count/1e2 x price/1e4 x (1e4-price)/1e4 x multiplier/1e4 dollars, times 1e6 for money: 1e19 / 1e6 = 1e13.
    numerator = rate * count * price * (_DOLLAR - price) * multiplier
    return -(-numerator // (10**13 * step)) * step


def multiplier_from_number(number: float) -> int:
    """Return a series' or event's multiplier in 1/10 000, from the JSON number of the wire.

    The shortest decimal text of the number is what the venue wrote, so the result is exact; NumberError for a negative one, or one with
    more than four decimals.
    """
    exact = Decimal(repr(number)) * MULTIPLIER_ONE
    if not exact.is_finite() or exact < 0 or exact != int(exact):
        raise NumberError(f"fee multiplier {number!r} is not a number of 0 or more with at most 4 decimals")
    return int(exact)


@dataclass(frozen=True, slots=True)
class FeeTerms:
    """What trading in a market costs; an event's override wins over its series (section 12)."""

    kind: FeeKind
    multiplier: int = MULTIPLIER_ONE

    @classmethod
    def of(cls, series: Series, event: Event | None = None) -> "FeeTerms":
        """Return the terms of a series, or of one of its events; raises NumberError for a fee type that is not the contract's."""
        kind, number = series.fee_type, series.fee_multiplier
        if event is not None:
            kind = event.fee_type_override if event.fee_type_override is not None else kind
            if event.fee_multiplier_override is not None:
                number = event.fee_multiplier_override
        for known in get_args(FeeKind):
            if kind == known:
                return cls(known, multiplier_from_number(number))
        raise NumberError(f"series {series.ticker} has the fee type {kind[:40]!r}, which has no formula here")

    def taker(self, price: int, count: int, *, step: int = _TRADE_FEE_STEP) -> int:
        """Return the fee of a taker's fill (money); NumberError for `flat`, whose amount the venue does not publish."""
        self._require_formula()
        return taker_fee(price, count, multiplier=self.multiplier, step=step)

    def maker(self, price: int, count: int, *, step: int = _TRADE_FEE_STEP) -> int:
        """Return the fee of a maker's fill (money): nothing, a quarter of the taker's, or for combos a half of it."""
        self._require_formula()
        if self.kind == "quadratic":
            return 0
        rate = _MAKER_RATE if self.kind == "quadratic_with_maker_fees" else _COMBO_MAKER_RATE
        return _fee(rate, price, count, self.multiplier, step)

    def _require_formula(self) -> None:
        if self.kind == "flat":
            raise NumberError("the flat fee has no published formula: compare with fee_cost instead")


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
