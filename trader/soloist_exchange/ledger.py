"""Money and contracts of every account: cash in 1/1 000 000 dollar, positions in 1/100 contract, negative = NO.

A binary contract is a pair: YES plus NO is worth one dollar at any time. So a fill that opens on both sides locks a dollar, one
that closes on both sides frees it, and `cash + fees + locked = deposits` holds after every step.
"""

from dataclasses import dataclass, field

from soloist_kalshi.numbers import notional

from soloist_exchange.errors import ConservationError
from soloist_exchange.orders import BID

__all__ = ["DOLLAR", "Account", "Ledger", "Position"]

DOLLAR = 10_000


@dataclass(slots=True)
class Position:
    """One account's holding in one market."""

    count: int = 0
    cost: int = 0  # money paid for what is held
    realized: int = 0
    fees: int = 0
    traded: int = 0  # money
    volume: int = 0  # contracts
    updated_ms: int = 0


@dataclass(slots=True)
class Account:
    """An account with its subaccounts; the exchange's own participants are accounts too (`internal`)."""

    account_id: int
    name: str
    internal: bool = False
    deposited: int = 0
    cash: dict[int, int] = field(default_factory=dict)
    reserved: dict[int, int] = field(default_factory=dict)
    positions: dict[tuple[int, str], Position] = field(default_factory=dict)

    def position(self, subaccount: int, ticker: str) -> Position:
        """Return the position, made empty when there is none."""
        return self.positions.setdefault((subaccount, ticker), Position())

    def held(self, subaccount: int, ticker: str) -> int:
        """Return the count that is held, negative for NO; looking makes no position."""
        found = self.positions.get((subaccount, ticker))
        return found.count if found else 0

    def closable(self, subaccount: int, ticker: str, side: int) -> int:
        """Return how much an order on `side` could close of the position."""
        return max(0, -side * self.held(subaccount, ticker))

    def available(self, subaccount: int) -> int:
        """Return the cash that no resting order has reserved (money)."""
        return self.cash.get(subaccount, 0) - self.reserved.get(subaccount, 0)


class Ledger:
    """All accounts, and the sums that must never drift."""

    def __init__(self) -> None:
        self.accounts: dict[int, Account] = {}
        self.fees = 0
        self.open_interest: dict[str, int] = {}

    def open(self, account: Account) -> Account:
        """Add an account and deposit its money in the primary subaccount."""
        assert account.account_id not in self.accounts
        self.accounts[account.account_id] = account
        account.cash[0] = account.deposited
        return account

    def fill(
        self,
        account: Account,
        subaccount: int,
        ticker: str,
        side: int,
        price: int,
        count: int,
        fee: int,
        now_ms: int,
    ) -> int:
        """Book one side of a fill and return the position after it.

        Closing pays out what the other half of the pair is worth; opening pays the price of the side that is bought.
        """
        held = account.position(subaccount, ticker)
        own_price = price if side == BID else DOLLAR - price  # of the outcome that is bought
        closing = min(count, max(0, -held.count * side))
        opening = count - closing
        cash = notional(DOLLAR - own_price, closing) - notional(own_price, opening)
        if closing:
            released = held.cost * closing // abs(held.count)
            held.realized += notional(DOLLAR - own_price, closing) - released
            held.cost -= released
        held.cost += notional(own_price, opening)
        before = max(0, held.count)
        held.count += side * count
        held.fees += fee
        held.traded += notional(own_price, count)
        held.volume += count
        held.updated_ms = now_ms
        account.cash[subaccount] = account.cash.get(subaccount, 0) + cash - fee
        self.fees += fee
        self.open_interest[ticker] = self.open_interest.get(ticker, 0) + max(0, held.count) - before
        return held.count

    def difference(self) -> int:
        """Return cash + fees + locked - deposits (money); anything but 0 is a bug of the exchange."""
        cash = sum(sum(account.cash.values()) for account in self.accounts.values())
        locked = sum(notional(DOLLAR, count) for count in self.open_interest.values())
        deposits = sum(account.deposited for account in self.accounts.values())
        return cash + self.fees + locked - deposits

    def unpaired(self) -> dict[str, int]:
        """Return markets whose positions do not add up to zero (1/100 contract)."""
        sums: dict[str, int] = {}
        for account in self.accounts.values():
            for (_, ticker), held in account.positions.items():
                sums[ticker] = sums.get(ticker, 0) + held.count
        return {ticker: total for ticker, total in sums.items() if total}

    def check(self) -> None:
        """Raise ConservationError when money or contracts appeared or vanished."""
        if difference := self.difference():
            raise ConservationError(f"money is off by {difference} (1/1 000 000 dollar)")
        if unpaired := self.unpaired():
            raise ConservationError(f"contracts do not pair up: {unpaired}")
