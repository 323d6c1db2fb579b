"""What the admin API does to markets, accounts and the exchange as a whole: the hands of the venue's staff."""

from typing import Any, Final, Literal

import msgspec
from soloist_kalshi.numbers import NumberError, money_from_dollars, price_from_dollars

from soloist_exchange.accounts import TIERS
from soloist_exchange.admin_views import book
from soloist_exchange.admin_views import market as found_market
from soloist_exchange.errors import Refused
from soloist_exchange.exchange import Exchange
from soloist_exchange.ledger import Account
from soloist_exchange.scenario_grids import STRUCTURES

__all__ = [
    "Advance",
    "CloseTime",
    "Deposit",
    "Determine",
    "Pause",
    "PriceRanges",
    "Tier",
    "activate",
    "close",
    "close_time",
    "deactivate",
    "deposit",
    "determine",
    "pause",
    "price_ranges",
    "settle",
    "tier",
]

Shown = dict[str, Any]
_OPEN: Final = frozenset({"initialized", "inactive", "active"})


class _Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Advance(_Command, frozen=True):
    """How far the virtual clock moves."""

    advance_ms: int


class Pause(_Command, frozen=True):
    """`trading`: cancels go on working; `exchange`: nothing does. `active` false begins a pause."""

    what: Literal["trading", "exchange"]
    active: bool


class Determine(_Command, frozen=True):
    """How a market ended; `settlement_dollars` is what YES pays when the result is scalar."""

    result: Literal["yes", "no", "scalar"]
    settlement_dollars: str | None = None


class PriceRanges(_Command, frozen=True):
    """A label of section 5, and its ranges unless they are the label's own."""

    price_level_structure: str
    price_ranges: list[dict[str, str]] | None = None


class CloseTime(_Command, frozen=True):
    """A close time in Unix milliseconds."""

    close_ms: int


class Tier(_Command, frozen=True):
    """A usage level of section 4."""

    tier: str


class Deposit(_Command, frozen=True):
    """Money from outside, in dollars."""

    dollars: str


def pause(exchange: Exchange, wanted: Pause) -> Shown:
    """Begin or end a pause."""
    venue = exchange.venue
    calls = {
        ("trading", True): venue.resume_trading,
        ("trading", False): venue.pause_trading,
        ("exchange", True): venue.resume_exchange,
        ("exchange", False): venue.pause_exchange,
    }
    calls[wanted.what, wanted.active]()
    return {"trading_active": venue.trading_active, "exchange_active": venue.exchange_active}


def activate(exchange: Exchange, ticker: str) -> Shown:
    """Open a market."""
    exchange.venue.activate(ticker)
    return _market(exchange, ticker)


def deactivate(exchange: Exchange, ticker: str) -> Shown:
    """Pause a market."""
    exchange.venue.deactivate(ticker)
    return _market(exchange, ticker)


def close(exchange: Exchange, ticker: str) -> Shown:
    """Close a market now."""
    exchange.venue.close(ticker)
    return _market(exchange, ticker)


def settle(exchange: Exchange, ticker: str) -> Shown:
    """Pay out a determined market now."""
    exchange.venue.settle(ticker)
    return _market(exchange, ticker)


def determine(exchange: Exchange, ticker: str, wanted: Determine) -> Shown:
    """Say how a market ended; one that is still open is closed first."""
    try:
        text = wanted.settlement_dollars
        value = None if text is None else price_from_dollars(text)
    except NumberError as error:
        raise Refused(400, "bad_request", f"settlement_dollars: {error}") from None
    if found_market(exchange, ticker).status in _OPEN:
        exchange.venue.close(ticker)
    exchange.venue.determine(ticker, wanted.result, value)
    return _market(exchange, ticker)


def price_ranges(exchange: Exchange, ticker: str, wanted: PriceRanges) -> Shown:
    """Change the price grid of a live market."""
    label = wanted.price_level_structure
    ranges = wanted.price_ranges if wanted.price_ranges is not None else STRUCTURES.get(label)
    if ranges is None:
        raise Refused(400, "bad_request", f"{label} is none of {', '.join(STRUCTURES)}; give price_ranges")
    try:
        exchange.venue.set_price_ranges(ticker, ranges, label)
    except NumberError as error:
        raise Refused(400, "bad_request", f"price_ranges: {error}") from None
    return _market(exchange, ticker)


def close_time(exchange: Exchange, ticker: str, wanted: CloseTime) -> Shown:
    """Set another close time."""
    exchange.venue.move_close(ticker, wanted.close_ms)
    return _market(exchange, ticker)


def _market(exchange: Exchange, ticker: str) -> Shown:
    state = found_market(exchange, ticker)
    return book(state) | {
        "status": str(state.status),
        "result": state.result,
        "close_ms": state.close_ms,
        "price_level_structure": state.label,
    }


def tier(exchange: Exchange, account: Account, wanted: Tier) -> Shown:
    """Give an account another usage level."""
    if wanted.tier not in TIERS:
        raise Refused(400, "bad_request", f"no tier {wanted.tier}; the tiers are {', '.join(TIERS)}")
    exchange.set_tier(account.account_id, wanted.tier)
    return {"account": account.name, "tier": exchange.tier(account.account_id)}


def deposit(exchange: Exchange, account: Account, wanted: Deposit) -> Shown:
    """Bring money in."""
    try:
        money = money_from_dollars(wanted.dollars)
    except NumberError as error:
        raise Refused(400, "bad_request", f"dollars: {error}") from None
    if money <= 0:
        raise Refused(400, "bad_request", "dollars must be more than 0")
    exchange.deposit(account.account_id, money)
    return {"account": account.name, "deposited_dollars": wanted.dollars}
