import copy
import json
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from click.testing import CliRunner
from pydantic import BaseModel
from soloist_trader import config
from soloist_trader.cli import main
from soloist_trader.errors import ConfigurationError

GOOD = {
    "version": 1,
    "bot": {"namespace": "bots", "name": "demo"},
    "mode": "Live",
    "venue": {"name": "simulator", "rest_url": "https://x/trade-api/v2", "websocket_url": "wss://x/ws"},
    "account": {"subaccount": 0, "claim_hash": "1a2b3c", "epoch": 1},
    "markets": {"tickers": ["SIM-A"], "series": []},
    "strategy": {"name": "threshold", "parameters": {"maximum_hold_seconds": 2}},
    "risk": {
        "max_order_contracts": "100.00",
        "max_position_contracts": "500.00",
        "max_exposure_dollars": "1000.00",
        "max_open_orders": 20,
        "daily_loss_dollars": "200.00",
    },
    "trading": {"cancel_on_stop": True},
}


def write(tmp_path, changes):
    """The good document with `a.b.c` set; None takes a field away."""
    document = copy.deepcopy(GOOD)
    for path, value in changes.items():
        *blocks, last = path.split(".")
        block = document
        for name in blocks:
            block = block.setdefault(name, {})
        if value is None:
            block.pop(last)
        else:
            block[last] = value
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def problems(path):
    with pytest.raises(ConfigurationError) as caught:
        config.load(path)
    return dict(caught.value.problems)


def test_a_good_file_becomes_integers(tmp_path):
    loaded = config.load(write(tmp_path, {}))
    assert loaded.risk.limits() == (10_000, 50_000, 1_000_000_000, 20, 200_000_000)
    assert loaded.make_strategy().name == "threshold"
    assert config.echo(loaded)["risk"]["max_exposure_dollars"] == "1000.000000"


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"strategy.name": "treshold"}, "spec.strategy.name", "Did you mean 'threshold'?"),
        ({"strategy.parameters": {"entri": "cross"}}, "spec.strategy.parameters.entri", "unknown parameter; threshold has side, entry"),
        ({"strategy.parameters": {"entry": "both"}}, "spec.strategy.parameters.entry", "'cross' or 'join' (given: 'both')"),
        ({"strategy.parameters": {"order_contracts": 1.5}}, "spec.strategy.parameters.order_contracts", "quoted decimal"),
        ({"risk.max_exposure_dollars": "1,000"}, "spec.risk.maxExposureDollars", "'1,000' is not a decimal"),
        ({"risk.max_exposure_dollars": 1000}, "spec.risk.maxExposureDollars", "quoted decimal"),
        ({"risk.daily_loss_dollars": "-1"}, "spec.risk.dailyLossDollars", "above zero"),
        ({"risk.max_order_contracts": "0.001"}, "spec.risk.maxOrderContracts", "more than 2 decimals"),
        ({"risk.daily_loss_dollars": None}, "spec.risk.dailyLossDollars", 'is missing; add it, such as "200.00"'),
        ({"risk.max_open_orders": None}, "spec.risk.maxOpenOrders", "is missing; add it, such as 20"),
        ({"mode": None}, "spec.mode", 'is missing; add it, such as "Paper"'),
        ({"account.claim_hash": None}, "spec.account.claimHash", 'is missing; add it, such as "1a2b3c"'),
        ({"bot": None}, "metadata", "is missing; add it; known here: namespace, name"),
        ({"risk.max_open_order": 3}, "spec.risk.maxOpenOrder", "unknown field"),
        ({"markets.tickers": []}, "spec.markets", "nothing to trade"),
        ({"markets.filters": {}}, "spec.markets", "name it in spec.markets.series"),
        ({"markets.series": ["S"], "markets.filters": {"min_volum": "1"}}, "spec.markets.filters.minVolum", "known here: status, minVolume"),
        ({"markets.series": ["S"], "markets.filters": {"min_volume": 1}}, "spec.markets.filters.minVolume", "quoted decimal"),
        ({"markets.series": ["S"], "markets.filters": {"max_seconds_to_close": 1, "min_seconds_to_close": 2}}, "spec.markets.filters", "raise the first or lower the second"),
        ({"markets.series": ["S"], "markets.look_every_seconds": 0}, "spec.markets.lookEverySeconds", "greater than or equal to 1"),
        ({"store": {"follow": True, "url": "mysql://x"}}, "spec.store.url", "sqlite"),
        ({"store": {"url": "sqlite:///x"}}, "spec.store", "follow: true"),
        ({"store": {"follow": True, "url": "postgresql://u:secret@h/d"}}, "spec.store", "SOLOIST_STORE_URL"),
        ({"mode": "Real"}, "spec.mode", "'Paper', 'Shadow' or 'Live'"),
        ({"account": None}, "spec.account", "set spec.account, or mode Paper"),
        ({"mode": "Paper"}, "spec.account", "remove spec.account"),
        ({"account.subaccount": 64}, "spec.account.subaccount", "less than or equal to 63"),
        ({"venue.ca_file": "/nowhere/ca.pem"}, "spec.venue", "/nowhere/ca.pem"),
        ({"version": 2}, "version", "Input should be 1"),
    ],
)  # fmt: skip
def test_each_problem_names_the_field_as_the_user_wrote_it_and_the_fix(tmp_path, changes, field, message):
    found = problems(write(tmp_path, changes))
    assert list(found) == [field]
    assert message in found[field]


