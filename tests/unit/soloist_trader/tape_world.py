"""A core that trades in a scripted market, with its tape."""

from __future__ import annotations

from soloist_trader.core import events
from soloist_trader.core.commands import Amend, Cancel, Place
from soloist_trader.core.engine import Engine
from soloist_trader.core.intake import Identity
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.units import GOOD_TILL_CANCELED
from soloist_trader.strategies.threshold import Threshold, ThresholdParameters
from soloist_trader.tape.writer import Tape

from tests.unit.soloist_trader.core_world import LIMITS, TICKS


class ListSink:
    """Keeps chunks in memory; the test says when the disk is full up."""

    def __init__(self):
        self.chunks = []
        self.refuses = False
        self.failed = ""
        self.wants_file = False

    def offer(self, chunk):
        if not self.refuses:
            self.chunks.append(chunk)
            self.wants_file = self.wants_file and not chunk.header
        return not self.refuses

    def close(self):
        pass


class TapedWorld:
    """Every order is answered at once: an immediate one fills, a resting one rests."""

    def __init__(self, sink, **parameters):
        strategy = Threshold(
            ThresholdParameters.model_validate(
                {
                    "maximum_hold_seconds": 2,
                    "minimum_seconds_to_close": 0,
                    "cooldown_seconds": 0,
                    **parameters,
                }
            )
        )
        self.now_ms = 1_000_000
        self.engine = Engine(Ledger(), Identity("unit00", 0, 2, 7, "Paper"), strategy, LIMITS, ["M"])
        self.tape = Tape(self.engine, sink, block_bytes=2_000)
        self.records = []
        self.places = 0
        self.step(events.Began(self.now_ms))
        self.step(events.MarketSeen(self.now_ms, "M", True, 0, TICKS, 0))  # noqa: FBT003 a tuple's field
        self.step(events.SweepEnded(self.now_ms, self.now_ms))
        self.step(events.Readied(self.now_ms))

    def step(self, event):
        self.tape.write_event(event)
        commands = self.engine.step(event)
        if commands:
            self.tape.write_commands(commands)
        for command in commands:
            if hasattr(command, "record"):
                self.records.append(command.record)
        for command in commands:
            self.answer(command)

    def answer(self, command):
        if isinstance(command, Place):
            self.places += 1
            rests = command.time_in_force == GOOD_TILL_CANCELED
            name, order_id = command.client_order_id, f"v-{command.client_order_id}"
            filled = 0 if rests else command.size
            self.step(
                events.OrderSeen(
                    self.now_ms, name, order_id, "M", command.side, command.price, command.size, filled, not rests,
                    "reply",
                )
            )  # fmt: skip
            if filled:
                self.step(
                    events.FillSeen(
                        self.now_ms, f"f{self.places}", order_id, name, "M", command.side, command.price, filled, 100,
                        True, self.now_ms,  # noqa: FBT003 a tuple's field
                    )
                )  # fmt: skip
        elif isinstance(command, Cancel):
            self.step(events.CancelEnded(self.now_ms, command.client_order_id, 100, "cancelled"))
        assert not isinstance(command, Amend), "this world amends nothing"

    def trade(self, seconds):
        """Ten looks a second at a price that goes up and down."""
        for number in range(seconds * 10):
            self.now_ms += 100
            middle = 4_500 + 100 * ((number // 7) % 9)
            self.step(events.TopChanged(self.now_ms, "M", middle - 100, 1_000, middle, 1_000, 1))
            self.step(events.Tick(self.now_ms))
