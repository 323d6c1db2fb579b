"""What the operator reads from others and writes for them: settings, Leases, the engine's configuration, CRDs, the watch."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from soloist_operator import kinds
from soloist_operator.api import generate
from soloist_operator.api.tradingbot import Image, TradingBotSpec
from soloist_operator.errors import SettingsError
from soloist_operator.freshness import DEAF_AFTER_S, Freshness
from soloist_operator.heartbeat import SILENT_AFTER_S, Heartbeats
from soloist_operator.judgements import pod_trouble
from soloist_operator.observe import addresses_of, claim_of
from soloist_operator.outcomes import Finished, Running, check_problems, outcome_of
from soloist_operator.queue import Key
from soloist_operator.service import bot_of
from soloist_operator.settings import Images, load
from soloist_operator.specs import configuration
from soloist_operator.specs.image import resolve
from soloist_operator.specs.network import Address
from soloist_trader import config as engine_config

from tests.unit.soloist_operator.operator_scene import REF, ROOT, SETTINGS, live, merged, paper, running_pod

KEY = Key("bots", "demo")

# ---------------------------------------------------------------------------------------------- files


def test_the_checked_in_crds_are_those_of_the_models() -> None:
    for name, content in generate.rendered().items():
        assert (ROOT / "crds" / name).read_text() == content, "run `make crds`"


def test_generate_says_which_file_differs(tmp_path, capsys) -> None:
    assert generate.main(["--check", "--directory", str(tmp_path)]) == 1
    assert "tradingbots.yaml, accountclaims.yaml" in capsys.readouterr().err
    assert generate.main(["--directory", str(tmp_path)]) == 0
    assert generate.main(["--check", "--directory", str(tmp_path)]) == 0


def test_every_field_of_the_crds_is_described_or_a_plain_part() -> None:
    schema = generate.trading_bots()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    undescribed = [name for name, part in schema["properties"].items() if not part.get("description")]
    assert undescribed == []


def test_no_schema_default_is_ever_written_into_a_spec() -> None:
    for definition in (generate.trading_bots(), generate.account_claims()):
        assert '"default"' not in json.dumps(definition)


def test_the_layer_that_knows_kopf_stays_small() -> None:
    lines = (ROOT / "operator/soloist_operator/app.py").read_text().splitlines()
    assert len(lines) < 150


def test_settings_are_strict(tmp_path) -> None:
    path = tmp_path / "settings.yaml"
    good = {
        "images": {"trader": "t", "fence": "f"},
        "watchNamespaces": ["bots"],
        "venues": {"v": {"restUrl": "https://x", "websocketUrl": "wss://x", "revocationBoundMs": 1}},
    }
    path.write_text(yaml.safe_dump(good))
    assert load(path).watch_namespaces == ("bots",)
    for wrong, word in (
        ({"surprise": 1}, "surprise"),
        ({"watchNamespaces": []}, "watchNamespaces"),
        ({"venues": {}}, "venues"),
        ({"venues": {"v": {"restUrl": "ftp://x"}}}, "venues.v.restUrl"),
        ({"venues": {"v": {"revocationBoundMs": 60_001}}}, "venues.v.revocationBoundMs"),
    ):
        path.write_text(yaml.safe_dump(merged(good, wrong) if wrong != {"venues": {}} else {**good, **wrong}))
        with pytest.raises(SettingsError, match=word):
            load(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "absent.yaml")


# ---------------------------------------------------------------------------------------------- the engine


@pytest.mark.parametrize(
    "spec", [paper(), live(), live(markets={"series": ["S"]}, trading={"cancelOnStop": False})]
)
def test_the_engine_accepts_the_configuration_that_we_render(spec: dict[str, Any], tmp_path) -> None:
    spec = {**spec, "strategy": {"name": "threshold"}}
    model = TradingBotSpec.model_validate(spec)
    venue = SETTINGS.venues["simulator"].model_copy(update={"ca_bundle": ""})
    claim_hash, epoch = ("abc123", 7) if model.account else (None, None)
    rendered = configuration.render(REF, model, venue, image="x", claim_hash=claim_hash, epoch=epoch)
    path = tmp_path / "config.yaml"
    path.write_text(rendered.files["config.yaml"])
    loaded = engine_config.load(path)
    assert loaded.mode == model.mode.value
    assert loaded.risk.max_open_orders == 20
    assert (loaded.account is None) == (model.account is None)


def test_series_and_every_filter_reach_the_engine_in_its_words() -> None:
    filters = {
        "status": "initialized", "minVolume": "5.00", "maxSpread": "0.05", "minLiquidity": "6.00",
        "minSecondsToClose": 7, "maxSecondsToClose": 8, "maxMarkets": 9,
    }  # fmt: skip
    spec = merged(paper(), {"markets": {"series": ["SIM"], "filters": filters}})
    document = yaml.safe_load(rendered(spec).files["config.yaml"])
    loaded = engine_config.MarketsBlock.model_validate(document["markets"])
    assert loaded.series == ("SIM",)
    assert dict(loaded.filters) == {
        "status": "initialized", "min_volume": 500, "max_spread": 500, "min_liquidity": 600,
        "min_seconds_to_close": 7, "max_seconds_to_close": 8, "max_markets": 9,
    }  # fmt: skip
    assert len(filters) == len(loaded.filters.model_fields_set), (
        "every filter of the one is known to the other"
    )
    assert len(filters) == len(type(loaded.filters).model_fields)


@pytest.mark.parametrize(
    ("markets", "message"),
    [
        ({"filters": {"maxMarkets": 3}}, "filters choose among the markets of a series"),
        (
            {"series": ["S"], "filters": {"minSecondsToClose": 9, "maxSecondsToClose": 8}},
            "no market can close between",
        ),
    ],
)
def test_filters_that_choose_nothing_are_refused(markets: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TradingBotSpec.model_validate(merged(paper(), {"markets": markets}))


def rendered(spec: dict[str, Any], epoch: int | None = None, image: str = "x") -> configuration.Configuration:
    model = TradingBotSpec.model_validate(spec)
    claim_hash = "abc123" if epoch else None
    return configuration.render(
        REF, model, SETTINGS.venues["simulator"], image=image, claim_hash=claim_hash, epoch=epoch
    )


def test_an_epoch_makes_another_configuration_and_no_other_check() -> None:
    first, second = rendered(live(), 1), rendered(live(), 2)
    assert first.config_hash != second.config_hash
    assert first.validity_hash == second.validity_hash


def test_an_image_makes_another_check_and_no_other_configuration() -> None:
    first, second = rendered(paper(), image="a"), rendered(paper(), image="b")
    assert first.config_hash == second.config_hash
    assert first.validity_hash != second.validity_hash


@pytest.mark.parametrize(
    ("default", "image", "reference"),
    [
        ("trader:1", {}, "trader:1"),
        ("host:5000/a/trader:1", {}, "host:5000/a/trader:1"),
        ("host:5000/a/trader:1", {"tag": "2"}, "host:5000/a/trader:2"),
        ("host:5000/a/trader:1", {"digest": "sha256:" + "a" * 64}, "host:5000/a/trader@sha256:" + "a" * 64),
        ("host:5000/trader@sha256:" + "b" * 64, {"tag": "2"}, "host:5000/trader:2"),
        ("host:5000/trader", {"tag": "2"}, "host:5000/trader:2"),
        ("trader:1", {"repository": "other/x"}, "other/x:1"),
        ("trader:1", {"repository": "other/x", "tag": "3"}, "other/x:3"),
    ],
)
def test_image_references(default: str, image: dict[str, str], reference: str) -> None:
    defaults = Images.model_validate({"trader": default, "fence": "f"})
    assert resolve(Image.model_validate(image), defaults).reference == reference


# ---------------------------------------------------------------------------------------------- Leases


def lease(renewed: int, *, told: dict[str, str] | None = None, **record: Any) -> dict[str, Any]:
    base = {
        "podUid": "p",
        "epoch": 1,
        "incarnation": "1",
        "keyId": "k",
        "generation": 1,
        "state": "ACTIVE",
        "ready": True,
        "reason": "R",
        "message": "m",
    }
    return {
        "metadata": {"annotations": {"soloist.trade/engine": json.dumps({**base, **record}), **(told or {})}},
        "spec": {"holderIdentity": "p/1", "renewTime": f"2026-01-01T00:00:{renewed:02d}Z"},
    }


def test_renewals_that_say_the_same_wake_nobody() -> None:
    beats = Heartbeats()
    assert beats.note(KEY, lease(0), 0)
    assert not any(beats.note(KEY, lease(n, message=f"{n}"), n) for n in range(1, 60))


@pytest.mark.parametrize(
    "change",
    [
        {"podUid": "q"},
        {"epoch": 2},
        {"keyId": "k2"},
        {"state": "HALTED"},
        {"ready": False},
        {"reason": "X"},
        {"watchdog": {"keyId": "k", "foreign": 1, "otherEpoch": 0}},
        {"watchdog": {"keyId": "k", "foreign": 0, "otherEpoch": 1}},
    ],
)
def test_a_change_that_the_status_shows_wakes_the_bot(change: dict[str, Any]) -> None:
    beats = Heartbeats()
    beats.note(KEY, lease(0), 0)
    assert beats.note(KEY, lease(1, **change), 1)


def test_the_watchdogs_findings_are_read_and_more_of_them_wake_nobody() -> None:
    beats = Heartbeats()
    beats.note(KEY, lease(0, watchdog={"keyId": "k", "foreign": 2, "otherEpoch": 3}), 0)
    record = beats.view(KEY, 0).record
    assert record is not None
    assert (record.foreign_orders, record.other_epoch_orders) == (2, 3)
    assert not beats.note(KEY, lease(1, watchdog={"keyId": "k", "foreign": 7, "otherEpoch": 9}), 1)


@pytest.mark.parametrize("word", [None, {}, "silent"])
def test_an_engine_whose_watchdog_is_silent_is_heard_all_the_same(word: Any) -> None:
    beats = Heartbeats()
    beats.note(KEY, lease(0, watchdog=word), 0)
    record = beats.view(KEY, 0).record
    assert record is not None
    assert (record.foreign_orders, record.other_epoch_orders) == (0, 0)


def test_an_edit_of_our_own_words_wakes_the_bot() -> None:
    beats = Heartbeats()
    beats.note(KEY, lease(0, told={"soloist.trade/desired-state": "Running"}), 0)
    assert beats.note(KEY, lease(0, told={"soloist.trade/desired-state": "Nonsense"}), 1)


def test_silence_is_measured_by_our_clock_and_told_once() -> None:
    beats = Heartbeats()
    beats.note(KEY, lease(0), 100)
    beats.note(KEY, lease(0), 100 + SILENT_AFTER_S - 0.1)  # seen again, not renewed
    assert not beats.view(KEY, 100 + SILENT_AFTER_S - 0.1).silent
    assert beats.view(KEY, 100 + SILENT_AFTER_S).silent
    assert list(beats.newly_silent(100 + SILENT_AFTER_S)) == [KEY]
    assert list(beats.newly_silent(200)) == []
    assert beats.note(KEY, lease(1), 201), "its return wakes the bot"
    assert not beats.view(KEY, 201).silent
    assert list(beats.newly_silent(201 + SILENT_AFTER_S)) == [KEY]


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"podUid": "p"}'])
def test_an_engine_that_writes_nonsense_is_mute(text: str) -> None:
    beats = Heartbeats()
    body = lease(0)
    body["metadata"]["annotations"]["soloist.trade/engine"] = text
    beats.note(KEY, body, 0)
    assert beats.view(KEY, 0).record is None
    assert beats.view(KEY, 0).silent


def test_a_text_that_only_looks_true_is_not_ready() -> None:
    beats = Heartbeats()
    beats.note(KEY, lease(0, ready="false"), 0)
    record = beats.view(KEY, 0).record
    assert record is not None
    assert record.ready is False


# ---------------------------------------------------------------------------------------------- the watch


def test_a_change_that_no_event_brings_shows_a_deaf_watch() -> None:
    fresh = Freshness()
    fresh.heard(KEY, "1")
    fresh.listed({KEY: "1"}, 0)
    assert fresh.silence_s(1000) == 0
    fresh.listed({KEY: "2"}, 1000)
    fresh.listed({KEY: "2"}, 1030)
    assert fresh.silence_s(1000 + DEAF_AFTER_S) == DEAF_AFTER_S
    fresh.heard(KEY, "2")
    assert fresh.silence_s(2000) == 0


def test_a_busy_bot_is_not_taken_for_a_deaf_watch() -> None:
    fresh = Freshness()
    for version in range(100):
        fresh.heard(KEY, str(version))
        fresh.listed({KEY: str(version + 1)}, version * 30.0)  # listed a moment before its event came
    assert fresh.silence_s(99 * 30.0) == 0


def test_a_deleted_bot_is_forgotten() -> None:
    fresh = Freshness()
    fresh.heard(KEY, "1")
    fresh.listed({}, 0)
    fresh.listed({KEY: "1"}, 10)
    assert fresh.silence_s(20) == 10


@pytest.mark.parametrize(
    ("kind", "metadata", "spec", "key"),
    [
        (kinds.TRADING_BOT, {"namespace": "bots", "name": "demo"}, {}, KEY),
        (kinds.POD, {"namespace": "bots", "name": "x", "labels": {"soloist.trade/bot": "demo"}}, {}, KEY),
        (
            kinds.POD,
            {"namespace": "bots", "name": "x", "ownerReferences": [{"kind": "TradingBot", "name": "demo"}]},
            {},
            KEY,
        ),
        (kinds.POD, {"namespace": "bots", "name": "x"}, {}, None),
        (
            kinds.ACCOUNT_CLAIM,
            {"name": "c"},
            {"holder": {"namespace": "bots", "name": "demo", "uid": "u"}},
            KEY,
        ),
        (kinds.ACCOUNT_CLAIM, {"name": "c"}, {}, None),
    ],
)
def test_whose_an_event_is(kind, metadata, spec, key) -> None:
    assert bot_of(kind, {"metadata": metadata, "spec": spec}) == key


# ---------------------------------------------------------------------------------------------- observing


def test_a_claim_is_the_bound_one_and_never_guessed_from_the_spec() -> None:
    body = {"metadata": {"namespace": "bots"}, "spec": live(), "status": {"claim": "claim-bound"}}
    assert claim_of(body) == "claim-bound"
    del body["status"]
    assert claim_of(body) is None


def test_addresses_of_the_api_server() -> None:
    found = addresses_of(
        {
            "addressType": "IPv4",
            "ports": [{"port": 6443}],
            "endpoints": [{"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.1"]}],
        }
    )
    assert found == (Address("10.0.0.1", 6443), Address("10.0.0.2", 6443))
    assert (
        addresses_of({"addressType": "FQDN", "endpoints": [{"addresses": ["x"]}], "ports": [{"port": 1}]})
        == ()
    )
    assert addresses_of(None) == ()


JOB = {"metadata": {"name": "j", "uid": "job-1"}, "status": {}}


def job_pod(phase: str, uid: str = "job-1", **state: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "j-x", "ownerReferences": [{"controller": True, "uid": uid}]},
        "status": {"phase": phase, "containerStatuses": [{"name": "c", "state": state}]},
    }


@pytest.mark.parametrize(
    ("job", "pods", "expected"),
    [
        (JOB, [], Running),
        (JOB, [job_pod("Running", running={})], Running),
        (JOB, [job_pod("Running", terminated={"exitCode": 0})], Running),  # the pod has not ended yet
        (JOB, [job_pod("Succeeded", terminated={"exitCode": 0, "message": "m"})], Finished),
        (JOB, [job_pod("Succeeded", "another job", terminated={"exitCode": 0})], Running),
        (
            merged(
                JOB,
                {
                    "status": {
                        "conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]
                    }
                },
            ),
            [],
            Finished,
        ),
        (merged(JOB, {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}), [], Finished),
        (merged(JOB, {"status": {"conditions": [{"type": "Failed", "status": "False"}]}}), [], Running),
    ],
)
def test_what_became_of_a_job(job, pods, expected) -> None:
    assert isinstance(outcome_of(job, pods, "c"), expected)


def test_a_job_that_waits_says_for_what() -> None:
    outcome = outcome_of(
        JOB, [job_pod("Pending", waiting={"reason": "ImagePullBackOff", "message": "no such image"})], "c"
    )
    assert isinstance(outcome, Running)
    assert "ImagePullBackOff: no such image" in outcome.detail


@pytest.mark.parametrize("message", ["", "boom", "[]", '{"problems": [{}]}', '{"problems": []}'])
def test_a_check_without_readable_problems_still_says_something(message: str) -> None:
    problems = check_problems(Finished(succeeded=False, message=message, why="exit code 1"))
    assert len(problems) == 1
    assert "did not finish" in problems[0].message


def test_the_words_of_a_container_that_refuses_its_key() -> None:
    told = {"problems": [{"field": "spec.account.keySecretRef", "message": "holds no key-id"}]}
    trouble = pod_trouble(
        running_pod(
            status={
                "phase": "Pending",
                "initContainerStatuses": [
                    {
                        "name": "keys",
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"exitCode": 2, "message": json.dumps(told)}},
                    }
                ],
                "containerStatuses": [
                    {"name": "engine", "state": {"waiting": {"reason": "PodInitializing"}}}
                ],
            }
        )
    )
    assert trouble is not None
    assert trouble.reason == "Refused"
    assert "spec.account.keySecretRef: holds no key-id" in trouble.message


def test_a_pod_that_finds_no_node_says_so() -> None:
    conditions = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}
    ]
    trouble = pod_trouble(running_pod(status={"conditions": conditions}))
    assert trouble is not None
    assert (trouble.reason, "0/2 nodes" in trouble.message) == ("Unschedulable", True)


def test_a_healthy_pod_has_no_trouble() -> None:
    assert pod_trouble(running_pod()) is None
