"""Scenarios by name, and those in files: what a scenario says is in `scenario_plan`, the built-in ones are in `scenario_builtin`."""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from soloist_kalshi.numbers import PRICE_PER_DOLLAR, NumberError, price_from_dollars

from soloist_exchange import tape
from soloist_exchange.errors import ScenarioError
from soloist_exchange.scenario_actions import NewsAction, OrderAction, PullAction, ResultAction, ScriptAction
from soloist_exchange.scenario_builtin import SCENARIOS
from soloist_exchange.scenario_grids import CENT_RANGES, cent_grid, grid
from soloist_exchange.scenario_plan import LARGEST_SCENARIO, MarketPlan, Scenario

__all__ = [
    "CENT_RANGES",
    "SCENARIOS",
    "MarketPlan",
    "Scenario",
    "as_yaml",
    "cent_grid",
    "from_tape",
    "load",
    "problems",
]

Location = tuple[int | str, ...]

# libyaml reads thousands of markets in a tenth of the time.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(name_or_file: str, progress: Callable[[int], None] = lambda _: None) -> Scenario:
    """Return a built-in scenario or the one in a YAML file. Raises ScenarioError naming file, line and field.

    `progress` is told now and then how many records of a long tape have been checked.
    """
    if name_or_file in SCENARIOS:
        return SCENARIOS[name_or_file]
    path = Path(name_or_file)
    if not path.is_file():
        raise ScenarioError(f"{name_or_file}: neither a file nor one of {', '.join(SCENARIOS)}")
    text = _text(path)
    try:
        scenario = Scenario.model_validate(_content(text))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ScenarioError(f"{path}:{line}: not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ScenarioError(f"{path}:1: not YAML: {error}") from None
    except ValidationError as error:
        found = [(item["loc"], item["msg"].removeprefix("Value error, ")) for item in error.errors()]
        raise _refused(path, text, found) from None
    if found := list(problems(scenario)):
        raise _refused(path, text, found)
    if scenario.tape is None:
        return scenario
    played = from_tape(scenario, path.parent / scenario.tape, progress)
    if found := list(_script_problems(scenario.script, {plan.ticker for plan in played.plans})):
        raise _refused(path, text, found)
    return played


def from_tape(scenario: Scenario, path: Path, progress: Callable[[int], None] = lambda _: None) -> Scenario:
    """Return the scenario of a tape with what the file adds to it. Raises TapeError at the tape's first damaged record."""
    tape.verify(path, progress)
    recorded = tape.read_header(path).scenario
    try:
        played = Scenario.model_validate({
            **recorded, "name": scenario.name, "description": scenario.description, "tape": str(path),
        })  # fmt: skip
    except ValidationError as error:
        raise tape.TapeError(f"{path}: first line: scenario: {error.errors()[0]['msg']}") from None
    return played.model_copy(
        update={
            "switches": played.switches | scenario.switches,
            "faults": played.faults + scenario.faults,
            "script": played.script + scenario.script,
        }
    )


def as_yaml(scenario: Scenario) -> str:
    """Return a scenario as a file that `load` reads."""
    return str(yaml.safe_dump(scenario.described(), sort_keys=False, allow_unicode=True, width=120))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}:1: cannot be read: {error}") from None


def _content(text: str) -> Any:
    """Decode YAML; JSON, which is YAML too, without YAML's slowness."""
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            pass  # YAML's flow style begins so, too, and its reader knows better what is wrong
    return yaml.load(text, _Loader)  # noqa: S506 - a safe loader, in C where there is one


# ---------------------------------------------------------------------- what the schema cannot say


def problems(scenario: Scenario) -> Iterator[tuple[Location, str]]:
    """Yield what is wrong with a scenario beyond its schema: where, and what."""
    if scenario.tape is not None:
        for field in ("series", "events", "markets", "markets_many"):
            if getattr(scenario, field):
                yield (field,), "a tape brings its own; leave this out"
        for index, action in enumerate(scenario.script):
            if isinstance(action, NewsAction | PullAction | OrderAction):
                yield (
                    ("script", index, "do"),
                    f"{action.do}: the participants do what the tape says, and nothing else",
                )
        return
    if not scenario.plans:
        yield ("markets",), "at least one market is needed, or markets_many, or a tape"
    if len(scenario.plans) > LARGEST_SCENARIO:
        yield ("markets",), f"{len(scenario.plans)} markets, and {LARGEST_SCENARIO} are the most"
    tickers: set[str] = set()
    for index, plan in enumerate(scenario.plans):
        where = _place(scenario, index)
        if plan.ticker in tickers:
            yield (*where, "ticker" if where[0] == "markets" else "prefix"), f"{plan.ticker} is there twice"
        tickers.add(plan.ticker)
    for index, market in enumerate(scenario.markets):
        yield from _market_problems(("markets", index), market)
    for index, many in enumerate(scenario.markets_many):
        yield from _market_problems(("markets_many", index), many.plans()[0])
    yield from _twice("series", [item.ticker for item in scenario.series])
    yield from _twice("events", [item.ticker for item in scenario.events])
    yield from _script_problems(scenario.script, tickers)


