"""The backtest: each strategy trades, the money is right to the last unit, and who looks ahead is found out."""

import json
import re
import sys
from itertools import pairwise

import pytest
import yaml
from click.testing import CliRunner
from soloist_kalshi.fees import FeeTerms
from soloist_trader import strategies
from soloist_trader.cli import main
from soloist_trader.core import events
from soloist_trader.core.records import Booked, Intended
from soloist_trader.core.strategy import Target
from soloist_trader.core.units import ASK, BID, IMMEDIATE_OR_CANCEL
from soloist_trader.modes.backtest import Backtest, Point, Settings, look_ahead
from soloist_trader.modes.data import DataError, read_data
from soloist_trader.modes.figures import drawdown, figures, sharpe, trips
from soloist_trader.report import svg
from soloist_trader.report.backtest import Subject, render
from soloist_trader.tape import FileSink

from tests.unit.soloist_trader.core_world import LIMITS
from tests.unit.soloist_trader.market_data import swinging
from tests.unit.soloist_trader.tape_world import TapedWorld

PARAMETERS = {
    "threshold": {"minimum_seconds_to_close": 0, "maximum_hold_seconds": 3, "cooldown_seconds": 0.5},
    "market_maker": {"half_spread_dollars": "0.01", "requote_dollars": "0.01", "minimum_seconds_to_close": 0},
    "bollinger": {
        "candle_seconds": 0.5, "periods": 8, "deviations": 0.5, "minimum_seconds_to_close": 0, "cooldown_seconds": 0.5,
    },
}  # fmt: skip


def maker(name, **changes):
    return lambda _data: strategies.load(name).from_mapping({**PARAMETERS[name], **changes})


def run(name, data, **settings):
    return Backtest(data, maker(name), LIMITS, Settings(**settings)).run()


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_every_strategy_trades_and_the_books_balance(name):
    made = run(name, swinging(60))
    shown = figures(made)
    assert shown.fills > 10
    assert len(shown.trips) > 3
    cash = sum(-fill.side * fill.size * fill.price - fill.fee for fill in made.fills)
    held = sum(fill.side * fill.size for fill in made.fills)
    view = made.engine.markets["M"].view
    closing = view.bid_price if held > 0 else view.ask_price
    assert shown.profit == cash + held * closing
    assert shown.fees == sum(fill.fee for fill in made.fills)
    assert made.alerts == {}


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_shipped_strategies_do_not_look_ahead(name):
    assert look_ahead(swinging(20), maker(name), LIMITS, Settings()) is None


class Peeker:
    """Buys when the data go on to rise: it was made with all of them."""

    name = "peeker"

    def __init__(self, data):
        tops = [event for event in data if isinstance(event, events.TopChanged)]
        self.times = [top.now_ms for top in tops]
        self.bids = [top.bid_price for top in tops]

    def targets(self, view):
        later = [bid for time_ms, bid in zip(self.times, self.bids, strict=True) if time_ms > view.now_ms]
        if view.position:
            return [Target(ASK, "exit", view.bid_price, view.position, IMMEDIATE_OR_CANCEL)]
        if later and max(later) > view.ask_price:
            return [Target(BID, "entry", view.ask_price, 100, IMMEDIATE_OR_CANCEL)]
        return []

    def entered(self, market, now_ms):
        """It has no cool-down."""


class Scaler(Peeker):
    """The common mistake: a threshold from the highest price of the whole data."""

    def targets(self, view):
        if view.position or view.ask_price > max(self.bids) - 300:
            return []
        return [Target(BID, "entry", view.ask_price, 100, IMMEDIATE_OR_CANCEL)]


def test_a_strategy_that_peeks_is_found_out():
    peek = look_ahead(swinging(20), Peeker, LIMITS, Settings())
    assert peek is not None
    assert "Intended" in peek.with_all + peek.with_less


def test_a_strategy_scaled_by_the_whole_data_is_found_out():
    data = swinging(10) + [
        event._replace(now_ms=event.now_ms + 10_000) for event in swinging(10, step=400)[1:]
    ]
    assert look_ahead(data, Scaler, LIMITS, Settings()) is not None


def test_what_the_look_ahead_check_cannot_see_is_said_where_it_is_offered_and_where_it_passed():
    data = swinging(20)
    assert look_ahead(data, lambda _given: Peeker(data), LIMITS, Settings()) is None, (
        "it opened the data itself"
    )
    helped = CliRunner().invoke(main, ["backtest", "--help"]).stdout
    assert "cannot see one that opens the data itself" in " ".join(helped.split())
    made = run("threshold", data)
    subject = Subject("data", "threshold", {}, 50, "quadratic x 1")
    assert "A strategy that opens the data itself" in render(subject, made, figures(made), None, checked=True)


CELL = re.compile(r"<t[dh][^>]*>(.*?)</t[dh]>")


def table_rows(text):
    return [CELL.findall(row) for row in re.findall(r"<tr>(.*?)</tr>", text)]


