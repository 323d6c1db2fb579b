"""Bringing a venue back to where the last commit left it.

What connected accounts own is put back to the last unit. The scenario's own participants take the other side: they hold what the
statistics remember, and the first of them, the market maker, whatever makes contracts pair up and money add up.
"""

from collections.abc import Iterator
from typing import Final

from soloist_exchange.ledger import DOLLAR, Account, Ledger, Position
from soloist_exchange.orders import ASK, BID
from soloist_exchange.store import Store
from soloist_exchange.store_codec import POSITION_FIELDS, decode, decode_market, decode_statistics
from soloist_exchange.store_writer import PAUSES, Writer
from soloist_exchange.venue import Venue

__all__ = ["Held", "restore_holdings", "restore_markets", "restore_orders"]

# At which price pairs are put back does not matter: cost and cash are set afterwards.
_PRICE: Final = DOLLAR // 2
# By ticker, what the exchange's own participants held: accounts and counts.
Held = dict[str, list[tuple[int, int]]]


def restore_markets(store: Store, venue: Venue) -> Held:
    """Put back every market as it was, before the scenario brings in its own; return what the exchange's participants held."""
    held: Held = {}
    for fields, statistics in store.markets():
        market = decode_market(fields, statistics)
        venue.add_market(market)
        if statistics is not None:
            held[market.ticker] = decode_statistics(statistics)[1]
    return held


def restore_holdings(store: Store, venue: Venue, held: Held) -> None:
    """Put back positions and cash of the accounts, which are open with their deposits. Contracts pair up and money adds up."""
    ledger = venue.ledger
    maker = next(account for account in ledger.accounts.values() if account.internal)
    for account, subaccount, ticker, position in _positions(store, ledger, held, maker):
        if position.count:
            side = BID if position.count > 0 else ASK
            count, now_ms = abs(position.count), position.updated_ms
            ledger.fill(account, subaccount, ticker, side, _PRICE, count, 0, now_ms)
            ledger.fill(maker, 0, ticker, -side, _PRICE, count, 0, now_ms)
        restored = account.position(subaccount, ticker)
        for name in POSITION_FIELDS:
            setattr(restored, name, getattr(position, name))
    cash = {(row[0], row[1], row[2]): row[3] for row in store.cash()}
    for account in ledger.accounts.values():
        if account.internal:
            continue
        known = {place[1:] for place in cash if place[0] == account.account_id}
        for purse in known | set(account.cash):
            # The primary purse of an account that never traded is its deposit.
            opened_with = account.deposited if purse == (0, 0) else 0
            wanted = cash.get((account.account_id, *purse), opened_with)
            _set_cash(ledger, account, maker, purse, wanted)


def _positions(
    store: Store, ledger: Ledger, held: Held, maker: Account
) -> Iterator[tuple[Account, int, str, Position]]:
    for (account_id, subaccount, ticker), position in store.positions():
        yield ledger.accounts[account_id], subaccount, ticker, position
    for ticker, counts in held.items():
        for account_id, count in counts:
            account = ledger.accounts.get(account_id)
            if count and account is not None and account.internal and account is not maker:
                yield account, 0, ticker, Position(count=count, cost=_PRICE * abs(count))


def _set_cash(ledger: Ledger, account: Account, maker: Account, purse: tuple[int, int], money: int) -> None:
    """Give an account what it had; the maker pays or takes the difference, and what both brought in stays what it was."""
    difference = money - account.cash.get(purse, 0)
    subaccount, exchange_index = purse
    ledger.deposit(account, difference, subaccount=subaccount, exchange_index=exchange_index)
    ledger.deposit(maker, -difference)
    account.deposited -= difference
    maker.deposited += difference


def restore_orders(store: Store, venue: Venue, writer: Writer) -> None:
    """Put back order groups, resting orders (behind each other as they were) and what is paused."""
    for encoded in store.groups():
        group_id, account_id, subaccount, exchange_index, limit, triggered, window = decode(encoded)
        venue.groups.restore(
            group_id, account_id, subaccount, exchange_index, limit, triggered=triggered, window=window
        )
    venue.last_sequence = store.last_sequence()
    for order, place in store.resting_orders():
        writer.rests_again(order, place)
        venue.restore(order)
    trading_active, exchange_active = store.note(PAUSES) or (True, True)
    venue.trading_active, venue.exchange_active = trading_active, exchange_active
