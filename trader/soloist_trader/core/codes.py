"""Every word by which the core says no, stops a market or calls a person, each with its meaning.

`docs/codes.md` is made from these tables (`python -m soloist_trader.cli.codes`); a test fails when it drifts.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Self


class Documented(StrEnum):
    """A word with a sentence: what happened, and what to do about it."""

    document: str

    def __new__(cls, word: str, document: str) -> Self:
        """A member from its word and its sentence."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.document = document
        return member


class Code(Documented):
    """Why an order was denied before it was intended. These words are in metrics and in `/status`."""

    STATE_REDUCING = (
        "StateReducing",
        "The engine is REDUCING: only exits go. Release the latch that `/status` names.",
    )
    PRICE_OFF_GRID = (
        "PriceOffGrid",
        "The price is not on the market's grid: the strategy has to round to a tick.",
    )
    WRITE_BUDGET = (
        "WriteBudget",
        "The write tokens left are kept for exits, cancels and triggers. Lower the order rate or raise `rateShare`.",
    )
    BACKING_OFF = (
        "BackingOff",
        "The last orders of this slot were refused, kept or found nothing: the next waits, 30 s at most.",
    )
    JOURNAL_FULL = (
        "JournalFull",
        "Too much waits for the journal's commit: the disk is too slow for this order rate.",
    )
    GROUP_UNKNOWN = (
        "GroupUnknown",
        "The order group of this role is not made yet, and every order has to name one.",
    )
    GROUP_TRIGGERED = (
        "GroupTriggered",
        "The order group is triggered: resume with actor and reason arms it again.",
    )
    MAX_ORDER = (
        "MaxOrderContracts",
        "An entry larger than the limit of one order. Exits are cut to the limit, never denied.",
    )
    MAX_POSITION = (
        "MaxPositionContracts",
        "The worst-case position of the market would pass the limit; orders in doubt count in full.",
    )
    MAX_EXPOSURE = (
        "MaxExposureDollars",
        "The money lost if everything settled against the bot would pass the limit.",
    )
    MAX_OPEN_ORDERS = ("MaxOpenOrders", "As many orders as allowed are unsettled, those in doubt included.")
    DAILY_LOSS = (
        "DailyLossDollars",
        "The loss since the day began reached the limit: REDUCING until the next day.",
    )


class Contradiction(Documented):
    """Evidence that cannot be true together. It halts the market until a person looks and releases it."""

    FILLED_ABOVE_SIZE = (
        "FilledAboveSize",
        "More was filled than the order, with every amend that may have arrived, can hold.",
    )
    ORDER_ID_CHANGED = ("OrderIdChanged", "The venue shows one client order id under two order ids.")
    RELEASED_BUT_ON_BOOK = (
        "ReleasedButOnBook",
        "An order that was refused, not sent or absent shows evidence of life.",
    )
    FIELDS_DIFFER = ("FieldsDiffer", "Market, side, price or size of the venue's order were never asked for.")


class AlertCode(Documented):
    """What a person should read."""

    OWN_ORDER_FOUND = (
        "OwnOrderFound",
        "An own order rests at the venue and is not in the journal. It is cancelled before trading begins.",
    )
    CONTRADICTION = (
        "Contradiction",
        "Evidence contradicts the ledger; the market is halted. Compare with the venue, then `release-market`.",
    )
    TOMBSTONE_REFUSED = (
        "TombstoneRefused",
        "The order that burns an id was refused; the original stays in doubt and is looked up again.",
    )
    STATE_CHANGED = ("StateChanged", "A latch was set or released; the message names actor and reason.")
    FEES_DIFFER = (
        "FeesDiffer",
        "The venue's fees are not what its fills or our model say. The venue's total is booked.",
    )
    SETTLEMENT_DIFFERS = (
        "SettlementDiffers",
        "The venue settled another count than the ledger holds. Run `soloist-trader reconcile`.",
    )
    CASH_UNEXPLAINED = (
        "CashUnexplained",
        "Cash moved without fill, fee or settlement (deposit, transfer, interest); REDUCING above the limit.",
    )
    GROUP_TRIGGERED = (
        "GroupTriggered",
        "The venue triggered an order group by its own limit: a runaway. Look at the fills before you resume.",
    )
    MARKET_RELEASED = ("MarketReleased", "A person let a halted market trade again.")
    RECOVERED_FROM_VENUE = (
        "RecoveredFromVenue",
        "The journal was gone; the state comes from the venue. Read the report before you resume.",
    )
    COMMIT_SLOW = (
        "CommitSlow",
        "Commits of the journal take longer than the inline commit may. Use a faster disk.",
    )
    JOURNAL_FULL = (
        "JournalFull",
        "Too much waits for a commit: new orders are denied until the disk has caught up.",
    )


PAUSE_CODES: Final = frozenset(
    {
        "exchange_paused",
        "trading_paused",
        "trading_is_paused",
        "exchange_is_paused",
        "market_inactive",
        "market_paused",
    }
)
"""Refusals that mean "not now" (weekly pause, halted market): a class of their own, no fault for breakers to count."""


def is_pause(code: str) -> bool:
    """True for a refusal because the venue or the market pauses."""
    return code.lower() in PAUSE_CODES


def markdown() -> str:
    """The content of docs/codes.md."""
    parts = [
        "# Codes\n",
        "Made by `python -m soloist_trader.cli.codes --write` from `soloist_trader/core/codes.py`; do not edit by hand.\n",
    ]
    for title, enum in (("Denials", Code), ("Contradictions", Contradiction), ("Alerts", AlertCode)):
        introduction = (enum.__doc__ or "").strip()
        rows = [f"| `{member.value}` | {member.document} |" for member in enum]
        parts.append(
            "\n".join([f"## {title}\n", f"{introduction}\n", "| code | meaning |", "|---|---|", *rows]) + "\n"
        )
    return "\n".join(parts)
