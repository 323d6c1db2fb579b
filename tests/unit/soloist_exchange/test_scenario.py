from __future__ import annotations

import pytest
from soloist_exchange.errors import ScenarioError
from soloist_exchange.scenario import SCENARIOS, load

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
    with pytest.raises(ScenarioError, match="neither a file nor one of demo, quiet, static"):
        load("nothing")
