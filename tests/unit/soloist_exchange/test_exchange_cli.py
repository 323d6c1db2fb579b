from __future__ import annotations

import json
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from click.testing import CliRunner
from pydantic import BaseModel
from soloist_exchange.accounts import TIERS
from soloist_exchange.cli import main
from soloist_exchange.faults import FAULT_KINDS
from soloist_exchange.scenario import SCENARIOS
from soloist_exchange.scenario_plan import (
    EventPlan,
    FeePlan,
    Informed,
    ManyMarkets,
    MarketPlan,
    News,
    Scenario,
    SeriesPlan,
)
from soloist_exchange.store import Store
from soloist_exchange.switches import Switches, described, parse

DOCUMENT = Path(__file__).parents[3] / "docs" / "exchange.md"
PROGRAM = str(Path(sys.executable).with_name("soloist-exchange"))


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_an_account_and_its_key_file(tmp_path):
    done = run("account", "create", "me", "--balance", "12.50", "--state-dir", tmp_path)
    printed = json.loads(done.stdout)
    assert (done.exit_code, set(printed)) == (0, {"account", "key_id", "private_key_file"})
    path = tmp_path / "me.pem"
    assert printed["private_key_file"] == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("-----BEGIN PRIVATE KEY-----")


def test_an_account_with_tier_and_subaccounts_is_listed(tmp_path):
    made = json.loads(
        run(
            "account", "create", "me", "--tier", "prestige", "--subaccounts", 3, "--state-dir", tmp_path
        ).stdout
    )
    run("account", "create", "you", "--balance", "1.00", "--state-dir", tmp_path)
    mine, yours = run("account", "list", "--state-dir", tmp_path).stdout.splitlines()
    assert mine == f"me\tprestige\t3\t10000.000000\t{made['key_id']}"
    assert yours.startswith("you\tbasic\t0\t1.000000\t")
    listed = json.loads(run("account", "list", "--json", "--state-dir", tmp_path).stdout)
    assert [(row["account"], row["tier"], row["subaccounts"]) for row in listed] == [
        ("me", "prestige", 3),
        ("you", "basic", 0),
    ]
    store = Store(tmp_path)
    assert [(row.tier, row.subaccounts) for row in store.accounts()] == [("prestige", 3), ("basic", 0)]
    store.close()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["account", "create", "me", "--balance", "much"], "--balance"),
        (["account", "create", "me", "--balance", "-1.00"], "must not be negative"),
        (["account", "create", "me", "--tier", "gold"], "'gold' is not one of 'basic', 'advanced'"),
        (["account", "create", "me", "--subaccounts", "64"], "64 is not in the range 0<=x<=63"),
        (["account", "create", "../me"], "letters, digits"),
        (["account", "create", ""], "letters, digits"),
        (["account", "list"], "is not there"),
        (["serve", "--listen", "8443"], "8443 is not HOST:PORT"),
        (["serve", "--listen", "localhost:99999"], "is not HOST:PORT"),
        (["serve", "--scenario", "nothing"], "neither a file nor one of demo"),
        (["serve", "--clock", "broken"], "'broken' is not one of 'real', 'virtual'"),
        (
            ["serve", "--switch", "colour=red"],
            "--switch: switch 'colour=red': write NAME=VALUE with one of the names",
        ),
        (["serve", "--switch", "pss_salt"], "--switch: switch 'pss_salt': write NAME=VALUE"),
        (
            ["serve", "--switch", "pss_salt=none"],
            "--switch: switch pss_salt: 'none' is not one of strict, any",
        ),
    ],
)
def test_bad_input_is_explained(tmp_path, words, complaint):
    done = run(*words, "--state-dir", tmp_path / "state")
    assert done.exit_code in {1, 2}
    assert complaint in done.stderr


def test_lists():
    assert "demo\t5 markets" in run("scenarios").stdout
    assert "post_only_cross\treject" in run("switches").stdout


