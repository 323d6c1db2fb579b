"""The venue with a memory: one state directory, one scenario, and a commit before anybody is told of a step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from soloist_exchange.accounts import Accounts, create_account, generate_key
from soloist_exchange.errors import ExchangeError, Refused
from soloist_exchange.flow import Flow
from soloist_exchange.history import History
from soloist_exchange.scenario import Scenario
from soloist_exchange.store import Store
from soloist_exchange.store_ids import Ids
from soloist_exchange.store_restore import restore_holdings, restore_markets, restore_orders
from soloist_exchange.store_writer import Writer
from soloist_exchange.switches import Switches
from soloist_exchange.venue import Venue

__all__ = ["Exchange", "create_account", "generate_key"]


class Exchange(Accounts):
    """A venue, its scenario's participants, its accounts and what portfolio reads show (see Views), and its store.

    A step changes memory only; `commit` makes it durable and comes before its reply. After a kill the next `Exchange` on the directory
    knows what was committed: accounts, keys, money, positions, orders, groups, markets, trades, pauses and the log. Switches and the
    books of the scenario's own participants come from how it is started.
    """

    def __init__(
        self,
        directory: Path,
        scenario: Scenario,
        seed: int,
        clock_ms: Callable[[], int],
        clock_us: Callable[[], int],
        switches: Switches | None = None,
    ) -> None:
        store = Store(directory)
        venue = Venue(clock_ms, Ids(store, clock_ms, seed), self._is_id_taken, switches)
        self.history = History(store, clock_ms)
        super().__init__(store, venue, Writer(store, venue, self.history, clock_ms), clock_ms, clock_us)
        held = restore_markets(store, venue)
        self.flow = Flow(venue, scenario, seed)
        self.open_all()
        restore_holdings(store, venue, held)
        for account in venue.ledger.accounts.values():
            self._writer.opened(account)
        # From here on what happens is news.
        venue.listeners.insert(0, self._writer)
        restore_orders(store, venue, self._writer)
        for market in venue.markets.values():
            if market.ticker not in held:
                self._writer.on_market_state(market)
        venue.ledger.recount()
        # What fell due while nothing served ends before the participants could trade with it.
        venue.tick()
        self.flow.begin()
        self.commit()

    def close(self) -> None:
        """Let go of the state directory; what was not committed is gone."""
        super().close()
        self.store.close()

    # ------------------------------------------------------------------ steps

    @property
    def broken(self) -> ExchangeError | None:
        """Why the exchange cannot go on, once it cannot: memory is ahead of the disk or wrong, and the process must end."""
        return self._writer.broken

    def commit(self) -> None:
        """Make durable everything that was done since the last commit; before it nobody is told. One commit may cover many steps.

        Raises StateError, and keeps it in `broken`.
        """
        self._writer.commit()

    def fail(self, error: Exception) -> ExchangeError:
        """Note why the exchange cannot go on: the process must end before it says anything that a restart would forget."""
        return self._writer.fail(error)

    # ------------------------------------------------------------------ the oracle's log

    def log(self, account_id: int, kind: str, **fields: object) -> None:
        """Append to the log, as part of the step."""
        self._writer.log(account_id, kind, fields)

    @contextmanager
    def asked(self, account_id: int, key_id: str, action: str, **ids: object) -> Iterator[None]:
        """Log what a request did to an order that was there: `action` is amend, decrease, cancel or cancel_all, `ids` whatever names it.

        The outcome is accepted, or, when the block raises Refused, rejected with the refusal's code. New orders log themselves.
        """
        try:
            yield
        except Refused as refusal:
            why = {"outcome": "rejected", "code": refusal.code, "details": refusal.details}
            self._writer.log(account_id, action, {"key_id": key_id} | ids | why)
            raise
        self._writer.log(account_id, action, {"key_id": key_id, "outcome": "accepted"} | ids)

    def _is_id_taken(self, account_id: int, subaccount: int | None, client_order_id: str) -> bool:
        return self._writer.is_id_taken(account_id, subaccount, client_order_id)
