"""Whatever a client says, it is answered with frames of the contract, and the feed goes on."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from soloist_exchange.orders import BID

from tests.unit.soloist_exchange.feed_sockets import OTHER, OWNER, Hall

words = st.sampled_from([
    "subscribe", "unsubscribe", "update_subscription", "list_subscriptions", "add_markets", "delete_markets", "get_snapshot",
    "orderbook_delta", "ticker", "trade", "fill", "user_orders", "order_group_updates", "market_lifecycle_v2", "A", "B", "",
])  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 4) | st.floats(allow_nan=False, allow_infinity=False) | words | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
names = st.sampled_from([
    "channels", "market_ticker", "market_tickers", "market_id", "market_ids", "sid", "sids", "action", "send_initial_snapshot",
    "skip_ticker_ack", "use_yes_price", "shard_factor", "shard_key", "user_filter", "underlying_tickers", "index_ids",
])  # fmt: skip
params = st.dictionaries(names, values | st.lists(words, max_size=3), max_size=5)
commands = st.fixed_dictionaries(
    {}, optional={"id": values, "cmd": words | values, "params": params | values}
)
likely = st.fixed_dictionaries(
    {
        "id": st.integers(1, 9),
        "cmd": st.sampled_from(["subscribe", "update_subscription", "unsubscribe"]),
        "params": params,
    }
)
channels = st.lists(st.sampled_from(["orderbook_delta", "ticker", "trade", "fill"]), min_size=1, max_size=2)
markets = st.fixed_dictionaries(
    {}, optional={"market_tickers": st.lists(st.sampled_from(["A", "B", "NOWHERE"]), max_size=2)}
)
sensible = st.one_of(
    st.builds(lambda c, m: {"cmd": "subscribe", "params": {"channels": c, **m}}, channels, markets),
    st.builds(
        lambda sid, action, m: {"cmd": "update_subscription", "params": {"sid": sid, "action": action, **m}},
        st.integers(1, 3),
        st.sampled_from(["add_markets", "delete_markets", "get_snapshot"]),
        markets,
    ),
    st.builds(lambda sid: {"cmd": "unsubscribe", "params": {"sids": [sid]}}, st.integers(1, 3)),
)
raws = st.one_of(
    sensible.map(json.dumps),
    sensible.map(json.dumps),
    (commands | likely | values).map(json.dumps),
    st.text(max_size=20),
    likely.map(lambda item: json.dumps(item)[:-2]),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(raws, max_size=12))
def test_the_feed_survives_whatever_is_said(said):
    hall = Hall("A", "B")
    sessions = hall.feed.sessions
    client, bystander = hall.client(), hall.client(OTHER)
    bystander.subscribe("orderbook_delta", market_ticker="A")
    for raw in said:
        assert client.send(raw) is not None  # and every frame so far is one of the contract
    bystander.clear()
    hall.world.order(OTHER, BID, 4_000, 100)
    assert [frame["type"] for frame in bystander.frames] == ["orderbook_delta"]
    subscriptions = list(client.session.subscriptions.values())
    assert client.session.market_count == sum(len(found.tickers or ()) for found in subscriptions)
    for found in subscriptions:
        name, private = found.channel.name, found.channel.private
        assert found.tickers is not None or found.channel.markets != "required", "a book of all markets"
        for ticker in ("A", "B"):
            heard = sessions.owned(name, OWNER, 0, ticker) if private else sessions.of(name, ticker)
            assert (found in heard) == found.wants(ticker), (name, ticker)
    sessions.remove(client.session)
    assert client.session.market_count == 0