def required(model, above=()):
    """Every field without a default, blocks before what is in them."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        if field.is_required():
            yield ".".join((*above, name))
        for block in kinds:
            if isinstance(block, type) and issubclass(block, BaseModel):
                yield from required(block, (*above, name))


def test_every_field_that_may_be_missing_has_an_example_or_names_what_belongs_there(tmp_path):
    fields = list(required(config.Configuration))
    assert {"version", "risk", "risk.max_order_contracts", "account.epoch"} <= set(fields)
    for field in fields:
        found = problems(write(tmp_path, {field: None}))
        (message,) = found.values()
        assert re.search(r"is missing; add it(, such as \S+|; known here: \w+, \w+)", message), (
            field,
            message,
        )


def test_all_problems_at_once(tmp_path):
    changes = {
        "mode": "Nope",
        "strategy.parameters": {"entry": "x", "wrong": 1},
        "risk.daily_loss_dollars": "many",
        "risk.max_open_orders": 0,
    }
    assert set(problems(write(tmp_path, changes))) == {
        "spec.mode", "spec.strategy.parameters.entry", "spec.strategy.parameters.wrong",
        "spec.risk.dailyLossDollars", "spec.risk.maxOpenOrders",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"), [("{", "is not YAML"), ("- a", "must be a mapping"), ("\udcff", "is not YAML")]
)
def test_a_file_that_is_no_configuration(tmp_path, content, message):
    file = tmp_path / "config.yaml"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert message in problems(file)["config.yaml"]


def test_a_missing_file(tmp_path):
    assert "cannot be read" in problems(tmp_path / "config.yaml")["config.yaml"]


def test_check_prints_the_problems_and_exits_2(tmp_path):
    result = CliRunner().invoke(
        main, ["check", "--config", str(write(tmp_path, {"risk.daily_loss_dollars": "x"}))]
    )
    assert result.exit_code == 2
    said = json.loads(result.stdout)
    assert said["outcome"] == "Failed"
    assert said["problems"][0]["field"] == "spec.risk.dailyLossDollars"
    good = CliRunner().invoke(main, ["check", "--config", str(write(tmp_path, {}))])
    assert (good.exit_code, json.loads(good.stdout)["outcome"]) == (0, "Passed")


def test_the_laptop_example_is_a_good_configuration(tmp_path, monkeypatch):
    example = Path(__file__).parents[3] / "examples" / "trader" / "local.yaml"
    (tmp_path / "exchange-state").mkdir()
    (tmp_path / "exchange-state" / "ca.crt").write_text("made by the exchange")
    monkeypatch.chdir(tmp_path)
    assert config.load(example).mode == "Paper"


def test_strategies_are_listed_with_types_defaults_and_schema():
    text = CliRunner().invoke(main, ["strategies"]).stdout
    assert "threshold" in text
    assert "maximum_hold_seconds" in text
    schema = json.loads(CliRunner().invoke(main, ["strategies", "--json"]).stdout)
    described = schema["threshold"]["properties"]
    assert all("description" in field for field in described.values())


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "check",
        "strategies",
        "keys",
        "watchdog",
        "journal",
        "journal show",
        "journal verify",
        "status",
        "watch",
    ],
)
def test_every_command_has_help(command):
    result = CliRunner().invoke(main, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) > 3


def test_the_watchdog_says_what_it_does_and_in_which_order():
    said = " ".join(CliRunner().invoke(main, ["watchdog", "--help"]).output.split())
    steps = ["latch", "SIGKILL", "triggered", "cancelled by id", "proof mark"]
    assert sorted(steps, key=said.index) == steps


def test_a_person_reads_a_line_for_each_problem_with_names_as_in_the_file(tmp_path):
    file = write(tmp_path, {"risk.max_open_orders": "many", "markets.tikers": ["A"], "bot.name": ""})
    done = CliRunner().invoke(main, ["run", "--config", str(file), "--log", "text"])
    assert done.exit_code == 2
    said = done.output.splitlines()
    assert said[-1] == "Nothing was connected."
    assert any(
        line.startswith(f"{file}: risk.max_open_orders: ") and "given: 'many'" in line for line in said
    )
    assert any("known here: tickers, series, filters, look_every_seconds;" in line for line in said)
    assert any(line.startswith(f"{file}: bot.name: ") for line in said)


def test_a_program_reads_one_line_of_json(tmp_path):
    file = write(tmp_path, {"risk.max_open_orders": "many"})
    done = CliRunner().invoke(main, ["run", "--config", str(file)])
    said = json.loads(done.stdout)
    assert (said["event"], said["problems"][0][0]) == ("ConfigurationInvalid", "spec.risk.maxOpenOrders")
