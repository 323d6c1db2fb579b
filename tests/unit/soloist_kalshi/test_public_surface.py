"""What other packages may use. A change here is a change for all of them."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import soloist_kalshi

SURFACE = {
    "account_facts": {"AccountFacts", "FillFacts", "Intent", "OrderFacts", "Status", "time_to_ms"},
    "account_view": {"AccountView", "AccountViewPolicy"},
    "attempt_budget": {"AttemptBudget"},
    "book": {"Book", "Levels"},
    "clock": {"DEFAULT_WINDOW_MS", "ClockReading", "ServerClock"},
    "codec": {"FrameDecoder", "UnknownFields", "decode", "encode"},
    "fees": {
        "DIRECT_PRECISION",
        "INDIRECT_PRECISION",
        "MULTIPLIER_ONE",
        "FeeAccumulator",
        "FeeKind",
        "FeeTerms",
        "maker_fee",
        "multiplier_from_number",
        "taker_fee",
    },
    "keys": {"KeySlot", "SignerSource"},
    "limits": {
        "BASIC_LIMITS",
        "BATCH_PATH",
        "CANCEL_COST",
        "DEFAULT_COST",
        "AccountBuckets",
        "CostTable",
        "TokenBucket",
    },
    "market_feed": {"MarketFeed", "MarketFeedPolicy"},
    "numbers": {
        "COUNT_PER_CONTRACT",
        "MONEY_PER_DOLLAR",
        "PRICE_PER_DOLLAR",
        "NumberError",
        "PriceGrid",
        "count_from_text",
        "count_to_text",
        "money_from_dollars",
        "money_to_dollars",
        "notional",
        "price_from_dollars",
        "price_to_dollars",
    },
    "orders": {
        "Accepted",
        "AmendOutcome",
        "Amended",
        "CancelOutcome",
        "Cancelled",
        "CreateOutcome",
        "DecreaseOutcome",
        "Decreased",
        "Failure",
        "Gate",
        "NotSent",
        "OrderClient",
        "Rejected",
        "RequestOutcome",
        "Requested",
        "Unknown",
        "WriteTransport",
    },
    "planner": {
        "Change",
        "FeedPlan",
        "FeedPlanError",
        "PlanLimits",
        "Slot",
        "changes",
        "overflowed",
        "plan",
    },
    "custody": {"CustodyClient"},
    "rest_keys": {"KeyClient"},
    "rest": {"KeyClient", "ReadPolicy", "RestClient"},
    "signing": {
        "HEADER_KEY",
        "HEADER_SIGNATURE",
        "HEADER_TIMESTAMP",
        "WEBSOCKET_PATH",
        "KeyType",
        "PrivateKeyPair",
        "Signer",
        "Verifier",
        "generate_private_key",
        "signed_text",
    },
    "staleness": {"MarketFreshness", "Staleness"},
    "websocket": {"Gap", "SequenceTracker", "WebSocketClient", "WebSocketPolicy"},
}


@pytest.mark.parametrize("module", SURFACE)
def test_the_surface_of_each_module_is_pinned(module):
    assert set(importlib.import_module(f"soloist_kalshi.{module}").__all__) == SURFACE[module]


@pytest.mark.parametrize("module", soloist_kalshi.__all__)
def test_every_public_name_exists(module):
    imported = importlib.import_module(f"soloist_kalshi.{module}")
    assert list(imported.__all__) == sorted(set(imported.__all__), key=imported.__all__.index)
    for name in imported.__all__:
        assert hasattr(imported, name), f"{module}.{name}"


def test_the_package_lists_its_modules():
    assert set(soloist_kalshi.__all__) == {*SURFACE, "errors", "frames", "messages"}


def test_reading_does_not_load_the_order_path():
    """The fence runs without httptools and picows, and must not be able to place an order by accident."""
    code = (
        "import sys, soloist_kalshi.rest, soloist_kalshi.signing, soloist_kalshi.codec;"
        "print(sorted(name for name in sys.modules"
        " if name in {'httptools', 'picows', 'soloist_kalshi.websocket'} or name.startswith('soloist_kalshi.orders')))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "[]"


def test_a_key_client_writes_keys_and_nothing_else():
    from soloist_kalshi.rest import KeyClient

    writes = {
        name
        for name in dir(KeyClient)
        if name.startswith(("create", "delete", "generate", "set_", "transfer", "upgrade"))
    }
    assert writes == {"generate_api_key", "delete_api_key"}


def test_rest_has_no_way_to_write_an_order():
    from soloist_kalshi import rest

    for file in Path(rest.__file__).parent.glob("rest*.py"):
        source = file.read_text()
        assert "/portfolio/events" not in source
        assert "soloist_kalshi.orders" not in source
