"""A core behind the real Live edge, whose frames a test hands over; nothing is connected."""

from __future__ import annotations

import json

from soloist_kalshi.attempt_budget import AttemptBudget
from soloist_kalshi.errors import VenueProtocolError, VenueUnreachable
from soloist_kalshi.keys import SignerSource
from soloist_kalshi.signing import Signer, generate_private_key
from soloist_trader.config import Configuration
from soloist_trader.core import events
from soloist_trader.core.engine import Engine
from soloist_trader.core.intake import Identity
from soloist_trader.core.ledger import Ledger
from soloist_trader.shell.live import LiveEdge
from soloist_trader.strategies.threshold import Threshold, ThresholdParameters
from soloist_trader.tape.writer import Tape

from tests.unit.soloist_trader.core_world import LIMITS, TICKS

CONFIGURATION = {
    "version": 1,
    "bot": {"namespace": "unit", "name": "feed"},
    "mode": "Live",
    "venue": {
        "name": "nowhere", "rest_url": "http://127.0.0.1:1/trade-api/v2",
        "websocket_url": "ws://127.0.0.1:1/trade-api/ws/v2",
    },
    "account": {"subaccount": 0, "claim_hash": "unit00", "epoch": 2},
    "markets": {"tickers": ["A", "B"], "series": []},
    "strategy": {"name": "threshold", "parameters": {}},
    "risk": {
        "max_order_contracts": "5.00", "max_position_contracts": "20.00", "max_exposure_dollars": "100.00",
        "max_open_orders": 20, "daily_loss_dollars": "2000.00",
    },
}  # fmt: skip
SID = 7


def make_edge():
    """The Live edge, not started."""
    source = SignerSource(Signer.from_pem("key", generate_private_key("ed25519").private_pem))
    configuration = Configuration.model_validate(CONFIGURATION)
    return LiveEdge(configuration, source, lambda _why: None, lambda: None, AttemptBudget())


class FeedWorld:
    """Frames as the venue counts them; `lose` leaves one out on the way."""

    def __init__(self, sink, monkeypatch, **options):
        self.now_ms = 1_000_000
        self.steps = []
        strategy = Threshold(ThresholdParameters.model_validate({}))
        self.engine = Engine(Ledger(), Identity("unit00", 0, 2, 7, "Live"), strategy, LIMITS, ["A", "B"])
        self.edge = make_edge()
        self.tape = self.edge.tape = Tape(self.engine, sink, self.edge.port, **options)
        self.edge._sink = self.step
        self.sequence = 0
        monkeypatch.setattr("soloist_trader.shell.live.now_ms", lambda: self.now_ms)
        self.step(events.Began(self.now_ms))
        for market in ("A", "B"):
            self.step(events.MarketSeen(self.now_ms, market, True, 0, TICKS, 0))  # noqa: FBT003 a tuple's field
        self.open()

    def step(self, event):
        self.steps.append(event)
        self.tape.write_event(event)
        commands = self.engine.step(event)
        if commands:
            self.tape.write_commands(commands)

    # -- frames

    def open(self):
        self.sequence = 0
        self.read(
            frame("subscribed", id=1, msg={"channel": "orderbook_delta", "sid": SID}),
            self.snapshot("A"),
            self.snapshot("B"),
        )

    def read(self, *payloads):
        """One read of the socket; true if a broken frame ended the connection, as the client does it."""
        self.now_ms += 20
        for payload in payloads:
            try:
                self.edge._on_frame(payload)
            except VenueProtocolError as error:
                self.edge._on_closed(error)
                return True
        self.edge._on_read_end()
        return False

    def close(self):
        self.edge._on_closed(VenueUnreachable("the venue went away"))

    def lose(self):
        self.sequence += 1

    def snapshot(self, market, bid="0.4000", no="0.5500"):
        self.sequence += 1
        sides = {"yes_dollars_fp": [[bid, "10.00"]], "no_dollars_fp": [[no, "10.00"]]}
        return frame(
            "orderbook_snapshot", sid=SID, seq=self.sequence,
            msg={"market_ticker": market, "market_id": market, **sides},
        )  # fmt: skip

    def delta(self, market, price="0.4100", change="1.00", side="yes"):
        self.sequence += 1
        message = {"price_dollars": price, "delta_fp": change, "side": side}
        return frame(
            "orderbook_delta", sid=SID, seq=self.sequence,
            msg={"market_ticker": market, "market_id": market, **message},
        )  # fmt: skip

    def trade(self, market, number):
        return frame(
            "trade", sid=SID + 1, seq=number,
            msg={
                "trade_id": f"t{number}", "market_ticker": market, "yes_price_dollars": "0.4500",
                "no_price_dollars": "0.5500", "count_fp": "2.00", "taker_outcome_side": "yes", "taker_book_side": "bid",
                "ts": 1, "ts_ms": 1_000,
            },
        )  # fmt: skip

    def quote(self, reads):
        """Reads of three frames; the top of one market changes in each."""
        for number in range(reads):
            market = "AB"[number % 2]
            sign = "" if number % 4 < 2 else "-"
            self.read(
                self.delta(market, change=f"{sign}3.00"),
                self.delta(market, price="0.1000"),
                self.trade(market, number + 1),
            )


def frame(kind, **fields):
    return json.dumps({"type": kind, **fields}).encode()