def test_the_report_shows_the_figures_that_the_fills_give():
    """Each figure is computed here, from fills and prices, and none by the functions that the report uses."""
    patient = {"take_profit_dollars": "0.05", "stop_loss_dollars": "0.03", "maximum_hold_seconds": 30}
    made = Backtest(swinging(200, step=300), maker("threshold", **patient), LIMITS, Settings()).run()
    text = render(
        Subject("data", "threshold", {}, 50, "quadratic x 1"), made, figures(made), None, checked=True
    )
    told = dict(row for row in table_rows(text) if len(row) == 2)

    cash = held = high = deepest = trip = 0
    closes, trips_made = {}, []
    for fill in made.fills:
        paid = -fill.side * fill.size * fill.price - fill.fee
        cash, held, trip = cash + paid, held + fill.side * fill.size, trip + paid
        if held == 0:
            trips_made.append(trip)
            trip = 0
    for point in made.equity:
        high = max(high, point.equity)
        deepest = max(deepest, high - point.equity)
        closes[point.time_ms // 60_000] = point.equity
    view = made.engine.markets["M"].view
    profit = cash + held * (view.bid_price if held > 0 else view.ask_price)
    assert made.equity[-1].equity == profit, "the curve ends where the fills lead"
    assert 0 < sum(trip > 0 for trip in trips_made) < len(trips_made) / 2, "some won, most lost"
    assert high > 0, "the deepest fall is from above zero"
    minutes = [0, *(closes[minute] for minute in sorted(closes))]
    assert sorted(closes) == list(range(min(closes), max(closes) + 1))
    changes = [after - before for before, after in pairwise(minutes)]
    mean = sum(changes) / len(changes)
    deviation = (sum((change - mean) ** 2 for change in changes) / len(changes)) ** 0.5
    yearly = mean / deviation * (365 * 24 * 60) ** 0.5
    won = sum(profit > 0 for profit in trips_made) / len(trips_made)
    assert told["Profit after fees"] == f"{profit / 1e6:+,.2f}"
    assert told["Deepest drawdown"] == f"{-deepest / 1e6:+,.2f}"
    assert told["Sharpe ratio (minutes, a year of 365 days)"] == f"{yearly:.2f}"
    assert told["Win rate of round trips"] == f"{won:.1%}"
    assert told["Round trips"] == str(len(trips_made))

    shown = [row for row in table_rows(text) if len(row) == 7]
    assert shown[0][:6] == ["time", "market", "side", "contracts", "price", "fee"]
    assert [row[1:] for row in shown[1:]] == [
        [
            fill.market, "bid" if fill.side == BID else "ask", f"{fill.size / 100:.2f}", f"{fill.price / 10_000:.4f}",
            f"{fill.fee / 1e6:.4f}", "taker" if fill.is_taker else "maker",
        ]
        for fill in made.fills
    ]  # fmt: skip


def test_latency_moves_the_fills():
    soon, late = run("threshold", swinging(20), latency_ms=0), run("threshold", swinging(20), latency_ms=400)
    intended = next(record for _, record in soon.decisions if isinstance(record, Intended))
    assert soon.fills[0].fill_time_ms == intended.time_ms
    assert late.fills[0].fill_time_ms == intended.time_ms + 400
    assert late.fills[0].time_ms == intended.time_ms + 800


def test_fee_terms_are_charged():
    data = swinging(20)
    plain, dear = run("threshold", data), run("threshold", data, fees=FeeTerms("quadratic", 30_000))
    assert dear.fills[0].fee > 2 * plain.fills[0].fee


def test_the_same_data_give_the_same_run():
    assert run("market_maker", swinging(20)).decisions == run("market_maker", swinging(20)).decisions


def booked(side, size, price, fee, time_ms=0):
    return Booked(time_ms, "f", "o", "v", "M", side, price, size, fee, True, time_ms)  # noqa: FBT003 a tuple's field


def test_trips_end_at_flat_and_a_flip_is_two():
    found = trips(
        [booked(BID, 100, 5_000, 10), booked(ASK, 300, 5_100, 30, 7), booked(BID, 200, 5_000, 5, 9)]
    )
    assert [(trip.begin_ms, trip.end_ms, trip.profit) for trip in found] == [
        (0, 7, 100 * 100 - 10 - 10),
        (7, 9, 200 * 100 - 20 - 5),
    ]


def test_drawdown_and_sharpe():
    points = [Point(minute * 60_000, equity) for minute, equity in enumerate((0, 50, 20, 90, 40, 95))]
    assert drawdown(points) == 50
    changes = (0, 50, -30, 70, -50, 55)
    mean = sum(changes) / 6
    deviation = (sum((change - mean) ** 2 for change in changes) / 6) ** 0.5
    assert sharpe(points) == pytest.approx(mean / deviation * (365 * 24 * 60) ** 0.5)
    assert sharpe(points[:2]) is None
    assert sharpe([Point(minute * 60_000, 0) for minute in range(9)]) is None


def test_the_command_writes_a_report_with_its_pictures_and_nothing_from_outside(tmp_path):
    world = TapedWorld(FileSink(tmp_path / "tape", 1))
    world.trade(30)
    world.tape.close()
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text(yaml.safe_dump({**PARAMETERS["threshold"], "risk": {"max_open_orders": 5}}))
    report = tmp_path / "out.html"
    outcome = CliRunner().invoke(
        main,
        ["backtest", "--data", str(tmp_path / "tape"), "--strategy", "threshold", "--parameters", str(parameters),
         "--report", str(report), "--json"],
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    facts = json.loads(outcome.stdout)
    assert facts["lookAhead"] == "passed"
    assert facts["fills"] > 5
    text = report.read_text()
    assert text.count("<svg") == 3
    assert f"{facts['profitDollars']:+,.2f}" in text
    assert not re.search(r"(src|href|url)\s*[=(]|@import|https?:", text), "it would load something"


@pytest.mark.parametrize(
    ("arguments", "parameters", "message"),
    [
        (["--strategy", "treshold"], {}, "Did you mean 'threshold'?"),
        (
            ["--strategy", "threshold"],
            {"order_contracts": 5},
            "order_contracts: write it as a quoted decimal",
        ),
        (
            ["--strategy", "threshold"],
            {"risk": {"max_open_orders": 0}},
            "max_open_orders: Input should be greater",
        ),
        (["--strategy", "threshold"], ["x"], "must be a mapping"),
    ],
)
def test_bad_input_is_told_with_its_field(tmp_path, arguments, parameters, message):
    file = tmp_path / "parameters.yaml"
    file.write_text(yaml.safe_dump(parameters))
    outcome = CliRunner().invoke(
        main, ["backtest", "--data", str(tmp_path), "--parameters", str(file), *arguments]
    )
    assert outcome.exit_code == 2
    assert message in outcome.output


def rows(data):
    empty = dict.fromkeys(("bid_price", "bid_count", "ask_price", "ask_count", "price", "size", "taker_side"))
    for event in data:
        if isinstance(event, events.TopChanged):
            fields = {
                name: getattr(event, name) for name in ("bid_price", "bid_count", "ask_price", "ask_count")
            }
            yield {**empty, "time_ms": event.now_ms, "market": event.market, "kind": "top", **fields}
        elif isinstance(event, events.Traded):
            side = "bid" if event.taker_side == BID else "ask"
            yield {
                **empty, "time_ms": event.now_ms, "market": event.market, "kind": "trade", "price": event.price,
                "size": event.size, "taker_side": side,
            }  # fmt: skip


def test_parquet_gives_the_same_events(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    data = swinging(10)
    file = tmp_path / "m.parquet"
    parquet.write_table(pa.Table.from_pylist(list(rows(data))), file)
    assert [event for event in read_data(file) if not isinstance(event, events.MarketSeen)] == data[1:]
    assert run("threshold", read_data(file)).fills == run("threshold", data).fills

    broken = list(rows(data))
    broken[3]["kind"] = "tick"
    parquet.write_table(pa.Table.from_pylist(broken), file)
    with pytest.raises(DataError, match="row 3: kind 'tick'"):
        read_data(file)
    broken[3].update(kind="top", bid_price=None)
    parquet.write_table(pa.Table.from_pylist(broken), file)
    with pytest.raises(DataError, match="row 3: bid_price is None"):
        read_data(file)
    parquet.write_table(pa.table({"time_ms": [1]}), file)
    with pytest.raises(DataError, match="lacks the columns market"):
        read_data(file)
    file.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_data(file)


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    file = tmp_path / "m.parquet"
    file.touch()
    with pytest.raises(DataError, match=r"soloist\[data\]"):
        read_data(file)


def test_a_gap_in_a_tape_loses_every_book_until_it_is_shown_again(tmp_path):
    world = TapedWorld(FileSink(tmp_path, 1))
    world.trade(10)
    world.tape.close()
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    lost = [event for event in read_data(tmp_path) if isinstance(event, events.BookLost)]
    assert [(event.market, event.reason) for event in lost] == [("M", "a gap in the data")]


def test_thinned_points_keep_every_peak():
    points = [(float(n), 0.0) for n in range(100_000)]
    points[54_321] = (54_321.0, 7.0)
    points[77_777] = (77_777.0, -7.0)
    kept = svg.thin(points)
    assert len(kept) <= svg.MAXIMUM_POINTS + 2
    assert {(54_321.0, 7.0), (77_777.0, -7.0)} <= set(kept)


def test_pictures_escape_names():
    drawn = svg.bars([("<script>", 1.0), ("B", -2.0)], "a & b", str)
    assert "<script>" not in drawn
    assert 'class="loss"' in drawn
    assert "nothing to show" in svg.line([], "t", str)
