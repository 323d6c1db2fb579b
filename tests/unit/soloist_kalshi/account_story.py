"""An account's history as the venue would tell it: rows and frames of each moment, for tests of the client's view."""

from dataclasses import dataclass, replace

from soloist_kalshi import frames
from soloist_kalshi.messages import Balance, CreateOrder, Fill, MarketPosition, Order
from soloist_kalshi.numbers import count_to_text, money_to_dollars, price_to_dollars

START_MS = 1_800_000_000_000


def rfc3339(ms):
    seconds, rest = divmod(ms - START_MS, 1_000)
    return f"2027-01-15T{8 + seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}Z"


@dataclass(frozen=True)
class Truth:
    """One order at one moment."""

    order_id: str
    side: str = "bid"
    price: int = 5_000
    initial: int = 1_000
    filled: int = 0
    remaining: int = 1_000
    status: str = "resting"
    at_ms: int = START_MS

    @property
    def client_order_id(self):
        return f"c-{self.order_id}"

    def changed(self, **changes):
        return replace(self, at_ms=self.at_ms + 1, **changes)

    def row(self):
        return Order(
            order_id=self.order_id,
            client_order_id=self.client_order_id,
            ticker="SIM-A",
            outcome_side="yes" if self.side == "bid" else "no",
            book_side=self.side,
            status=self.status,
            yes_price_dollars=price_to_dollars(self.price),
            no_price_dollars=price_to_dollars(10_000 - self.price),
            fill_count_fp=count_to_text(self.filled),
            remaining_count_fp=count_to_text(self.remaining),
            initial_count_fp=count_to_text(self.initial),
            last_update_time=rfc3339(self.at_ms),
        )

    def frame(self, **changes):
        return frames.UserOrderMessage(
            **{
                "order_id": self.order_id,
                "client_order_id": self.client_order_id,
                "ticker": "SIM-A",
                "status": self.status,
                "outcome_side": "yes" if self.side == "bid" else "no",
                "book_side": self.side,
                "yes_price_dollars": price_to_dollars(self.price),
                "fill_count_fp": count_to_text(self.filled),
                "remaining_count_fp": count_to_text(self.remaining),
                "initial_count_fp": count_to_text(self.initial),
                "user_id": "u",
                "exchange_index": 0,
                "taker_fill_cost_dollars": "0.000000",
                "maker_fill_cost_dollars": "0.000000",
                "taker_fees_dollars": "0.000000",
                "maker_fees_dollars": "0.000000",
                "last_update_ts_ms": self.at_ms,
                **changes,
            }
        )

    def order(self):
        return CreateOrder(
            ticker="SIM-A",
            side=self.side,
            count=count_to_text(self.initial),
            price=price_to_dollars(self.price),
            time_in_force="good_till_canceled",
            self_trade_prevention_type="taker_at_cross",
            client_order_id=self.client_order_id,
        )


@dataclass(frozen=True)
class TrueFill:
    """One fill of one order."""

    trade_id: str
    order_id: str
    side: str
    count: int
    price: int = 5_000

    def row(self):
        return Fill(
            fill_id=self.trade_id,
            trade_id=self.trade_id,
            order_id=self.order_id,
            ticker="SIM-A",
            outcome_side="yes" if self.side == "bid" else "no",
            book_side=self.side,
            count_fp=count_to_text(self.count),
            yes_price_dollars=price_to_dollars(self.price),
            no_price_dollars=price_to_dollars(10_000 - self.price),
            is_taker=False,
            fee_cost="0.010000",
        )

    def frame(self, **changes):
        return frames.FillMessage(
            **{
                "trade_id": self.trade_id,
                "order_id": self.order_id,
                "market_ticker": "SIM-A",
                "exchange_index": 0,
                "is_taker": False,
                "side": "yes",
                "yes_price_dollars": price_to_dollars(self.price),
                "count_fp": count_to_text(self.count),
                "fee_cost": "0.010000",
                "action": "buy" if self.side == "bid" else "sell",
                "ts": START_MS // 1_000,
                "ts_ms": START_MS,
                "post_position_fp": "0.00",
                "purchased_side": "yes",
                "outcome_side": "yes" if self.side == "bid" else "no",
                "book_side": self.side,
                **changes,
            }
        )


def position_row(count):
    return MarketPosition(
        ticker="SIM-A",
        total_traded_dollars="0.000000",
        position_fp=count_to_text(count),
        market_exposure_dollars="0.000000",
        realized_pnl_dollars="0.000000",
        fees_paid_dollars="0.000000",
    )


def position_frame(count, **changes):
    return frames.MarketPositionMessage(
        **{
            "user_id": "u",
            "market_ticker": "SIM-A",
            "position_fp": count_to_text(count),
            "position_cost_dollars": "0.000000",
            "realized_pnl_dollars": "0.000000",
            "fees_paid_dollars": "0.000000",
            "position_fee_cost_dollars": "0.000000",
            "volume_fp": "0.00",
            **changes,
        }
    )


def balance(money):
    return Balance(
        balance=money // 10_000, balance_dollars=money_to_dollars(money), portfolio_value=0, updated_ts=0
    )
