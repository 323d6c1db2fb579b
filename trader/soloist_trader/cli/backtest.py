"""`soloist-trader backtest`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from soloist_kalshi.fees import FeeKind

    from soloist_trader.core.risk import Limits
    from soloist_trader.modes.backtest import MakeStrategy

EXIT_LOOKS_AHEAD = 1
EXIT_UNUSABLE = 2
_RISK = {
    "max_order_contracts": "100.00",
    "max_position_contracts": "1000.00",
    "max_exposure_dollars": "10000.00",
    "max_open_orders": 100,
    "daily_loss_dollars": "1000.00",
}


@click.command()
@click.option(
    "--data",
    "source",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Tape (file or directory) of an engine, or a .parquet file.",
)
@click.option("--strategy", "name", required=True, help="Name, as `soloist-trader strategies` lists it.")
@click.option(
    "--parameters",
    "path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML with the strategy's parameters, and optionally `risk:` as in the engine's configuration.",
)
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write an HTML report here.")
@click.option("--latency-ms", type=click.IntRange(0, 60_000), default=50, show_default=True, help="One way.")
@click.option(
    "--fees",
    type=click.Choice(["quadratic", "quadratic_with_maker_fees", "quadratic_with_combo_maker_fees"]),
    default="quadratic",
    show_default=True,
    help="The series' fee type.",
)
@click.option(
    "--fee-multiplier", type=float, default=1.0, show_default=True, help="The series' fee multiplier."
)
@click.option("--check/--no-check", default=True, show_default=True, help="Run the look-ahead check, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def backtest(
    source: Path,
    name: str,
    path: Path | None,
    report: Path | None,
    latency_ms: int,
    fees: FeeKind,
    fee_multiplier: float,
    check: bool,
    as_json: bool,
) -> None:
    """Run a strategy over recorded markets: the same core and risk table, fills by the simulated account.

    The look-ahead check runs the strategy again on data that end earlier: every decision before that must be the same. It
    sees a strategy that uses later events of what it is given. It cannot see one that opens the data itself (a file, a
    database, the network) or was fitted to them beforehand: those know the end in every run, and decide the same.

    A Parquet file has one row per event: time_ms, market, kind (top or trade), bid_price, bid_count, ask_price,
    ask_count, price, size (integers: 1/10 000 dollar, 1/100 contract), taker_side (bid or ask). A tape of an engine that
    traded shows its own orders in the books.

    Exit codes: 0 done, 1 the strategy looks ahead, 2 the data, strategy or parameters cannot be used.
    """
    from soloist_kalshi.fees import FeeTerms, multiplier_from_number  # noqa: PLC0415 `--help` does not need it
    from soloist_kalshi.numbers import NumberError  # noqa: PLC0415 as above

    from soloist_trader.errors import EngineError  # noqa: PLC0415 as above
    from soloist_trader.modes.backtest import Backtest, Settings, look_ahead  # noqa: PLC0415 as above
    from soloist_trader.modes.data import read_data  # noqa: PLC0415 as above
    from soloist_trader.modes.figures import figures  # noqa: PLC0415 as above
    from soloist_trader.report.backtest import Subject, render  # noqa: PLC0415 as above

    try:
        make, parameters, limits = _strategy(name, path)
        settings = Settings(latency_ms, fees=FeeTerms(fees, multiplier_from_number(fee_multiplier)))
        data = read_data(source)
    except (EngineError, NumberError) as error:
        click.echo(error, err=True)
        sys.exit(EXIT_UNUSABLE)
    click.echo(f"{len(data)} market events", err=True)
    run = Backtest(data, make, limits, settings).run()
    made = figures(run)
    click.echo("the run is done; checking for look-ahead" if check else "the run is done", err=True)
    peek = look_ahead(data, make, limits, settings) if check else None
    if report is not None:
        subject = Subject(source.name, name, parameters, latency_ms, f"{fees} x {fee_multiplier:g}")
        report.write_text(render(subject, run, made, peek, checked=check), encoding="utf-8")
    facts: dict[str, Any] = {
        "profitDollars": made.profit / 1_000_000,
        "feesDollars": made.fees / 1_000_000,
        "drawdownDollars": made.drawdown / 1_000_000,
        "sharpe": made.sharpe,
        "winRate": made.win_rate,
        "roundTrips": len(made.trips),
        "orders": made.orders,
        "fills": made.fills,
        "lookAhead": None if not check else "passed" if peek is None else "failed",
    }
    lines = [f"{field}\t{value}" for field, value in facts.items()]
    click.echo(json.dumps(facts, indent=2) if as_json else "\n".join(lines))
    if peek is not None:
        click.echo(f"looks ahead: {peek.with_all} becomes {peek.with_less} without later data", err=True)
        sys.exit(EXIT_LOOKS_AHEAD)


def _strategy(name: str, path: Path | None) -> tuple[MakeStrategy, dict[str, Any], Limits]:
    """The strategy as a function of the data (installed ones need none), its parameters, and the limits."""
    import yaml  # noqa: PLC0415 `--help` does not need it
    from pydantic import ValidationError  # noqa: PLC0415 as above

    from soloist_trader import strategies  # noqa: PLC0415 as above
    from soloist_trader.config import RiskBlock  # noqa: PLC0415 as above
    from soloist_trader.modes.data import DataError  # noqa: PLC0415 as above

    try:
        mapping = yaml.safe_load(path.read_text(encoding="utf-8")) if path is not None else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if mapping is not None and not isinstance(mapping, dict):
        raise DataError(f"{path} must be a mapping of parameters")
    parameters = dict(mapping or {})
    risk = parameters.pop("risk", {})
    try:
        plugin = strategies.load(name)
        made = plugin.from_mapping(parameters)
        limits = RiskBlock.model_validate({**_RISK, **risk}).limits()
    except KeyError as error:
        raise DataError(str(error.args[0])) from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()
        )
        raise DataError(f"{path or 'the defaults'}: {problems}") from error
    return lambda _data: plugin.from_mapping(parameters), made.parameters.model_dump(mode="json"), limits
