from __future__ import annotations

from contextlib import closing

import pytest
from soloist_kalshi import messages
from soloist_kalshi.codec import UnknownFields, decode, encode

from tests.unit.soloist_exchange.rest_world import ORDERS, START_MS, RestWorld

START = "2023-11-14T22:13:20Z"
DAY_MS = 86_400_000


@pytest.fixture
def world(tmp_path):
    with closing(RestWorld(tmp_path)) as world:
        yield world


def buy(world, count, price, *, seller=None, **fields):
    """Let `me` buy YES as a taker; the other account sells."""
    ticker = fields.get("ticker", "M1")
    world.order(caller=seller or world.seller, side="ask", ticker=ticker, count=count, price=price)
    return world.order(count=count, price=price, time_in_force="immediate_or_cancel", **fields)


@pytest.fixture
def trading(world):
    world.seller = world.caller("seller")
    return world


# ---------------------------------------------------------------------- balance


def test_a_balance_is_cash_that_no_order_holds_back_in_cents_and_dollars(trading):
    buy(trading, "1.00", "0.5200")
    assert trading.get("/portfolio/balance") == {
        "balance": 99946,
        "balance_dollars": "999.4625",  # 1000 - 0.52 - 0.0175
        "portfolio_value": 0,
        "updated_ts": START_MS // 1000,
        "balance_breakdown": [{"exchange_index": 0, "balance": "999.4625"}],
    }
    trading.order(side="bid", price="0.1000", count="10.00")
    assert trading.get("/portfolio/balance")["balance_dollars"] == "998.4625"


def test_positions_are_worth_the_best_bid_for_them(trading):
    buy(trading, "10.00", "0.52")
    trading.order(caller=trading.seller, side="bid", price="0.50", count="1.00")
    assert trading.get("/portfolio/balance")["portfolio_value"] == 500
    assert trading.get("/portfolio/balance", caller=trading.seller)["portfolio_value"] == 0
    trading.order(side="ask", price="0.55")
    assert trading.get("/portfolio/balance", caller=trading.seller)["portfolio_value"] == 450
    assert trading.get("/portfolio/balance", exchange_index=0)["portfolio_value"] == 500
    assert trading.get("/portfolio/balance", exchange_index=2)["portfolio_value"] == 0


def test_a_balance_counts_every_shard_unless_one_is_named_and_the_primary_subaccount_unless_one_is(world):
    owner = world.caller("owner", subaccounts=2)
    world.exchange.transfer(owner.account_id, "a", 0, 0, 30_000_000, exchange_index_to=2)
    world.exchange.transfer(owner.account_id, "b", 0, 1, 5_000_000)
    body = world.get("/portfolio/balance", caller=owner)
    assert body["balance_dollars"] == "995.0000"
    assert body["balance_breakdown"] == [
        {"exchange_index": 0, "balance": "965.0000"},
        {"exchange_index": 2, "balance": "30.0000"},
    ]
    assert world.get("/portfolio/balance", caller=owner, exchange_index=2)["balance"] == 3000
    assert world.get("/portfolio/balance", caller=owner, exchange_index=7)["balance"] == 0
    assert world.get("/portfolio/balance", caller=owner, subaccount=1)["balance"] == 500
    bound = world.key(owner, subaccount=1)
    assert world.get("/portfolio/balance", caller=bound)["balance"] == 500
    assert world.refused("GET", "/portfolio/balance", caller=bound, subaccount=2).status == 403


def test_the_value_of_resting_orders_is_what_they_hold_back(world):
    world.exchange.transfer(world.me.account_id, "a", 0, 0, 30_000_000, exchange_index_to=2)
    world.order(count="10.00", price="0.40")
    world.order(ticker="M3", count="2.00", price="0.25")
    assert world.get("/portfolio/summary/total_resting_order_value") == {
        "total_resting_order_value": 450,
        "resting_order_value_breakdown": [
            {"exchange_index": 0, "balance": "4.0000"},
            {"exchange_index": 2, "balance": "0.5000"},
        ],
    }


# ---------------------------------------------------------------------- positions


