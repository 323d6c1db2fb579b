"""Every read and cold write of sections 4, 6, 7, 9, 10 and 11: its path, its query, whether it is signed, and what it returns."""

from random import Random
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from soloist_kalshi import messages as m
from soloist_kalshi.errors import VenueClockSkew, VenueProtocolError, VenueUnreachable
from soloist_kalshi.limits import CostTable
from soloist_kalshi.rest import ReadPolicy, RestClient
from soloist_kalshi.signing import Signer, generate_private_key

from tests.unit.soloist_kalshi.kalshi_servers import ScriptedServer, reply
from tests.unit.soloist_kalshi.test_messages import MARKET as MARKET_FIELDS
from tests.unit.soloist_kalshi.test_rest import QUICK, answering

SIGNER = Signer.from_pem("key-1", generate_private_key("ed25519").private_pem)
MARKET = msgspec.convert(MARKET_FIELDS, m.Market)
WHEN = "2026-11-21T10:00:00Z"

CANDLE = m.Candlestick(
    end_period_ts=60,
    yes_bid=m.CandleSide(
        open_dollars="0.4000", low_dollars="0.3900", high_dollars="0.4100", close_dollars="0.4000"
    ),
    yes_ask=m.CandleSide(),
    price=m.CandlePrice(previous_dollars="0.4000"),
    volume_fp="0.00",
    open_interest_fp="5.00",
)
EVENT = m.Event(event_ticker="EV", series_ticker="SE", sub_title="s", title="t", mutually_exclusive=True)
SERIES = m.Series(
    ticker="SE", frequency="daily", title="t", category="c", fee_type="quadratic", fee_multiplier=1
)
TRADE = m.Trade(
    trade_id="t-1",
    ticker="SIM-A",
    count_fp="1.00",
    yes_price_dollars="0.4000",
    no_price_dollars="0.6000",
    taker_outcome_side="yes",
    taker_book_side="bid",
    created_time=WHEN,
    is_block_trade=False,
)
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
HOURS = {day: [m.DailyHours(open_time="08:00", close_time="20:00")] for day in DAYS}
SCHEDULE = m.Schedule(
    standard_hours=[m.StandardHours(start_time=WHEN, end_time=WHEN, **HOURS)],
    maintenance_windows=[m.MaintenanceWindow(start_datetime=WHEN, end_datetime=WHEN)],
)
SETTLEMENT = m.Settlement(
    ticker="SIM-A",
    event_ticker="EV",
    market_result="yes",
    yes_count_fp="1.00",
    yes_total_cost_dollars="0.400000",
    no_count_fp="0.00",
    no_total_cost_dollars="0.000000",
    revenue=100,
    settled_time=WHEN,
    fee_cost="0.000000",
)
QUEUE = m.QueuePosition(order_id="o-1", market_ticker="SIM-A", queue_position_fp="12.50")
GROUP = m.OrderGroup(id="g-1", contracts_limit_fp="5.00", is_auto_cancel_enabled=True)
GROUP_REPLY = m.OrderGroupReply(is_auto_cancel_enabled=True, contracts_limit_fp="5.00", orders=["o-1"])
KEYS = m.ApiKeyList(api_keys=[], api_key_region_expiration_ts=7)
SUB_BALANCE = m.SubaccountBalance(subaccount_number=1, balance="5.000000", updated_ts=1)
TRANSFER = m.TransferRecord(
    transfer_id="x", from_subaccount=0, to_subaccount=1, amount_cents=500, created_ts=1
)
SHARD_TRANSFER = m.ShardTransferRecord(
    transfer_id="x",
    source="event_contract",
    destination="event_contract",
    source_exchange_shard=0,
    destination_exchange_shard=2,
    amount="5.0000",
    status="complete",
    created_ts=1,
)
BETWEEN = m.ShardTransfer(
    source="event_contract",
    destination="event_contract",
    amount=50_000,
    source_exchange_shard=0,
    destination_exchange_shard=2,
)
NETTING = m.SubaccountNetting(subaccount_number=1, enabled=True)
CUTOFF = m.HistoricalCutoff(market_settled_ts=WHEN, trades_created_ts=WHEN, orders_updated_ts=WHEN)
SERIES_CHANGE = m.SeriesFeeChange(
    id="1", series_ticker="SE", fee_type="quadratic", fee_multiplier=0.5, scheduled_ts=WHEN
)
EVENT_CHANGE = m.EventFeeChange(id="1", event_ticker="EV", scheduled_ts=WHEN)
BOOK = m.OrderBook(yes_dollars=[("0.4000", "1.00")])
PAGED = {"limit": "1000"}


async def rows(iterator):
    return [row async for row in iterator]


