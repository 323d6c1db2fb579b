"""What runs is known by three words, written down at every start, shown, and refused when it is not what was approved."""

import hashlib
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from soloist_trader import config
from soloist_trader.cli import main
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Deployed, Started
from soloist_trader.errors import NotApprovedError
from soloist_trader.journal.codec import decode_batch, encode_batch
from soloist_trader.journal.reader import Tail, read_journal
from soloist_trader.journal.writer import Commit
from soloist_trader.shell.deployment import Deployment, measure, require_approved
from soloist_trader.shell.metrics import SnapshotCollector, render
from soloist_trader.shell.service import Options, Service
from soloist_trader.store.words import line
from soloist_trader.strategies import threshold

from tests.unit.soloist_trader.test_config import write
from tests.unit.soloist_trader.test_installed_strategies import MODULE, installed

assert installed  # a fixture, here for every test: a foreign strategy stands beside the shipped ones

APPROVED_CONFIGURATION = "SOLOIST_APPROVED_CONFIGURATION_SHA256"
APPROVED_STRATEGY = "SOLOIST_APPROVED_STRATEGY_SHA256"
HERE = Deployment("registry/trader@sha256:1", "c" * 64, "d" * 64)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def measured(path, environment=()):
    content = path.read_bytes()
    return measure(content, config.parse(content, path), dict(environment))


# -- what runs


def test_the_configuration_is_known_by_the_bytes_of_its_file(tmp_path):
    path = write(tmp_path, {})
    first = measured(path, {"SOLOIST_IMAGE": "trader:1"})
    assert (first.image, first.configuration_sha256) == ("trader:1", sha256(path.read_bytes()))
    path.write_bytes(path.read_bytes() + b"# nothing that the engine reads\n")
    second = measured(path)
    assert (second.image, second.configuration_sha256) == ("", sha256(path.read_bytes()))
    assert second.configuration_sha256 != first.configuration_sha256


def test_a_strategy_is_known_by_its_own_source_wherever_it_is_installed(tmp_path):
    shipped = measured(write(tmp_path, {}))
    assert shipped.strategy_sha256 == sha256(Path(threshold.__file__).read_bytes())
    foreign = measured(write(tmp_path, {"strategy": {"name": "sleeper", "parameters": {"naps": 3}}}))
    assert foreign.strategy_sha256 == sha256(MODULE.encode())


def test_what_a_strategy_inherits_is_a_part_of_its_hash(tmp_path):
    """A class of two modules: another parent's source is another strategy."""
    child = "from foreign_strategies import Sleeper\n\n\nclass Dozer(Sleeper):\n    name = 'dozer'\n"
    site = tmp_path / "site-packages"
    (site / "dozing.py").write_text(child)
    with (site / "foreign_strategies-1.0.dist-info" / "entry_points.txt").open("a") as file:
        file.write("dozer = dozing:Dozer\n")
    try:
        found = measured(write(tmp_path, {"strategy": {"name": "dozer", "parameters": {"naps": 3}}}))
    finally:
        sys.modules.pop("dozing", None)
    assert found.strategy_sha256 == sha256(child.encode() + MODULE.encode())


# -- what was approved


def test_nothing_is_refused_where_nothing_was_approved_or_exactly_this_was():
    require_approved(HERE, {})
    require_approved(HERE, {APPROVED_CONFIGURATION: "c" * 64, APPROVED_STRATEGY: "d" * 64})


@pytest.mark.parametrize(
    ("variable", "ours", "what"),
    [(APPROVED_CONFIGURATION, "c" * 64, "configuration"), (APPROVED_STRATEGY, "d" * 64, "strategy")],
)
@pytest.mark.parametrize("approved", ["e" * 64, "", "C" * 63])
def test_another_hash_is_refused_with_both_values_and_the_fix(variable, ours, what, approved):
    with pytest.raises(NotApprovedError) as caught:
        require_approved(HERE, {variable: approved})
    message = str(caught.value)
    for word in (f"the {what}", ours, repr(approved), f"set {variable} to {ours}"):
        assert word in message


@pytest.mark.parametrize("variable", [APPROVED_CONFIGURATION, APPROVED_STRATEGY])
def test_run_refuses_before_anything_is_opened(tmp_path, monkeypatch, variable):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv(variable, "0" * 64)
    path, state = write(tmp_path, {}), tmp_path / "state"
    words = [
        "run",
        "--config",
        str(path),
        "--state-dir",
        str(state),
        "--admin",
        "127.0.0.1:0",
        "--log",
        "json",
    ]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2, result.output
    (said,) = [json.loads(text) for text in result.stdout.splitlines()]
    assert said["event"] == "NotApproved"
    assert variable in said["message"]
    assert "0" * 64 in said["message"]
    assert not state.exists()


# -- written down and shown


@pytest.fixture
async def started(tmp_path):
    """A service on paper that has begun to write, and has connected to nothing."""
    configuration = config.load(write(tmp_path, {"mode": "Paper", "account": None}))
    options = Options(
        configuration, tmp_path / "keys", tmp_path / "state", "127.0.0.1:0", None, "", commit=Commit.INLINE, deployment=HERE
    )  # fmt: skip
    service = Service(options)
    service._open_journal()
    service._assemble()
    yield service
    service.journal.close()
    await service.edge.close()


async def test_every_start_writes_it_right_after_who_started(started):
    found = [one for _, _, batch in read_journal(started.options.state_directory, Tail()) for one in batch]
    assert [type(one) for one in found[:2]] == [Started, Deployed]
    assert found[1] == Deployed(found[1].time_ms, *HERE)
    assert decode_batch(encode_batch(found[:2])) == found[:2]


async def test_status_and_metrics_show_it(started):
    snapshot = started.publisher.snapshot()
    assert snapshot["deployment"] == {
        "image": "registry/trader@sha256:1", "configurationSha256": "c" * 64, "strategySha256": "d" * 64,
    }  # fmt: skip
    text = render(SnapshotCollector(lambda: snapshot, lambda: 0.0)).decode()
    (shown,) = [one for one in text.splitlines() if one.startswith("soloist_deployment_info{")]
    assert shown.endswith(" 1.0")
    for label, value in zip(("image", "configuration_sha256", "strategy_sha256"), HERE, strict=True):
        assert f'{label}="{value}"' in shown


def test_it_changes_no_state_and_the_store_has_a_line_for_it():
    ledger = Ledger()
    before = (ledger.state_hash(), ledger.export())
    ledger.apply(Deployed(1, *HERE))
    assert (ledger.state_hash(), ledger.export()) == before
    said = line(Deployed(1, *HERE))
    assert said is not None
    assert all(word in said.message for word in HERE)