def test_scenarios_in_both_forms():
    lines = [line.split("\t") for line in run("scenarios").stdout.splitlines()]
    rows = json.loads(run("scenarios", "--json").stdout)
    assert [[row["name"], f"{row['markets']} markets", row["description"]] for row in rows] == lines
    assert [row["name"] for row in rows] == list(SCENARIOS)
    assert [row["markets"] for row in rows if row["name"].endswith("thousand")] == [1000, 5000]


def test_a_scenario_is_shown_as_a_file_that_can_be_served(tmp_path):
    shown = run("scenarios", "show", "life").stdout
    assert yaml.safe_load(shown)["name"] == "life"
    path = tmp_path / "mine.yaml"
    path.write_text(shown)
    assert (
        run("scenarios", "check", path).stdout
        == f"life\t70 markets\t{len(SCENARIOS['life'].script)} actions\n"
    )


@pytest.mark.parametrize("verb", ["show", "check"])
def test_a_bad_scenario_names_file_line_and_field(tmp_path, verb):
    path = tmp_path / "mine.yaml"
    path.write_text("name: x\nmarkets:\n- ticker: A\n  levels: 99\n")
    done = run("scenarios", verb, path)
    assert done.exit_code == 1
    assert f"{path}:4: markets.0.levels: " in done.stderr


def test_switches_in_both_forms():
    rows = json.loads(run("switches", "--json").stdout)
    assert [row["name"] for row in rows] == [item.name for item in described()]
    for row, line in zip(rows, run("switches").stdout.splitlines(), strict=True):
        assert line.split("\t") == [
            row["name"], row["value"], row["meaning"], ",".join(row["choices"]), row["section"],
        ]  # fmt: skip
        assert parse([f"{row['name']}={row['value']}"], Switches()) == Switches()


def test_a_tape_from_the_command_line(tmp_path):
    path = tmp_path / "a.tape"
    done = run("tape", "record", "--out", path, "--seed", "3", "--minutes", "1")
    assert done.exit_code == 0
    assert re.fullmatch(r"5 markets\t1 minutes\t\d+ records\t\d+ orders\tseed 3\n", done.stdout)
    assert "recorded 30 of 60 seconds" in done.stderr
    assert run("tape", "check", path).stdout == done.stdout
    path.write_bytes(path.read_bytes()[:-100])
    done = run("tape", "check", path)
    assert done.exit_code == 1
    assert re.search(rf"{path}: record \d+: ", done.stderr)


@pytest.mark.parametrize(
    "words",
    [
        [], ["serve"], ["account"], ["account", "create"], ["account", "list"], ["scenarios"], ["scenarios", "show"],
        ["scenarios", "check"], ["switches"], ["tape"], ["tape", "record"], ["tape", "check"],
    ],
)  # fmt: skip
def test_every_command_explains_itself(words):
    short, long = run(*words, "-h"), run(*words, "--help")
    assert short.exit_code == 0
    assert short.stdout == long.stdout
    assert len(short.stdout.splitlines()) > 5


@pytest.fixture
def serving(tmp_path):
    started = []

    def start(*words):
        command = [
            PROGRAM, "serve", "--plain", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
            "--state-dir", str(tmp_path / "state"), *map(str, words),
        ]  # fmt: skip
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        started.append(process)
        line = process.stdout.readline()
        assert line, (tmp_path / "log").read_text()
        return json.loads(line)

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
            process.stdout.close()


@pytest.mark.timeout(60)  # a process starts
def test_the_scenarios_faults_and_switches_and_those_of_the_command_line_over_them(tmp_path, serving):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: x\nswitches: {read_model_lag_ms: 250, group_trigger: exceeded}\n"
        "faults: [{kind: slow, percent: 0}]\nmarkets: [{ticker: A, step_ms: 0}]\n"
    )
    said = serving("--scenario", path, "--switch", "read_model_lag_ms=100", "--switch", "fill_or_kill=reject")
    assert set(said) == {"rest_url", "ws_url", "ca_file", "admin_url"}
    shown = httpx.get(f"{said['admin_url']}/admin/switches", timeout=10).json()
    assert shown["read_model_lag_ms"] == 100
    assert (shown["group_trigger"], shown["fill_or_kill"]) == ("exceeded", "reject")
    faults = httpx.get(f"{said['admin_url']}/admin/faults", timeout=10).json()["faults"]
    assert [item["fault"]["kind"] for item in faults] == ["slow"]