# name: call, signed, path, query, body, result
READS = {
    "schedule": (
        lambda rest: rest.get_schedule(), False, "/exchange/schedule", {},
        m.ScheduleReply(schedule=SCHEDULE), SCHEDULE,
    ),
    "historical markets": (
        lambda rest: rest.get_markets(series_ticker="SE", historical=True), False, "/historical/markets",
        {"series_ticker": "SE", **PAGED}, m.MarketPage(markets=[MARKET], cursor=""), [MARKET],
    ),
    "orderbooks": (
        lambda rest: rest.get_orderbooks(["A", "B"]), True, "/markets/orderbooks", {"tickers": ["A", "B"]},
        m.OrderBooksReply(orderbooks=[m.OrderBookOfMarket(ticker="A", orderbook_fp=BOOK)]), {"A": BOOK},
    ),
    "trades": (
        lambda rest: rows(rest.iterate_trades(ticker="SIM-A", min_ts=1, is_block_trade=False)), False,
        "/markets/trades", {"ticker": "SIM-A", "min_ts": "1", "is_block_trade": "false", **PAGED},
        m.TradePage(trades=[TRADE], cursor=None), [TRADE],
    ),
    "historical trades": (
        lambda rest: rows(rest.iterate_trades(historical=True)), False, "/historical/trades", PAGED,
        m.TradePage(trades=[TRADE]), [TRADE],
    ),
    "candles": (
        lambda rest: rest.get_candlesticks("SE", "SIM-A", start_ts=1, end_ts=99, period_minutes=1,
                                           include_latest_before_start=True),
        False, "/series/SE/markets/SIM-A/candlesticks",
        {"start_ts": "1", "end_ts": "99", "period_interval": "1", "include_latest_before_start": "true"},
        m.CandlesticksReply(ticker="SIM-A", candlesticks=[CANDLE]), [CANDLE],
    ),
    "candles of several": (
        lambda rest: rest.get_markets_candlesticks(["A", "B"], start_ts=1, end_ts=99, period_minutes=60), False,
        "/markets/candlesticks",
        {"market_tickers": "A,B", "start_ts": "1", "end_ts": "99", "period_interval": "60"},
        m.MarketsCandlesticksReply(markets=[m.MarketCandlesticks(market_ticker="A", candlesticks=[CANDLE])]),
        {"A": [CANDLE]},
    ),
    "events": (
        lambda rest: rows(rest.iterate_events(status="open", with_nested_markets=True)), False, "/events",
        {"status": "open", "with_nested_markets": "true", "limit": "200"},
        m.EventPage(events=[EVENT], cursor=""), [EVENT],
    ),
    "event": (
        lambda rest: rest.get_event("EV"), False, "/events/EV", {},
        m.EventReply(event=EVENT, markets=[MARKET]), (EVENT, [MARKET]),
    ),
    "all series": (
        lambda rest: rest.get_all_series(category="c"), False, "/series", {"category": "c"},
        m.SeriesList(series=[SERIES]), [SERIES],
    ),
    "series": (lambda rest: rest.get_series("SE"), False, "/series/SE", {}, m.SeriesReply(series=SERIES), SERIES),
    "series fee changes": (
        lambda rest: rest.get_series_fee_changes(), False, "/series/fee_changes", {},
        m.SeriesFeeChanges(series_fee_change_arr=[SERIES_CHANGE]), [SERIES_CHANGE],
    ),
    "event fee changes": (
        lambda rest: rest.get_event_fee_changes(), False, "/events/fee_changes", PAGED,
        m.EventFeeChangePage(event_fee_changes=[EVENT_CHANGE], cursor=""), [EVENT_CHANGE],
    ),
    "cutoff": (lambda rest: rest.get_historical_cutoff(), False, "/historical/cutoff", {}, CUTOFF, CUTOFF),
    "balance of a shard": (
        lambda rest: rest.get_balance(subaccount=2, exchange_index=1), True, "/portfolio/balance",
        {"subaccount": "2", "exchange_index": "1"},
        m.Balance(balance=1, balance_dollars="0.01", portfolio_value=0, updated_ts=1),
        m.Balance(balance=1, balance_dollars="0.01", portfolio_value=0, updated_ts=1),
    ),
    "historical orders": (
        lambda rest: rest.list_orders(subaccount=0, historical=True), True, "/historical/orders",
        {"subaccount": "0", **PAGED}, m.OrderPage(orders=[]), [],
    ),
    "historical fills": (
        lambda rest: rest.list_fills(subaccount=0, historical=True), True, "/historical/fills",
        {"subaccount": "0", **PAGED}, m.FillPage(fills=[]), [],
    ),
    "historical positions": (
        lambda rest: rest.list_positions(subaccount=0, historical=True), True, "/historical/positions",
        {"subaccount": "0", **PAGED}, m.PositionPage(market_positions=[], event_positions=[]), [],
    ),
    "settlements": (
        lambda rest: rest.list_settlements(subaccount=3, ticker="SIM-A"), True, "/portfolio/settlements",
        {"subaccount": "3", "ticker": "SIM-A", **PAGED},
        m.SettlementPage(settlements=[SETTLEMENT], cursor=""), [SETTLEMENT],
    ),
    "queue positions": (
        lambda rest: rest.list_queue_positions(subaccount=0, tickers=["A", "B"]), True,
        "/portfolio/orders/queue_positions", {"subaccount": "0", "market_tickers": "A,B"},
        m.QueuePositionList(queue_positions=[QUEUE]), [QUEUE],
    ),
    "queue position": (
        lambda rest: rest.get_queue_position("o-1"), True, "/portfolio/orders/o-1/queue_position", {},
        m.QueuePositionReply(queue_position_fp="12.50"), 1_250,
    ),
    "resting value": (
        lambda rest: rest.get_total_resting_order_value(), True,
        "/portfolio/summary/total_resting_order_value", {},
        m.RestingOrderValue(total_resting_order_value=12), 12,
    ),
    "groups": (
        lambda rest: rest.list_order_groups(subaccount=1), True, "/portfolio/order_groups", {"subaccount": "1"},
        m.OrderGroupList(order_groups=[GROUP]), [GROUP],
    ),
    "no groups": (
        lambda rest: rest.list_order_groups(subaccount=1), True, "/portfolio/order_groups", {"subaccount": "1"},
        m.OrderGroupList(), [],
    ),
    "group": (
        lambda rest: rest.get_order_group("g-1", subaccount=1), True, "/portfolio/order_groups/g-1",
        {"subaccount": "1"}, GROUP_REPLY, GROUP_REPLY,
    ),
    "keys": (lambda rest: rest.get_api_key_list(), True, "/api_keys", {}, KEYS, KEYS),
    "subaccount balances": (
        lambda rest: rest.list_subaccount_balances(), True, "/portfolio/subaccounts/balances", {},
        m.SubaccountBalances(subaccount_balances=[SUB_BALANCE]), [SUB_BALANCE],
    ),
    "transfers": (
        lambda rest: rest.list_transfers(), True, "/portfolio/subaccounts/transfers", PAGED,
        m.TransferPage(transfers=[TRANSFER], cursor=""), [TRANSFER],
    ),
    "shard transfers": (
        lambda rest: rest.list_shard_transfers(), True, "/portfolio/intra_exchange_instance_transfers",
        {"limit": "500"}, m.ShardTransferPage(transfers=[SHARD_TRANSFER], cursor=""), [SHARD_TRANSFER],
    ),
    "shard transfer": (
        lambda rest: rest.get_shard_transfer("x"), True, "/portfolio/intra_exchange_instance_transfers/x", {},
        m.ShardTransferRecordReply(transfer=SHARD_TRANSFER), SHARD_TRANSFER,
    ),
    "netting": (
        lambda rest: rest.list_subaccount_netting(), True, "/portfolio/subaccounts/netting", {},
        m.SubaccountNettingList(netting_configs=[NETTING]), [NETTING],
    ),
}  # fmt: skip

