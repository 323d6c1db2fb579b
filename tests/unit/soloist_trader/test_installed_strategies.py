"""A strategy of somebody else: a package that is installed beside the engine brings it by an entry point."""

import sys

import pytest
from click.testing import CliRunner
from soloist_trader import config, strategies
from soloist_trader.cli import main
from soloist_trader.errors import ConfigurationError

from tests.unit.soloist_trader.test_config import write

MODULE = '''
from soloist_trader.strategies.base import Parameters, StrategyPlugin


class SleeperParameters(Parameters):
    """Parameters of `sleeper`."""

    naps: int


class Sleeper(StrategyPlugin[SleeperParameters]):
    """Wants nothing, ever."""

    name = "sleeper"
    parameters_model = SleeperParameters

    def targets(self, view):
        return []

    def entered(self, market, now_ms):
        pass


class Half(StrategyPlugin[SleeperParameters]):
    """Decides, and does not hear of its entries."""

    def targets(self, view):
        return []


class Stranger:
    """Has a method of the right name, and is no plug-in."""

    def targets(self, view):
        return []
'''


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch):
    """A distribution as pip leaves it, on a path of its own: module, metadata, entry points."""
    site = tmp_path / "site-packages"
    information = site / "foreign_strategies-1.0.dist-info"
    information.mkdir(parents=True)
    (site / "foreign_strategies.py").write_text(MODULE)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign-strategies\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[soloist.strategies]\n"
        "sleeper = foreign_strategies:Sleeper\n"
        "half = foreign_strategies:Half\n"
        "stranger = foreign_strategies:Stranger\n"
        "absent = foreign_strategies:Absent\n"
        "broken = foreign_strategies.no_such_module:Broken\n"
    )
    monkeypatch.syspath_prepend(str(site))
    strategies.available.cache_clear()
    yield
    strategies.available.cache_clear()
    sys.modules.pop("foreign_strategies", None)


def test_an_installed_strategy_is_found_judged_and_made(tmp_path):
    loaded = config.load(write(tmp_path, {"strategy": {"name": "sleeper", "parameters": {"naps": 3}}}))
    made = loaded.make_strategy()
    assert (type(made).__module__, made.parameters.naps) == ("foreign_strategies", 3)
    assert "threshold" in strategies.available(), "beside the shipped ones"
    with pytest.raises(
        ConfigurationError, match=r"spec\.strategy\.parameters\.naps: is missing; add it: int"
    ):
        config.load(write(tmp_path, {"strategy": {"name": "sleeper"}}))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("half", "'foreign_strategies:Half' of strategy 'half' lacks entered"),
        ("stranger", "'foreign_strategies:Stranger' of strategy 'stranger' is not a StrategyPlugin"),
        ("absent", "'foreign_strategies:Absent' of strategy 'absent' cannot be loaded"),
        ("broken", "'foreign_strategies.no_such_module:Broken' of strategy 'broken' cannot be loaded"),
    ],
)
def test_an_entry_point_that_is_no_strategy_is_an_error_that_names_it(tmp_path, name, why):
    path = write(tmp_path, {"strategy": {"name": name}})
    with pytest.raises(ConfigurationError) as caught:
        config.load(path)
    (problem,) = caught.value.problems
    assert problem[0] == "spec.strategy.name"
    assert why in problem[1]
    checked = CliRunner().invoke(main, ["check", "--config", str(path)])
    assert checked.exit_code == 2
    listed = CliRunner().invoke(main, ["strategies"])
    assert listed.exit_code == 1, "one that cannot be used is not passed over in silence"
    assert "threshold" in listed.stdout
    assert "sleeper" in listed.stdout
    assert why in listed.stderr
