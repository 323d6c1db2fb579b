from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel
from soloist_exchange.errors import ScenarioError
from soloist_exchange.scenario import SCENARIOS, Scenario, as_yaml, load, problems
from soloist_exchange.scenario_actions import armed, assignments

EXAMPLES = Path(__file__).parents[3] / "examples" / "exchange"

GOOD = "name: mine\nmarkets:\n  - ticker: A-1\n    start_dollars: '0.30'\n  - ticker: A-2\n"


def test_a_file_of_the_same_schema(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    assert [market.ticker for market in load(str(path)).markets] == ["A-1", "A-2"]


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_built_in_ones_have_names(name):
    assert load(name) is SCENARIOS[name]


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("ticker: A-1", "ticker: a", ":3: markets.0.ticker: "),
        (
            "start_dollars: '0.30'",
            "start_dollars: '0.305'",
            ":4: markets.0.start_dollars: not a price on the grid",
        ),
        (
            "start_dollars: '0.30'",
            "start_dollars: much",
            ":4: markets.0.start_dollars: not a price on the grid",
        ),
        ("start_dollars: '0.30'", "levels: 41", ":4: markets.0.levels: "),
        ("start_dollars: '0.30'", "colour: red", ":4: markets.0.colour: Extra inputs are not permitted"),
        ("  - ticker: A-2\n", "  - title: none\n", ":5: markets.1.ticker: Field required"),
        ("name: mine", "nam: mine", ":1: nam: Extra inputs"),
        ("  - ticker: A-2\n", "  - ticker: A-1\n", ":5: markets.1.ticker: A-1 is there twice"),
        ("markets:", "markets: [", ":3: not YAML"),
        (GOOD, "name: mine\n", ":1: markets: at least one market is needed"),
        (
            "start_dollars: '0.30'",
            "price_level_structure: cents",
            ":4: markets.0.price_level_structure: cents is not",
        ),
        ("start_dollars: '0.30'", "informed: {ahead: 3}", ":4: markets.0.informed.ahead: Extra inputs"),
        (
            "start_dollars: '0.30'",
            "step_ms: 0\n    news: {ticks: 3}",
            ":5: markets.0.news: needs a step_ms above 0",
        ),
        (
            "start_dollars: '0.30'",
            "result: scalar",
            ":4: markets.0.result: only a market of market_type scalar",
        ),
        (
            "start_dollars: '0.30'",
            "market_type: scalar\n    result: scalar\n    determine_at_ms: 5",
            ":5: markets.0.result: scalar needs settlement_dollars",
        ),
        (
            "start_dollars: '0.30'",
            "settlement_dollars: '0.30'",
            ":4: markets.0.settlement_dollars: goes with result: scalar only",
        ),
        (
            "start_dollars: '0.30'",
            "market_type: scalar\n    result: scalar\n    settlement_dollars: '1.5'",
            ":6: markets.0.settlement_dollars: more than a dollar",
        ),
        ("start_dollars: '0.30'", "settle_at_ms: 9", ":4: markets.0.settle_at_ms: needs determine_at_ms"),
        (
            "start_dollars: '0.30'",
            "close_at_ms: 9\n    determine_at_ms: 8",
            ":5: markets.0.determine_at_ms: earlier than close_at_ms",
        ),
        (
            GOOD,
            "name: x\nmarkets:\n- ticker: A-1\nmarkets_many:\n- {count: 3, prefix: A}\n",
            ":5: markets_many.0.prefix: A-1 is there twice",
        ),
        (GOOD, "name: x\nmarkets_many:\n- {count: 5001}\n", ":3: markets_many.0.count: "),
        (
            GOOD,
            "name: x\nmarkets_many:\n- {count: 5000}\n- {count: 1, prefix: B}\n",
            ":1: markets: 5001 markets, and 5000 are the most",
        ),
        ("name: mine", "name: mine\nswitches: {colour: red}", ":2: switches: switch 'colour=red'"),
        ("name: mine", "name: mine\nfaults: [{kind: rain}]", ":2: faults: "),
        (
            "name: mine",
            "name: mine\nscript:\n- {at_ms: 5, do: news, ticker: A-1, tick: 4}",
            ":3: script.0.tick: Extra inputs",
        ),
        (
            "name: mine",
            "name: mine\nscript:\n- {at_ms: 5, do: dance}",
            ":3: script.0: Input tag 'dance'",
        ),
        (
            "name: mine",
            "name: mine\nscript:\n- at_ms: 5\n  do: close\n  ticker: B-1",
            ":5: script.0.ticker: no market of the scenario is called B-1",
        ),
        (
            "name: mine",
            "name: mine\nscript:\n- at_ms: 5\n  do: determine\n  ticker: A-1\n  result: scalar",
            ":6: script.0.result: scalar and settlement_dollars go together",
        ),
        (
            "name: mine",
            "name: mine\nscript:\n- at_ms: 5\n  do: determine\n  ticker: A-1\n  result: scalar\n  settlement_dollars: '1.5'",
            ":7: script.0.settlement_dollars: more than a dollar",
        ),
        (
            "name: mine",
            "name: mine\nevents: [{ticker: E}, {ticker: E}]",
            ":2: events.1.ticker: E is there twice",
        ),
        ("name: mine", "name: mine\ntape: a.tape", ":3: markets: a tape brings its own"),
        (
            GOOD,
            "name: x\ntape: a.tape\nscript:\n- at_ms: 5\n  ticker: A\n  do: pull\n  for_ms: 4\n",
            ":6: script.0.do: pull: the participants do what the tape says",
        ),
    ],
)
def test_errors_name_file_line_and_field(tmp_path, old, new, where):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ScenarioError) as caught:
        load(str(path))
    assert f"{path}{where}" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "just text"])