ORDER = m.SubaccountTransfer(
    client_transfer_id="x", from_subaccount=0, to_subaccount=1, amount_cents=500, exchange_index=2
)
WRITES = {
    "key": (
        lambda rest: rest.create_api_key("n", "PEM", ["read"], 4), "POST", "/api_keys",
        {"name": "n", "public_key": "PEM", "scopes": ["read"], "subaccount": 4},
        reply(201, b'{"api_key_id":"k"}'), "k",
    ),
    "subaccount": (
        lambda rest: rest.create_subaccount(), "POST", "/portfolio/subaccounts", {},
        reply(201, b'{"subaccount_number":1}'), 1,
    ),
    "transfer": (
        lambda rest: rest.transfer(ORDER), "POST", "/portfolio/subaccounts/transfer", msgspec.to_builtins(ORDER),
        reply(200, b"{}"), None,
    ),
    "netting": (
        lambda rest: rest.set_subaccount_netting(subaccount=1, enabled=True), "PUT",
        "/portfolio/subaccounts/netting", {"subaccount_number": 1, "enabled": True}, reply(200, b"{}"), None,
    ),
    "shards": (
        lambda rest: rest.transfer_between_shards(BETWEEN), "POST", "/portfolio/intra_exchange_instance_transfer",
        msgspec.to_builtins(BETWEEN), reply(200, b'{"transfer_id":"x"}'), "x",
    ),
    "upgrade": (
        lambda rest: rest.upgrade_api_usage_level(), "POST", "/account/api_usage_level/upgrade", None,
        reply(200, b"{}"), None,
    ),
}  # fmt: skip