def _place(scenario: Scenario, index: int) -> Location:
    """Return where the plan with an index is described."""
    if index < len(scenario.markets):
        return ("markets", index)
    index -= len(scenario.markets)
    for number, many in enumerate(scenario.markets_many):
        if index < many.count:
            return ("markets_many", number)
        index -= many.count
    raise AssertionError("a plan that nothing describes")


def _market_problems(where: Location, plan: MarketPlan) -> Iterator[tuple[Location, str]]:
    try:
        on_grid = grid(plan.price_level_structure).contains(price_from_dollars(plan.start_dollars))
    except NumberError:
        on_grid = False
    if not on_grid:
        yield (*where, "start_dollars"), f"not a price on the grid {plan.price_level_structure}"
    if plan.step_ms == 0:
        for field in ("informed", "news"):
            if getattr(plan, field) is not None:
                yield (*where, field), "needs a step_ms above 0: it happens in the market's steps"
    yield from _result_problems(where, plan)
    yield from _time_problems(where, plan)


def _result_problems(where: Location, plan: MarketPlan) -> Iterator[tuple[Location, str]]:
    if plan.result == "scalar":
        if plan.market_type != "scalar":
            yield (*where, "result"), "only a market of market_type scalar settles at a value"
        if plan.settlement_dollars is None and plan.determine_at_ms is not None:
            yield (*where, "result"), "scalar needs settlement_dollars"
    elif plan.settlement_dollars is not None:
        yield (*where, "settlement_dollars"), "goes with result: scalar only"
    if plan.settlement_dollars is not None and price_from_dollars(plan.settlement_dollars) > PRICE_PER_DOLLAR:
        yield (*where, "settlement_dollars"), "more than a dollar"


def _time_problems(where: Location, plan: MarketPlan) -> Iterator[tuple[Location, str]]:
    if plan.settle_at_ms is not None and plan.determine_at_ms is None:
        yield (*where, "settle_at_ms"), "needs determine_at_ms"
    names = ("open_at_ms", "close_at_ms", "determine_at_ms", "settle_at_ms")
    known = [(name, at_ms) for name in names if (at_ms := getattr(plan, name)) is not None]
    for (before, first_ms), (after, then_ms) in pairwise(known):
        if then_ms < first_ms:
            yield (*where, after), f"earlier than {before}"


def _twice(field: str, tickers: list[str]) -> Iterator[tuple[Location, str]]:
    seen: set[str] = set()
    for index, ticker in enumerate(tickers):
        if ticker in seen:
            yield (field, index, "ticker"), f"{ticker} is there twice"
        seen.add(ticker)


def _script_problems(script: Sequence[ScriptAction], tickers: set[str]) -> Iterator[tuple[Location, str]]:
    for index, action in enumerate(script):
        pattern = getattr(action, "ticker", "*")
        known = (
            any(ticker.startswith(pattern[:-1]) for ticker in tickers)
            if pattern.endswith("*")
            else pattern in tickers
        )
        if not known:
            yield ("script", index, "ticker"), f"no market of the scenario is called {pattern}"
        if isinstance(action, ResultAction):
            if (action.result == "scalar") != (action.settlement_dollars is not None):
                yield ("script", index, "result"), "scalar and settlement_dollars go together"
            if price_from_dollars(action.settlement_dollars or "0") > PRICE_PER_DOLLAR:
                yield ("script", index, "settlement_dollars"), "more than a dollar"


# ---------------------------------------------------------------------- where it is written


def _refused(path: Path, text: str, found: list[tuple[Location, str]]) -> ScenarioError:
    root = yaml.compose(text, _Loader)
    lines = []
    for location, message in found:
        line, names = _written(root, location)
        lines.append(f"{path}:{line}: {'.'.join(names)}: {message}")
    return ScenarioError("\n".join(lines))


def _written(root: yaml.Node | None, location: Location) -> tuple[int, list[str]]:
    """Return the line of a field, as near as the document's own marks get, and the words of its path.

    A word of the location that is not in the document is a field that is missing, or a verb of the schema, which is no field.
    """
    node, line, names = root, 1, []
    for step in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(step)), None)
            if found is not None:
                line, node = found[0].start_mark.line + 1, found[1]
                names.append(str(step))
            elif step == location[-1]:
                names.append(str(step))
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
            names.append(str(step))
        else:
            names.append(str(step))
    return line, names
