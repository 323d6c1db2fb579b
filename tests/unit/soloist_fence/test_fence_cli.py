import json

import pytest
from click.testing import CliRunner
from soloist_fence.api import (
    Evidence,
    FenceArguments,
    IdentifyArguments,
    Outcome,
    Reason,
    Verb,
    claim_name_of,
)
from soloist_fence.cli import main
from soloist_kalshi.signing import generate_private_key

CLAIM = claim_name_of("marker:m", 0)


@pytest.fixture
def arguments(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        "venue: {rest_url: 'https://127.0.0.1:9/trade-api/v2'}\naccount: {subaccount: 0}\n", encoding="utf-8"
    )
    (tmp_path / "keys").mkdir()
    return FenceArguments(
        claim=CLAIM,
        bot="bots/demo",
        epoch=2,
        nonce="abc123",
        cluster_id="uid",
        secret_name="demo-key-e2-abc123",
        revocation_bound_ms=100,
        acknowledged_key_ids=("one", "two"),
        config=str(config),
        management_key_dir=str(tmp_path / "keys"),
        slots_dir=str(tmp_path / "slots"),
    )


def invoke(verb, arguments, evidence_file, *more):
    return CliRunner().invoke(main, [*arguments.to_args(verb), f"--evidence-file={evidence_file}", *more])


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb is not Verb.IDENTIFY])
def test_a_missing_secret_is_evidence(verb, arguments, tmp_path):
    evidence_file = tmp_path / "termination-log"
    result = invoke(verb, arguments, evidence_file)
    assert result.exit_code == 1, result.output
    evidence = Evidence.parse(evidence_file.read_text(encoding="utf-8"))
    assert (evidence.claim, evidence.epoch, evidence.nonce) == (CLAIM, 2, "abc123")
    assert (evidence.outcome, evidence.reason) == (Outcome.FAILED, Reason.MANAGEMENT_KEY_MISSING)
    assert evidence.field == "spec.account.managementKeySecretRef"
    assert not evidence.key_may_exist
    assert json.loads(result.stdout.splitlines()[-1])["reason"] == "ManagementKeyMissing"


def test_outside_of_a_pod_the_cluster_is_unreachable(arguments, tmp_path, monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    (tmp_path / "keys" / "key-id").write_text("k")
    (tmp_path / "keys" / "private-key.pem").write_bytes(generate_private_key("ed25519").private_pem)
    invoke(Verb.TAKEOVER, arguments, tmp_path / "log")
    assert Evidence.parse((tmp_path / "log").read_text()).reason is Reason.CLUSTER_UNREACHABLE


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("--bot=demo", "NAMESPACE/NAME"),
        ("--nonce=Not Good", "a-z and 0-9"),
        ("--claim=demo", "no claim name"),
        ("--epoch=0", "x>=1"),
        ("--key-type=dsa", "ed25519"),
    ],
)
def test_a_wrong_option_is_named(arguments, tmp_path, wrong, said):
    result = invoke(Verb.TAKEOVER, arguments, tmp_path / "log", wrong)
    assert result.exit_code == 2
    assert said in result.output
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("verb", [*[verb.value for verb in Verb], "status", "measure-revocation"])
def test_every_verb_explains_itself(verb):
    result = CliRunner().invoke(main, [verb, "--help"])
    assert result.exit_code == 0
    assert "--management-key-dir" in result.output
    assert len(result.output.split("Options:")[0]) > 100
    assert verb in CliRunner().invoke(main, ["--help"]).output


def test_a_missing_secret_is_evidence_of_identify(arguments, tmp_path):
    asked = IdentifyArguments(
        "abc123", config=arguments.config, management_key_dir=arguments.management_key_dir
    )
    log = tmp_path / "log"
    result = CliRunner().invoke(main, [*asked.to_args(), f"--evidence-file={log}"])
    assert result.exit_code == 1, result.output
    evidence = Evidence.parse(log.read_text())
    assert (evidence.claim, evidence.epoch, evidence.nonce) == ("", 0, "abc123")
    assert evidence.reason is Reason.MANAGEMENT_KEY_MISSING


def test_status_takes_the_arguments_of_a_rotation_and_needs_only_the_claim(arguments):
    """So that a person changes one word of the CronJob's command line."""
    rotation = arguments.to_args(Verb.ROTATE)
    result = CliRunner().invoke(main, ["status", *rotation[1:]])
    assert "ManagementKeyMissing" in result.output
    assert "No such option" not in result.output
    result = CliRunner().invoke(main, ["status", f"--claim={CLAIM}", f"--config={arguments.config}"])
    assert "ManagementKeyMissing" in result.output


def test_measuring_needs_a_key_and_says_so(tmp_path):
    words = ["measure-revocation", "--rest-url=https://127.0.0.1:9/trade-api/v2"]
    result = CliRunner().invoke(main, [*words, f"--management-key-dir={tmp_path}"])
    assert result.exit_code == 1
    assert "ManagementKeyMissing" in result.output


def test_evidence_that_cannot_be_written_is_an_error(arguments, tmp_path):
    result = invoke(Verb.RELEASE, arguments, tmp_path / "no" / "such" / "folder")
    assert result.exit_code == 1
    assert "evidence cannot be written" in result.output