def client(server, signer=SIGNER):
    return RestClient(server.base_url, signer, policy=QUICK, random=Random(1))


@pytest.mark.parametrize("name", READS)
async def test_a_read(name):
    call, signed, path, query, body, expected = READS[name]
    async with (
        ScriptedServer(answering(reply(200, msgspec.json.encode(body)))) as server,
        client(server) as rest,
    ):
        assert await call(rest) == expected
        assert not rest.unknown_fields.counts
    [request] = server.requests
    target = urlsplit(request.target)
    assert (request.method, target.path) == ("GET", f"/trade-api/v2{path}")
    wanted = [
        (key, each)
        for key, value in query.items()
        for each in (value if isinstance(value, list) else [value])
    ]
    assert sorted(parse_qsl(target.query)) == sorted(wanted)
    assert ("kalshi-access-signature" in request.headers) is signed


# `{}` is the venue's way of saying that there is no group, and so is every object without the field.
@pytest.mark.parametrize("name", [name for name in READS if name not in {"groups", "no groups"}])
@pytest.mark.parametrize("body", [b"[]", b'{"unrelated":1}'])
async def test_a_read_of_something_else_is_never_a_silent_nothing(name, body):
    async with ScriptedServer(answering(reply(200, body))) as server, client(server) as rest:
        with pytest.raises(VenueProtocolError) as caught:
            await READS[name][0](rest)
    assert caught.value.raw == body


@pytest.mark.parametrize("name", WRITES)
async def test_a_cold_write(name):
    call, method, path, body, answer, expected = WRITES[name]
    async with ScriptedServer(answering(answer)) as server, client(server) as rest:
        assert await call(rest) == expected
    [request] = server.requests
    assert (request.method, request.target) == (method, f"/trade-api/v2{path}")
    assert (msgspec.json.decode(request.body) if request.body else None) == body
    assert "kalshi-access-signature" in request.headers


async def test_arguments_that_no_call_may_have():
    async with RestClient("http://127.0.0.1:9/x", SIGNER) as rest:
        for wrong in (
            rest.list_queue_positions(subaccount=0),
            rest.get_balance(subaccount=64),
            rest.create_api_key("n", "PEM", None, 64),
            rest.transfer(msgspec.structs.replace(ORDER, to_subaccount=64)),
            rest.get_series("a b"),
        ):
            with pytest.raises(ValueError):
                await wrong


def test_costs_are_found_however_the_venue_spells_its_templates():
    reply = m.EndpointCosts(
        default_cost=7,
        endpoint_costs=[m.EndpointCost(method="get", path="/trade-api/v2/portfolio/orders/{id}", cost=3)],
    )
    costs = CostTable.from_reply(reply)
    assert costs.cost("GET", "/portfolio/orders/{order_id}") == 3
    assert costs.cost("DELETE", "/portfolio/orders/{order_id}") == 7


async def test_a_read_that_would_wait_for_tokens_past_its_deadline_is_not_sent():
    policy = ReadPolicy(attempts=1, request_ms=500, deadline_ms=100)
    slow = m.BucketLimits(refill_rate=1, bucket_capacity=10)
    async with (
        ScriptedServer(answering(reply(200, b"{}"))) as server,
        RestClient(server.base_url, SIGNER, policy=policy) as rest,
    ):
        rest.buckets.resize(m.AccountLimits(usage_tier="t", read=slow, write=slow))
        rest.buckets.read.drain()
        with pytest.raises(VenueUnreachable, match="token bucket"):
            await rest.get_balance(subaccount=0)
    assert server.requests == []


async def test_a_stale_timestamp_that_our_clock_explains_names_the_clock():
    """The first request of a machine with a wrong clock: nothing is known yet, and the refusal carries the measurement."""
    refusal = reply(
        401,
        b'{"error":{"code":"header_timestamp_expired","message":"header timestamp expired"}}',
        date="Fri, 15 Jan 2021 08:00:00 GMT",
    )
    async with ScriptedServer(answering(refusal)) as server, client(server) as rest:
        with pytest.raises(VenueClockSkew, match="ahead of the venue's"):
            await rest.get_balance(subaccount=0)
        assert rest.clock.reading().refuses
        with pytest.raises(VenueClockSkew):
            await rest.get_balance(subaccount=0)
    assert len(server.requests) == 1
