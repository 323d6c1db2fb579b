"""Money and contracts of every account: cash in 1/1 000 000 dollar, positions in 1/100 contract, negative = NO.

A binary contract is a pair: YES plus NO is worth one dollar at any time. So a fill that opens on both sides locks a dollar, one
that closes on both sides frees it, and `cash + fees + rounding + locked = deposits` holds after every step. The sums are carried
along with every booking, so the check of a step costs the same whatever the exchange holds; `recount` takes them anew.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from soloist_kalshi.numbers import notional

from soloist_exchange.errors import ConservationError
from soloist_exchange.orders import BID

__all__ = ["CENT", "DOLLAR", "Account", "Ledger", "Payout", "Position", "Purse"]

DOLLAR = 10_000
CENT = 10_000  # money

# Whose cash: (subaccount, exchange_index). Collateral is per shard (section 11).
Purse = tuple[int, int]


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
    """An account with its subaccounts; the exchange's own participants are accounts too (`internal`).

    `cash` and `reserved` (held back by resting orders) are money by (subaccount, exchange_index).
    """

    account_id: int
    name: str
    internal: bool = False
    deposited: int = 0
    cash: dict[Purse, int] = field(default_factory=dict)
    reserved: dict[Purse, int] = field(default_factory=dict)
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

    def available(self, subaccount: int, exchange_index: int = 0) -> int:
        """Return the cash that no resting order has reserved on a shard (money)."""
        purse = (subaccount, exchange_index)
        return self.cash.get(purse, 0) - self.reserved.get(purse, 0)


class Payout(NamedTuple):
    """What a settled position was and paid: `count` (negative = NO), `cost`, `revenue` and `fees` in money."""

    account: Account
    subaccount: int
    count: int  # type: ignore[assignment]  # a position's count is its field's word; tuple.count is never called
    cost: int
    revenue: int
    fees: int


class Ledger:
    """All accounts, and the sums that must never drift.

    `shards` says on which shard a market's collateral lies (0 unless set); `rounding` is what payouts in whole cents left over.
    """

    def __init__(self) -> None:
        self.accounts: dict[int, Account] = {}
        self.fees = 0
        self.rounding = 0
        self.open_interest: dict[str, int] = {}
        self.shards: dict[str, int] = {}
        self._cash = self._deposits = self._locked = 0
        self._unpaired: dict[str, int] = {}
        self._holders: dict[str, dict[tuple[int, int], Position]] = {}

    def open(self, account: Account) -> Account:
        """Add an account and deposit its money in the primary subaccount, on shard 0."""
        assert account.account_id not in self.accounts
        self.accounts[account.account_id] = account
        deposited, account.deposited = account.deposited, 0
        self.deposit(account, deposited)
        return account

    def deposit(self, account: Account, money: int, *, subaccount: int = 0, exchange_index: int = 0) -> None:
        """Bring money in from outside."""
        purse = (subaccount, exchange_index)
        account.deposited += money
        account.cash[purse] = account.cash.get(purse, 0) + money
        self._deposits += money
        self._cash += money

    def transfer(self, account: Account, source: Purse, target: Purse, money: int) -> None:
        """Move cash between subaccounts or shards of one account."""
        account.cash[source] = account.cash.get(source, 0) - money
        account.cash[target] = account.cash.get(target, 0) + money

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
        held = account.positions.get((subaccount, ticker))
        if held is None:
            held = account.positions[subaccount, ticker] = Position()
        before = held.count
        if before == 0:
            self._holders.setdefault(ticker, {})[account.account_id, subaccount] = held
        own_price = price if side == BID else DOLLAR - price  # of the outcome that is bought
        closing = min(count, max(0, -before * side))
        opening = count - closing
        change = -own_price * opening - fee
        if closing:
            released = held.cost * closing // abs(before)
            proceeds = (DOLLAR - own_price) * closing
            held.realized += proceeds - released
            held.cost -= released
            change += proceeds
        held.cost += own_price * opening
        after = held.count = before + side * count
        held.fees += fee
        held.traded += own_price * count
        held.volume += count
        held.updated_ms = now_ms
        if after == 0:
            del self._holders[ticker][account.account_id, subaccount]
        purse = (subaccount, self.shards.get(ticker, 0))
        account.cash[purse] = account.cash.get(purse, 0) + change
        self._cash += change
        self.fees += fee
        if gained := max(0, after) - max(0, before):
            self.open_interest[ticker] = self.open_interest.get(ticker, 0) + gained
            self._locked += gained
        net = self._unpaired.pop(ticker, 0) + side * count
        if net:
            self._unpaired[ticker] = net
        return after

    def settle(self, ticker: str, value: int, now_ms: int) -> list[Payout]:
        """Pay out a market whose YES is worth `value` (1/10 000 dollar); every position becomes 0 and stays, empty.

        A payout is rounded to the cent (section 12), half a cent up; only a scalar value can need it.
        """
        assert 0 <= value <= DOLLAR
        purse_index = self.shards.get(ticker, 0)
        payouts = []
        paid = 0
        for (account_id, subaccount), held in self._holders.pop(ticker, {}).items():
            account = self.accounts[account_id]
            exact = notional(value if held.count > 0 else DOLLAR - value, abs(held.count))
            revenue = (exact + CENT // 2) // CENT * CENT
            payouts.append(Payout(account, subaccount, held.count, held.cost, revenue, held.fees))
            held.realized += revenue - held.cost
            held.count = held.cost = 0
            held.updated_ms = now_ms
            purse = (subaccount, purse_index)
            account.cash[purse] = account.cash.get(purse, 0) + revenue
            paid += revenue
        freed = self.open_interest.pop(ticker, 0)
        self._locked -= freed
        self._cash += paid
        self.rounding += notional(DOLLAR, freed) - paid
        return payouts

    # ------------------------------------------------------------------ the laws

    def difference(self) -> int:
        """Return cash + fees + rounding + locked - deposits (money); anything but 0 is a bug of the exchange."""
        return self._cash + self.fees + self.rounding + notional(DOLLAR, self._locked) - self._deposits

    def unpaired(self) -> dict[str, int]:
        """Return markets whose positions do not add up to zero (1/100 contract)."""
        return dict(self._unpaired)

    def check(self) -> None:
        """Raise ConservationError when the step that just ended made or lost money or contracts; O(1)."""
        if self._cash + self.fees + self.rounding + self._locked * DOLLAR != self._deposits:
            raise ConservationError(f"money is off by {self.difference()} (1/1 000 000 dollar)")
        if self._unpaired:
            raise ConservationError(f"contracts do not pair up: {self._unpaired}")

    def recount(self) -> None:
        """Take every sum anew and compare; O(accounts and positions). Raises ConservationError."""
        self.check()
        sums: dict[str, int] = {}
        held: dict[str, int] = {}
        for account in self.accounts.values():
            for (_, ticker), position in account.positions.items():
                sums[ticker] = sums.get(ticker, 0) + position.count
                held[ticker] = held.get(ticker, 0) + max(0, position.count)
        cash = sum(sum(account.cash.values()) for account in self.accounts.values())
        deposits = sum(account.deposited for account in self.accounts.values())
        for what, carried, counted in (
            ("cash", self._cash, cash),
            ("deposits", self._deposits, deposits),
            ("open interest", _without_zeros(self.open_interest), _without_zeros(held)),
            ("locked contracts", self._locked, sum(held.values())),
            ("unpaired contracts", {}, _without_zeros(sums)),
        ):
            if carried != counted:
                raise ConservationError(f"{what}: carried along {carried}, counted {counted}")


def _without_zeros(counts: dict[str, int]) -> dict[str, int]:
    return {ticker: count for ticker, count in counts.items() if count}