def test_a_file_that_is_no_scenario(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=r"mine\.yaml:1"):
        load(str(path))


def test_neither_name_nor_file():
    with pytest.raises(ScenarioError, match="neither a file nor one of demo, quiet, static, lively"):
        load("nothing")


def test_a_file_that_is_not_text(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: \xff\n")
    with pytest.raises(ScenarioError, match=r"mine\.yaml:1: cannot be read"):
        load(str(path))


def test_every_problem_is_named_at_once(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace("'0.30'", "'0.305'").replace("A-2", "A-1"))
    with pytest.raises(ScenarioError) as caught:
        load(str(path))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_what_is_shown_is_what_it_is(name, tmp_path):
    path = tmp_path / "shown.yaml"
    path.write_text(as_yaml(SCENARIOS[name]))
    assert load(str(path)) == SCENARIOS[name]


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_built_in_ones_have_no_problems(name):
    assert list(problems(SCENARIOS[name])) == []


def test_json_is_yaml(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(yaml.safe_load(GOOD)))
    assert [market.ticker for market in load(str(path)).plans] == ["A-1", "A-2"]


def test_many_markets_have_numbers_and_their_times_are_staggered(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: x\nmarkets:\n- ticker: A\nmarkets_many:\n- {count: 3, prefix: B, close_at_ms: 500, stagger_ms: 100}"
    )
    plans = load(str(path)).plans
    assert [plan.ticker for plan in plans] == ["A", "B-1", "B-2", "B-3"]
    assert [plan.close_at_ms for plan in plans] == [None, 500, 600, 700]
    assert [plan.create_at_ms for plan in plans] == [0, 0, 100, 200]


def test_switches_and_faults_are_taken_as_they_are_written(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        GOOD + "switches: {ping_when_busy: false, market_inactive_status: 409}\nfaults: [{kind: slow}]\n"
    )
    found = load(str(path))
    assert assignments(found.switches) == ["ping_when_busy=false", "market_inactive_status=409"]
    assert [fault.kind for fault in armed(found.faults)] == ["slow"]


def _models(model, seen):
    seen.add(model)
    for field in model.model_fields.values():
        pending = [field.annotation]
        while pending:
            kind = pending.pop()
            pending.extend(get_args(kind))
            if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in seen:
                _models(kind, seen)
    return seen


def test_every_field_is_described():
    models = _models(Scenario, set())
    assert len(models) > 12
    for model in models:
        for name, field in model.model_fields.items():
            assert field.description or name == "do", f"{model.__name__}.{name}"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_scenarios(path):
    assert load(str(path)).plans


def test_there_are_examples():
    assert len(list(EXAMPLES.glob("*.yaml"))) >= 3
