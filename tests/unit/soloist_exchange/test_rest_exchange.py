from __future__ import annotations

from contextlib import closing

import pytest

from tests.unit.soloist_exchange.rest_world import RestWorld


@pytest.fixture
def world(tmp_path):
    with closing(RestWorld(tmp_path)) as world:
        yield world


def test_the_status_tells_of_every_shard(world):
    assert world.get("/exchange/status") == {
        "exchange_active": True,
        "trading_active": True,
        "intra_exchange_transfers_active": True,
        "exchange_estimated_resume_time": None,
        "exchange_index_statuses": [
            {
                "exchange_index": index,
                "description": description,
                "exchange_active": True,
                "trading_active": True,
                "intra_exchange_transfers_active": True,
            }
            for index, description in ((0, "default"), (2, "shard 2"))
        ],
    }


def test_the_status_of_the_demo_had_two_fields(world):
    world.switch(exchange_status_fields="two")
    assert world.get("/exchange/status") == {"exchange_active": True, "trading_active": True}


def test_pauses_show_in_the_status(world):
    world.venue.pause_trading()
    body = world.get("/exchange/status")
    assert (body["exchange_active"], body["trading_active"]) == (True, False)
    assert body["exchange_index_statuses"][1]["trading_active"] is False
    world.venue.resume_trading()
    world.venue.pause_exchange()
    body = world.get("/exchange/status")
    assert (body["exchange_active"], body["trading_active"]) == (False, False)
    assert body["intra_exchange_transfers_active"] is False


def test_the_schedule_has_hours_for_every_day(world):
    schedule = world.get("/exchange/schedule")["schedule"]
    (week,) = schedule["standard_hours"]
    days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    assert set(week) == {"start_time", "end_time", *days}
    for day in days:
        assert week[day] == [{"open_time": "00:00", "close_time": "23:59"}]
    assert schedule["maintenance_windows"] == []


def test_the_timestamp_of_user_data_is_the_clock_less_the_lag(world):
    assert world.get("/exchange/user_data_timestamp") == {"as_of_time": "2023-11-14T22:13:20Z"}
    world.switch(read_model_lag_ms=1500)
    assert world.get("/exchange/user_data_timestamp") == {"as_of_time": "2023-11-14T22:13:18.5Z"}
