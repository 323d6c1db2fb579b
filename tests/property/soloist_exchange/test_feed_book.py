"""Whatever happens on the venue, a client that applies snapshots and deltas has the venue's book, in NO prices and in YES prices."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from soloist_exchange.errors import Refused
from soloist_exchange.orders import ASK, BID, SelfTrade, TimeInForce
from soloist_exchange.venue import Amendment
from soloist_kalshi.numbers import count_from_text, price_from_dollars

from tests.unit.soloist_exchange.feed_sockets import OTHER, OWNER, Client, Hall

TICKERS = ("A", "B", "C")
DOLLAR = 10_000


class Keeper:
    """Keeps books as section 13.5 says, one per market, from the bytes of one connection."""

    def __init__(self, client: Client, *, yes_prices: bool) -> None:
        self.client = client
        self.yes_prices = yes_prices
        self.books: dict[str, dict[tuple[int, int], int]] = {}
        self.seqs: dict[int, int] = {}
        self._read = 0

    def read(self) -> None:
        """Apply what arrived."""
        for raw in self.client.raw[self._read :]:
            frame = msgspec.json.decode(raw)
            self._check_seq(frame)
            message = frame.get("msg")
            if frame["type"] == "orderbook_snapshot":
                self.books[message["market_ticker"]] = {
                    self._place(side, price): count_from_text(count)
                    for side in ("yes", "no")
                    for price, count in message.get(f"{side}_dollars_fp", [])
                }
            elif frame["type"] == "orderbook_delta":
                book = self.books[message["market_ticker"]]
                place = self._place(message["side"], message["price_dollars"])
                left = book.get(place, 0) + count_from_text(message["delta_fp"])
                assert left >= 0, raw
                if left:
                    book[place] = left
                else:
                    del book[place]
        self._read = len(self.client.raw)

    def _check_seq(self, frame) -> None:
        if "seq" in frame:
            assert frame["seq"] == self.seqs.get(frame["sid"], 0) + 1, frame
            self.seqs[frame["sid"]] = frame["seq"]

    def _place(self, side: str, text: str) -> tuple[int, int]:
        price = price_from_dollars(text)
        if side == "yes":
            return BID, price
        return ASK, price if self.yes_prices else DOLLAR - price


def true_book(hall: Hall, ticker: str) -> dict[tuple[int, int], int]:
    book = hall.venue.markets[ticker].book
    return {(side, price): count for side in (BID, ASK) for price, count in book.levels(side)}


prices = st.integers(1, 9).map(lambda tenth: tenth * 1_000)
counts = st.integers(1, 400)
tickers = st.sampled_from(TICKERS)
some_tickers = st.lists(tickers, min_size=1, max_size=3)
steps = st.one_of(
    st.tuples(
        st.just("order"), st.sampled_from([OWNER, OTHER]), st.sampled_from([BID, ASK]), prices, counts, tickers,
        st.sampled_from(list(TimeInForce)), st.sampled_from(list(SelfTrade)),
    ),
    st.tuples(st.just("cancel"), st.integers(0, 50)),
    st.tuples(st.just("amend"), st.integers(0, 50), prices, counts),
    st.tuples(st.just("decrease"), st.integers(0, 50), st.integers(0, 400)),
    st.tuples(st.just("cancel_all"), st.sampled_from([OWNER, OTHER])),
    st.tuples(st.just("pause"), tickers),
    st.tuples(st.just("subscribe"), st.integers(0, 1), some_tickers),
    st.tuples(st.just("add_markets"), st.integers(0, 1), some_tickers),
    st.tuples(st.just("delete_markets"), st.integers(0, 1), some_tickers),
    st.tuples(st.just("get_snapshot"), st.integers(0, 1), some_tickers),
    st.tuples(st.just("unsubscribe"), st.integers(0, 1)),
)  # fmt: skip


def carry_out(hall: Hall, keepers: list[Keeper], step) -> None:
    venue = hall.venue
    name, *rest = step
    resting = list(venue.orders.values())
    if name == "order":
        account_id, side, price, count, ticker, life, self_trade = rest
        hall.world.order(
            account_id, side, price, count, ticker=ticker, time_in_force=life, self_trade=self_trade
        )
    elif name in {"cancel", "amend", "decrease"}:
        if not resting:
            return
        order = resting[rest[0] % len(resting)]
        if name == "cancel":
            venue.cancel(order)
        elif name == "amend":
            venue.amend(order, Amendment(price=rest[1], count=order.filled + rest[2]))
        else:
            venue.decrease(order, to=min(rest[1], order.remaining - 1))
    elif name == "cancel_all":
        venue.cancel_all(rest[0], None)
    elif name == "pause":
        venue.deactivate(rest[0])
        venue.activate(rest[0])
    else:
        keeper = keepers[rest[0]]
        found = keeper.client.session.on_channel("orderbook_delta")
        if name == "subscribe":
            keeper.client.subscribe(
                "orderbook_delta", market_tickers=rest[1], use_yes_price=keeper.yes_prices
            )
        elif found is not None and name == "unsubscribe":
            keeper.client.say("unsubscribe", sids=[found.sid])
        elif found is not None:
            keeper.client.say("update_subscription", sid=found.sid, action=name, market_tickers=rest[1])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=60))
def test_a_client_that_follows_has_the_venue_s_book(script):
    hall = Hall(*TICKERS)
    keepers = [Keeper(hall.client(OWNER), yes_prices=False), Keeper(hall.client(3), yes_prices=True)]
    for step in script:
        try:
            carry_out(hall, keepers, step)
        except Refused:
            continue
        for keeper in keepers:
            keeper.read()
            found = keeper.client.session.on_channel("orderbook_delta")
            for ticker in found.tickers if found else ():
                assert keeper.books[ticker] == true_book(hall, ticker), (step, ticker)


def test_the_keeper_above_notices_what_it_is_for():
    """A lost frame must show, or the property proves nothing."""
    hall = Hall("A")
    keeper = Keeper(hall.client(3), yes_prices=False)
    keeper.client.subscribe("orderbook_delta", market_ticker="A")
    hall.fault("frame_dropped", times=1)
    hall.world.order(OWNER, BID, 4_000, 100)
    hall.world.order(OWNER, BID, 4_000, 100)
    with pytest.raises(AssertionError):
        keeper.read()
    assert keeper.books["A"] != true_book(hall, "A")