def test_positions_of_markets_and_the_sums_of_their_events(trading):
    buy(trading, "2.00", "0.40")
    buy(trading, "1.00", "0.30", ticker="M2")
    body = trading.get("/portfolio/positions")
    assert body["cursor"] == ""
    assert body["market_positions"] == [
        {
            "ticker": "M1",
            "exchange_index": 0,
            "total_traded_dollars": "0.800000",
            "position_fp": "2.00",
            "market_exposure_dollars": "0.800000",
            "realized_pnl_dollars": "0.000000",
            "fees_paid_dollars": "0.033600",
            "last_updated_ts": START,
        },
        {
            "ticker": "M2",
            "exchange_index": 0,
            "total_traded_dollars": "0.300000",
            "position_fp": "1.00",
            "market_exposure_dollars": "0.300000",
            "realized_pnl_dollars": "0.000000",
            "fees_paid_dollars": "0.014700",
            "last_updated_ts": START,
        },
    ]
    assert body["event_positions"] == [
        {
            "event_ticker": "EV-A",
            "total_cost_dollars": "1.100000",
            "total_cost_shares_fp": "3.00",
            "event_exposure_dollars": "1.100000",
            "realized_pnl_dollars": "0.000000",
            "fees_paid_dollars": "0.048300",
        }
    ]
    seller = trading.get("/portfolio/positions", caller=trading.seller)["market_positions"]
    assert [row["position_fp"] for row in seller] == ["-2.00", "-1.00"]


def test_filters_of_positions(trading):
    buy(trading, "2.00", "0.40")
    buy(trading, "1.00", "0.30", ticker="M2")
    trading.order(caller=trading.seller, side="bid", ticker="M2", price="0.30")
    trading.order(side="ask", ticker="M2", price="0.30")  # back to nothing

    def shown(**query):
        return [row["ticker"] for row in trading.get("/portfolio/positions", **query)["market_positions"]]

    assert shown() == ["M1", "M2"]
    assert shown(count_filter="position") == ["M1"]
    assert shown(count_filter="total_traded") == ["M1", "M2"]
    assert shown(count_filter="position,total_traded") == ["M1"]
    assert shown(ticker="M2") == ["M2"]
    assert shown(event_ticker="EV-A") == ["M1", "M2"]
    assert shown(event_ticker="EV-B") == []
    assert shown(exchange_index=2) == []
    assert shown(subaccount=1) == []
    assert trading.refused("GET", "/portfolio/positions", count_filter="volume").shape == "parameter"
    first = trading.get("/portfolio/positions", limit=1)
    assert [row["ticker"] for row in first["market_positions"]] == ["M1"]
    second = trading.get("/portfolio/positions", limit=1, cursor=first["cursor"])
    assert [row["ticker"] for row in second["market_positions"]] == ["M2"]
    assert second["cursor"] == ""


def test_settled_positions_stay_in_the_list_or_leave_it_by_switch(trading):
    buy(trading, "2.00", "0.40")
    settle(trading, "M1", "yes")
    (row,) = trading.get("/portfolio/positions")["market_positions"]
    assert (row["position_fp"], row["realized_pnl_dollars"]) == ("0.00", "1.200000")
    trading.switch(settled_positions="removed")
    assert trading.get("/portfolio/positions")["market_positions"] == []


def settle(world, ticker, result, value=None):
    world.venue.close(ticker)
    world.venue.determine(ticker, result, value)
    world.venue.settle(ticker)
    world.exchange.commit()


# ---------------------------------------------------------------------- settlements


def test_a_settlement_tells_both_sides_what_they_held_and_got(trading):
    buy(trading, "2.00", "0.40")
    settle(trading, "M1", "yes")
    body = trading.get("/portfolio/settlements")
    assert body == {
        "settlements": [
            {
                "ticker": "M1",
                "event_ticker": "EV-A",
                "market_result": "yes",
                "yes_count_fp": "2.00",
                "yes_total_cost_dollars": "0.800000",
                "no_count_fp": "0.00",
                "no_total_cost_dollars": "0.000000",
                "revenue": 200,
                "settled_time": START,
                "fee_cost": "0.033600",
                "value": 100,
                "exchange_index": 0,
            }
        ],
        "cursor": "",
    }
    (lost,) = trading.get("/portfolio/settlements", caller=trading.seller)["settlements"]
    assert (lost["no_count_fp"], lost["no_total_cost_dollars"], lost["revenue"]) == ("2.00", "1.200000", 0)


