"""The exchange itself over REST: status, schedule, and how fresh the portfolio reads are (sections 3.5 and 6)."""

from soloist_kalshi import messages

from soloist_exchange import wire
from soloist_exchange.rest_call import Reply, Request, call
from soloist_exchange.venue import Venue

__all__ = ["ROUTES"]

ALWAYS_FROM = "2020-01-01T00:00:00Z"
ALWAYS_TO = "2099-12-31T23:59:59Z"


def exchange_status(request: Request) -> Reply:
    """GET /exchange/status; the demo of June 2026 sent the first two fields only (switch `exchange_status_fields`)."""
    venue = request.exchange.venue
    status: dict[str, object] = {
        "exchange_active": venue.exchange_active,
        "trading_active": venue.exchange_active and venue.trading_active,
    }
    if venue.switches.exchange_status_fields == "all":
        status["intra_exchange_transfers_active"] = venue.exchange_active
        status["exchange_estimated_resume_time"] = (
            None  # a pause ends when the scenario or the operator says so
        )
        status["exchange_index_statuses"] = [
            {
                "exchange_index": index,
                "description": "default" if index == 0 else f"shard {index}",
                "exchange_active": venue.exchange_active,
                "trading_active": venue.exchange_active and venue.trading_active,
                "intra_exchange_transfers_active": venue.exchange_active,
            }
            for index in shards(venue)
        ]
    return 200, status


def shards(venue: Venue) -> list[int]:
    """Return the shards that have a market, and shard 0."""
    return sorted({0} | {state.exchange_index for state in venue.markets.values()})


def exchange_schedule(_: Request) -> Reply:
    """GET /exchange/schedule: the local exchange never closes by itself, so no window is announced."""
    all_day = [messages.DailyHours(open_time="00:00", close_time="23:59")]
    hours = messages.StandardHours(
        start_time=ALWAYS_FROM,
        end_time=ALWAYS_TO,
        monday=all_day,
        tuesday=all_day,
        wednesday=all_day,
        thursday=all_day,
        friday=all_day,
        saturday=all_day,
        sunday=all_day,
    )
    return 200, messages.ScheduleReply(
        schedule=messages.Schedule(standard_hours=[hours], maintenance_windows=[])
    )


def user_data_timestamp(request: Request) -> Reply:
    """GET /exchange/user_data_timestamp: how far the portfolio reads have got (switch `read_model_lag_ms`)."""
    return 200, messages.UserDataTimestamp(as_of_time=wire.rfc3339(request.exchange.as_of_ms()))


ROUTES = (
    call("GET", "/exchange/status", "GetExchangeStatus", exchange_status, scope=None),
    call("GET", "/exchange/schedule", "GetExchangeSchedule", exchange_schedule, scope=None),
    call("GET", "/exchange/user_data_timestamp", "GetUserDataTimestamp", user_data_timestamp, scope=None),
)
