"""What a scenario says: markets, and how their books move. Built-in ones have names; others are YAML files of the same schema."""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from soloist_kalshi.numbers import NumberError, PriceGrid, price_from_dollars

from soloist_exchange.errors import ScenarioError

__all__ = ["SCENARIOS", "MarketPlan", "Scenario", "load"]

Probability = Annotated[int, Field(ge=0, le=100)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MarketPlan(_Model):
    """One market and the participants that move it."""

    ticker: Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9.-]{0,59}$")]
    title: str = ""
    start_dollars: Annotated[str, Field(description="first middle price, a dollar text on the grid")] = "0.50"
    spread_ticks: Annotated[int, Field(ge=1, le=20, description="best ask minus best bid, in ticks")] = 1
    levels: Annotated[int, Field(ge=0, le=40, description="price levels on each side")] = 5
    level_contracts: Annotated[
        int, Field(ge=1, le=100_000, description="contracts a level is quoted with")
    ] = 200
    step_ms: Annotated[
        int, Field(ge=0, description="milliseconds between moves; 0 = the book never moves")
    ] = 200
    move_percent: Annotated[
        Probability, Field(description="chance that the middle price moves in a step")
    ] = 50
    trade_percent: Annotated[Probability, Field(description="chance that somebody trades in a step")] = 40
    reach_ticks: Annotated[
        int, Field(ge=0, le=45, description="how far the middle strays from its start")
    ] = 15


class Scenario(_Model):
    """A named set of markets."""

    name: str
    description: str = ""
    markets: Annotated[list[MarketPlan], Field(min_length=1, max_length=5000)]


def _demo() -> Scenario:
    starts = {"RAIN": "0.35", "WIND": "0.50", "SNOW": "0.42", "HEAT": "0.58", "FROST": "0.65"}
    markets = [
        MarketPlan(ticker=f"SIM-{name}", title=f"Simulated {name.lower()} tomorrow", start_dollars=start)
        for name, start in starts.items()
    ]
    return Scenario(
        name="demo", description="five lively markets, several changes a second each", markets=markets
    )


def _quiet() -> Scenario:
    plan = {"step_ms": 5000, "move_percent": 20, "trade_percent": 5}
    markets = [MarketPlan.model_validate({"ticker": f"SIM-QUIET-{n}", **plan}) for n in range(1, 4)]
    return Scenario(name="quiet", description="three markets where little happens", markets=markets)


def _static() -> Scenario:
    markets = [
        MarketPlan(ticker=f"SIM-STATIC-{n}", step_ms=0, levels=10, level_contracts=1000, spread_ticks=2)
        for n in range(1, 4)
    ]
    return Scenario(
        name="static", description="three deep books that never move by themselves", markets=markets
    )


SCENARIOS: dict[str, Scenario] = {item.name: item for item in (_demo(), _quiet(), _static())}


def load(name_or_file: str) -> Scenario:
    """Return a built-in scenario or the one in a YAML file. Raises ScenarioError naming file, line and field."""
    if name_or_file in SCENARIOS:
        return SCENARIOS[name_or_file]
    path = Path(name_or_file)
    if not path.is_file():
        raise ScenarioError(f"{name_or_file}: neither a file nor one of {', '.join(sorted(SCENARIOS))}")
    text = path.read_text(encoding="utf-8")
    try:
        content = yaml.safe_load(text)
        scenario = Scenario.model_validate(content)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ScenarioError(f"{path}:{line}: not YAML: {error.problem}") from None
    except ValidationError as error:
        problems = [
            f"{path}:{_line(text, item['loc'])}: {'.'.join(map(str, item['loc']))}: {item['msg']}"
            for item in error.errors()
        ]
        raise ScenarioError("\n".join(problems)) from None
    _check_markets(path, text, scenario)
    return scenario


def _check_markets(path: Path, text: str, scenario: Scenario) -> None:
    """Check what the schema cannot say. Raises ScenarioError."""
    seen: set[str] = set()
    for index, market in enumerate(scenario.markets):
        if market.ticker in seen:
            where = _line(text, ("markets", index, "ticker"))
            raise ScenarioError(f"{path}:{where}: markets.{index}.ticker: {market.ticker} is there twice")
        seen.add(market.ticker)
        try:
            on_grid = cent_grid().contains(price_from_dollars(market.start_dollars))
        except NumberError:
            on_grid = False
        if not on_grid:
            where = _line(text, ("markets", index, "start_dollars"))
            raise ScenarioError(
                f"{path}:{where}: markets.{index}.start_dollars: not a price on the grid 0.01 to 0.99"
            )


CENT_RANGES = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]


def cent_grid() -> PriceGrid:
    """Return the grid of whole cents."""
    return PriceGrid.from_ranges(CENT_RANGES)


def _line(text: str, location: tuple[Any, ...]) -> int:
    """Return the line of a field, as near as the document's own marks get."""
    node = yaml.compose(text)
    line = 1
    for step in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(step)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line