def test_a_scalar_market_pays_its_value_in_whole_cents(tmp_path):
    scalar = {"ticker": "M1", "market_type": "scalar", "step_ms": 0, "levels": 0}
    with closing(RestWorld(tmp_path, {"name": "scalar", "markets": [scalar]})) as world:
        world.seller = world.caller("seller")
        buy(world, "2.00", "0.40")
        settle(world, "M1", "scalar", 3_500)
        (row,) = world.get("/portfolio/settlements")["settlements"]
        assert (row["market_result"], row["revenue"], row["value"]) == ("scalar", 70, 35)
        (row,) = world.get("/portfolio/settlements", caller=world.seller)["settlements"]
        assert (row["revenue"], row["no_count_fp"]) == (130, "2.00")
        market = world.get("/markets/M1")["market"]
        assert (market["result"], market["expiration_value"]) == ("scalar", "0.3500")
        assert market["settlement_value_dollars"] == "0.3500"


def test_filters_of_settlements(trading):
    for ticker in ("M1", "M2"):
        buy(trading, "1.00", "0.40", ticker=ticker)
        settle(trading, ticker, "no")
        trading.wait(1000)

    def shown(**query):
        return [row["ticker"] for row in trading.get("/portfolio/settlements", **query)["settlements"]]

    assert shown() == ["M2", "M1"]
    assert shown(ticker="M1") == ["M1"]
    assert shown(event_ticker="EV-B") == []
    assert shown(min_ts=START_MS // 1000 + 1) == ["M2"]
    assert shown(max_ts=START_MS // 1000) == ["M1"]
    assert shown(subaccount=1) == []


# ---------------------------------------------------------------------- fills and orders


def test_a_fill_has_every_field_and_no_client_order_id(trading):
    taken = buy(trading, "2.00", "0.40")
    body = trading.get("/portfolio/fills")
    (fill,) = body["fills"]
    assert fill == {
        "fill_id": fill["trade_id"],
        "trade_id": fill["trade_id"],
        "order_id": taken["order_id"],
        "ticker": "M1",
        "market_ticker": "M1",
        "side": "yes",
        "action": "buy",
        "outcome_side": "yes",
        "book_side": "bid",
        "count_fp": "2.00",
        "yes_price_dollars": "0.4000",
        "no_price_dollars": "0.6000",
        "is_taker": True,
        "created_time": START,
        "fee_cost": "0.033600",
        "subaccount_number": 0,
        "ts": START_MS // 1000,
        "exchange_index": 0,
    }
    (sold,) = trading.get("/portfolio/fills", caller=trading.seller)["fills"]
    assert (sold["trade_id"], sold["outcome_side"], sold["book_side"]) == (fill["trade_id"], "no", "ask")
    assert sold["is_taker"] is False


def test_filters_of_fills(trading):
    first = buy(trading, "1.00", "0.40")
    trading.wait(2000)
    second = buy(trading, "1.00", "0.40", ticker="M2")

    def shown(**query):
        return [fill["order_id"] for fill in trading.get("/portfolio/fills", **query)["fills"]]

    assert shown() == [second["order_id"], first["order_id"]]
    assert shown(ticker="M1") == [first["order_id"]]
    assert shown(order_id=second["order_id"]) == [second["order_id"]]
    assert shown(min_ts=START_MS // 1000 + 1) == [second["order_id"]]
    assert shown(max_ts=START_MS // 1000 + 1) == [first["order_id"]]
    assert shown(exchange_index=2) == []
    assert shown(subaccount=0) == [second["order_id"], first["order_id"]]
    assert shown(subaccount=1) == []


def test_an_order_leaves_out_what_is_empty(world):
    made = world.order(client_order_id="mine", count="3.00", cancel_order_on_pause=True)
    shown = world.get(f"/portfolio/orders/{made['order_id']}")
    assert shown == {
        "order": {
            "order_id": made["order_id"],
            "user_id": str(world.me.account_id),
            "client_order_id": "mine",
            "ticker": "M1",
            "side": "yes",
            "action": "buy",
            "outcome_side": "yes",
            "book_side": "bid",
            "type": "limit",
            "status": "resting",
            "yes_price_dollars": "0.4000",
            "no_price_dollars": "0.6000",
            "fill_count_fp": "0.00",
            "remaining_count_fp": "3.00",
            "initial_count_fp": "3.00",
            "taker_fill_cost_dollars": "0.000000",
            "maker_fill_cost_dollars": "0.000000",
            "taker_fees_dollars": "0.000000",
            "maker_fees_dollars": "0.000000",
            "created_time": START,
            "last_update_time": START,
            "self_trade_prevention_type": "taker_at_cross",
            "cancel_order_on_pause": True,
            "subaccount_number": 0,
            "exchange_index": 0,
        }
    }


def test_orders_are_filtered_by_everything_that_the_contract_lists(world):
    world.exchange.transfer(world.me.account_id, "t", 0, 0, 30_000_000, exchange_index_to=2)
    first = world.order()["order_id"]
    world.wait(2000)
    second = world.order(ticker="M2")["order_id"]
    third = world.order(ticker="M3")["order_id"]
    world.call("DELETE", f"{ORDERS}/{second}")

    def shown(**query):
        return [order["order_id"] for order in world.get("/portfolio/orders", **query)["orders"]]

    assert shown() == [third, second, first]
    assert shown(status="resting") == [third, first]
    assert shown(status="canceled") == [second]
    assert shown(status="executed") == []
    assert shown(ticker="M1") == [first]
    assert shown(event_ticker="EV-A") == [second, first]
    assert shown(event_ticker="EV-A,EV-B") == [third, second, first]
    assert shown(event_ticker="NONE") == []
    assert shown(min_ts=START_MS // 1000 + 1) == [third, second]
    assert shown(max_ts=START_MS // 1000) == [first]
    assert shown(exchange_index=2) == [third]
    assert shown(subaccount=3) == []


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 1001},
        {"limit": -1},
        {"limit": "many"},
        {"status": "open"},
        {"status": "resting,canceled"},
        {"event_ticker": ",".join(f"E{n}" for n in range(11))},
        {"min_ts": "yesterday"},
        {"subaccount": 64},
        {"subaccount": "x"},
        {"exchange_index": -1},
    ],
)
def test_a_bad_query_of_orders_is_refused_with_the_name_of_the_operation(world, query):
    refusal = world.refused("GET", "/portfolio/orders", **query)
    assert (refusal.status, refusal.shape) == (400, "parameter")
    assert refusal.message.startswith("Parameter validation failed for GetOrders: ")
    (name,) = query
    field = "".join(part.capitalize() for part in name.split("_"))
    assert name in refusal.message or f"'GetOrdersParams.{field}'" in refusal.message


@pytest.mark.parametrize("status", ["", "resting"])
def test_pages_of_orders_neither_lose_nor_repeat_what_rests_while_others_come(world, status):
    made = [world.order()["order_id"] for _ in range(5)]
    query = {"status": status} if status else {}
    seen, cursor = [], ""
    while True:
        body = world.get("/portfolio/orders", limit=2, cursor=cursor, **query)
        seen += [order["order_id"] for order in body["orders"]]
        cursor = body["cursor"]
        if not cursor:
            break
        world.order()
    assert seen == made[::-1]


def test_a_garbage_cursor_is_page_one_and_the_end_is_said_as_the_switch_wants(world):
    made = world.order()["order_id"]
    body = world.get("/portfolio/orders", cursor="garbage!")
    assert [order["order_id"] for order in body["orders"]] == [made]
    assert body["cursor"] == ""
    world.switch(last_cursor="null")
    assert world.get("/portfolio/orders")["cursor"] is None
    world.switch(last_cursor="absent")
    assert "cursor" not in world.get("/portfolio/orders")
    world.order()
    assert world.get("/portfolio/orders", limit=1)["cursor"]


def test_what_is_not_the_callers_does_not_exist_for_it(world):
    owner = world.caller("owner", subaccounts=1)
    made = world.order(caller=owner)["order_id"]
    bound = world.key(owner, subaccount=1)
    for path in (f"/portfolio/orders/{made}", f"/portfolio/orders/{made}/queue_position"):
        assert world.refused("GET", path).status == 404
        assert world.refused("GET", path, caller=bound).status == 404
    assert world.refused("GET", "/portfolio/orders/unknown").status == 404


def test_reads_show_the_past_by_switch_and_say_of_when_it_is(trading):
    trading.switch(read_model_lag_ms=400)
    made = trading.order()["order_id"]
    assert trading.get("/exchange/user_data_timestamp") == {"as_of_time": "2023-11-14T22:13:19.6Z"}
    assert trading.refused("GET", f"/portfolio/orders/{made}").status == 404
    assert trading.get("/portfolio/balance")["balance"] == 100_000
    trading.wait(400)
    assert trading.get(f"/portfolio/orders/{made}")["order"]["status"] == "resting"
    assert trading.get("/portfolio/balance")["balance"] == 99_960
    trading.call("DELETE", f"{ORDERS}/{made}")
    trading.wait(360)
    assert trading.get(f"/portfolio/orders/{made}")["order"]["status"] == "resting"
    assert trading.refused("DELETE", f"{ORDERS}/{made}").status == 404
    trading.wait(40)
    assert trading.get(f"/portfolio/orders/{made}")["order"]["status"] == "canceled"


# ---------------------------------------------------------------------- queue positions


def test_queue_positions_count_the_contracts_in_front(trading):
    first = trading.order(count="2.00")["order_id"]
    trading.order(caller=trading.seller, count="1.50")
    last = trading.order(count="1.00")["order_id"]
    other = trading.order(ticker="M2")["order_id"]
    assert trading.get(f"/portfolio/orders/{first}/queue_position") == {"queue_position_fp": "0.00"}
    assert trading.get(f"/portfolio/orders/{last}/queue_position") == {"queue_position_fp": "3.50"}

    def shown(**query):
        rows = trading.get("/portfolio/orders/queue_positions", **query)["queue_positions"]
        return {row["order_id"]: row["queue_position_fp"] for row in rows}

    assert shown() == {first: "0.00", last: "3.50", other: "0.00"}
    assert shown(market_tickers="M2") == {other: "0.00"}
    assert shown(event_ticker="EV-B") == {}
    assert shown(event_ticker="EV-A", market_tickers="M1,M3") == {first: "0.00", last: "3.50"}
    assert shown(subaccount=1) == {}
    (row,) = trading.get("/portfolio/orders/queue_positions", market_tickers="M2")["queue_positions"]
    assert row["market_ticker"] == "M2"


# ---------------------------------------------------------------------- the client's own structs


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/portfolio/balance", messages.Balance),
        ("/portfolio/positions", messages.PositionPage),
        ("/portfolio/fills", messages.FillPage),
        ("/portfolio/settlements", messages.SettlementPage),
        ("/portfolio/orders", messages.OrderPage),
        ("/portfolio/orders/queue_positions", messages.QueuePositionList),
        ("/portfolio/summary/total_resting_order_value", messages.RestingOrderValue),
        ("/portfolio/order_groups", messages.OrderGroupList),
        ("/portfolio/subaccounts/balances", messages.SubaccountBalances),
        ("/portfolio/subaccounts/netting", messages.SubaccountNettingList),
        ("/portfolio/subaccounts/transfers", messages.TransferPage),
        ("/portfolio/intra_exchange_instance_transfers", messages.ShardTransferPage),
        ("/series/fee_changes", messages.SeriesFeeChanges),
        ("/events/fee_changes", messages.EventFeeChangePage),
        ("/markets", messages.MarketPage),
        ("/markets/trades", messages.TradePage),
        ("/markets/M2/orderbook", messages.OrderBookReply),
        ("/events", messages.EventPage),
        ("/events/EV-A", messages.EventReply),
        ("/series", messages.SeriesList),
        ("/exchange/status", messages.ExchangeStatus),
        ("/exchange/schedule", messages.ScheduleReply),
        ("/historical/cutoff", messages.HistoricalCutoff),
        ("/account/limits", messages.AccountLimits),
        ("/account/endpoint_costs", messages.EndpointCosts),
        ("/api_keys", messages.ApiKeyList),
    ],
)
def test_our_client_reads_every_list_and_knows_every_field(trading, path, kind):
    buy(trading, "2.00", "0.40")
    trading.order(ticker="M2")
    settle(trading, "M1", "yes")
    account_id = trading.me.account_id
    trading.exchange.open_subaccount(account_id)
    trading.exchange.transfer(account_id, "within", 0, 1, 1_000_000)
    trading.exchange.transfer(account_id, "across", 0, 0, 1_000_000, exchange_index_to=2)
    trading.call("POST", "/portfolio/order_groups/create", {"contracts_limit": 2})
    unknown = UnknownFields()
    decode(encode(trading.get(path)), kind, unknown)
    assert not unknown.counts