@pytest.mark.timeout(60)  # a process starts
def test_a_virtual_clock_stands_still_and_is_moved(tmp_path, serving):
    path = tmp_path / "mine.yaml"
    path.write_text("name: x\nmarkets: [{ticker: A}]\nscript: [{at_ms: 5000, do: deactivate, ticker: A}]\n")
    said = serving("--scenario", path, "--clock", "virtual")

    def status():
        return httpx.get(f"{said['rest_url']}/markets/A", timeout=10).json()["market"]["status"]

    def advance(by_ms):
        httpx.post(
            f"{said['admin_url']}/admin/clock", json={"advance_ms": by_ms}, timeout=20
        ).raise_for_status()

    advance(4999)
    assert status() == "active"
    advance(1)
    assert status() == "inactive"
    log = (tmp_path / "log").read_text()
    assert "opening 1 markets of scenario x" in log
    assert "ready after " in log


# ---------------------------------------------------------------------- the document


@pytest.mark.parametrize("name", ["switches", "fields"])
def test_the_tables_of_the_document_are_what_the_program_says(name):
    """`python -m tests.unit.soloist_exchange.test_exchange_cli` writes them anew."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert between(text, name)[1] == TABLES[name]()


@pytest.mark.parametrize(
    "words", [FAULT_KINDS, tuple(SCENARIOS), tuple(TIERS)], ids=["faults", "scenarios", "tiers"]
)
def test_the_document_names_every_choice(words):
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [word for word in words if f"`{word}`" not in text] == []


def test_the_document_describes_every_script_verb():
    text = DOCUMENT.read_text(encoding="utf-8")
    verbs = [
        "pause", "resume", "activate", "deactivate", "close", "determine", "settle", "move_close", "price_ranges",
        "news", "pull", "order", "faults", "switches",
    ]  # fmt: skip
    assert [verb for verb in verbs if f"`{verb}`" not in text] == []


def switches_table():
    """Return the table of switches as the document has it."""
    lines = ["| switch | default | choices | section | what it decides |", "|---|---|---|---|---|"]
    lines.extend(
        f"| `{item.name}` | `{item.value}` | {', '.join(item.choices)} | {item.section} | {item.meaning} |"
        for item in described()
    )
    return "\n".join(lines) + "\n"


def fields_table():
    """Return the tables of a scenario's fields as the document has them."""
    parts = []
    for model, heading in (
        (Scenario, "A scenario"),
        (SeriesPlan, "One of `series`"),
        (EventPlan, "One of `events`"),
        (MarketPlan, "One of `markets`"),
        (ManyMarkets, "One of `markets_many`: all fields of a market but `ticker`, and"),
        (FeePlan, "`fee`"),
        (Informed, "`informed`"),
        (News, "`news`"),
    ):
        known = set(MarketPlan.model_fields) if model is ManyMarkets else set()
        rows = [
            f"| `{name}` | {_default(field)} | {field.description} |"
            for name, field in model.model_fields.items()
            if name not in known
        ]
        parts.append(
            "\n".join([f"{heading}:", "", "| field | default | meaning |", "|---|---|---|", *rows, ""])
        )
    return "\n".join(parts)


def _default(field):
    if field.is_required():
        return "required"
    value = field.default.model_dump() if isinstance(field.default, BaseModel) else field.default
    return "" if value in ("", None) else f"`{json.dumps(value)}`"


TABLES = {"switches": switches_table, "fields": fields_table}


def between(text, name):
    """Return what is before, between and behind the marks of a table."""
    before, rest = text.split(f"<!-- {name}: begin -->\n")
    table, behind = rest.split(f"<!-- {name}: end -->\n")
    return before, table, behind


def write():
    """Write the tables of the document anew."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        before, _, behind = between(text, name)
        text = f"{before}<!-- {name}: begin -->\n{table()}<!-- {name}: end -->\n{behind}"
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
