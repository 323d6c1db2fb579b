import ast
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from soloist_fence import api, names
from soloist_fence.api import (
    EVIDENCE_LIMIT_BYTES,
    MARKER_SCOPES,
    EpochSecret,
    Evidence,
    FenceArguments,
    FenceInterfaceError,
    IdentifyArguments,
    KeyName,
    Outcome,
    Reason,
    Slot,
    VenueKey,
    Verb,
    claim_hash,
    claim_name_of,
    epoch_secret_name,
    key_identity,
    marker_identity,
    marker_key_name,
    marker_key_nonce,
    marker_of,
    nonce_from,
    order_epoch,
    parse_venue_key_name,
    threatens,
    trade_capable,
    valid_nonce,
    venue_key_name,
)

CLAIM = claim_name_of("marker:m", 0)


@pytest.mark.parametrize("module", [api, names])
def test_the_modules_are_pure(module):
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    allowed = {"__future__", "collections.abc", "dataclasses", "enum", "hashlib", "json", "re"}
    allowed |= {"soloist_fence.names"}
    assert imported <= allowed


def test_claim_names_are_stable_and_tell_accounts_apart():
    assert CLAIM == "claim-yigt68st48so", "a name that changes is another lock"
    digest = hashlib.sha256(b"marker:m|0").hexdigest()
    assert int(CLAIM.removeprefix("claim-"), 36) == int(digest, 16) % 36**12
    found = {
        claim_name_of(identity, subaccount)
        for identity in (marker_identity("x"), marker_identity("y"), key_identity("x"))
        for subaccount in (0, 1)
    }
    assert len(found) == 6
    assert claim_hash(CLAIM) == CLAIM.removeprefix("claim-")[:6]


@pytest.mark.parametrize("text", ["", "claim-", "claim-abc", "other-abcdefghijkl", "claim-abcdefghijklm"])
def test_a_claim_hash_needs_a_claim_name(text):
    with pytest.raises(FenceInterfaceError, match="no claim name"):
        claim_hash(text)


def test_key_names_are_read_back():
    name = venue_key_name("cluster-1", CLAIM, 12, 3, "abc123")
    assert name == f"soloist/cluster-1/{CLAIM}/e12/g3/abc123"
    assert parse_venue_key_name(name) == KeyName("cluster-1", CLAIM, 12, 3, "abc123")
    assert str(parse_venue_key_name(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "my key",
        "",
        f"soloist/c/{CLAIM}/e1/g1",
        f"soloist/c/{CLAIM}/e0/g1/abc123",
        f"soloist/c/{CLAIM}/e01/g1/abc123",
        f"soloist/c/{CLAIM}/e1/g1/ABC123",
        f"soloist/c/{CLAIM}/e1/g1/abc123\n",
        f"x/soloist/c/{CLAIM}/e1/g1/abc123",
        "soloist/c/claim-short/e1/g1/abc123",
        f"soloist/c/d/{CLAIM}/e1/g1/abc123",
        f"soloist-account/{CLAIM}",
    ],
)
def test_look_alikes_are_not_ours(name):
    assert parse_venue_key_name(name) is None


def test_nonces_from_entropy():
    assert nonce_from(bytes(8)) == "0" * 13
    assert nonce_from(b"\xff" * 8) == "3w5e11264sgsf"
    assert valid_nonce(nonce_from(b"\x01" * 8))
    assert not valid_nonce("")
    assert not valid_nonce("Upper1")
    assert not valid_nonce("a" * 33)


def test_secret_names():
    assert epoch_secret_name("demo", 7, "abc123") == "demo-key-e7-abc123"


def test_epochs_of_orders():
    ours = claim_hash(CLAIM)
    assert order_epoch(f"s{ours}-a-1f-zz", CLAIM) == 10
    assert order_epoch("szzzzzz-a-1f-zz", CLAIM) is None
    assert order_epoch("by hand", CLAIM) is None
    assert order_epoch("", CLAIM) is None


SCOPES = [
    ({"read"}, False),
    ({"read", "read::portfolio_balance"}, False),
    ({"read::block_trade_accept"}, False),
    ({"read", "write::transfer"}, False),
    ({"read", "write::fcm_risk"}, False),
    ({"read", "write"}, True),
    ({"read", "write::trade"}, True),
    ({"read", "write::block_trade_accept"}, True),
    (set(), True),
    ({"read", "write::something_new"}, True),
    ({"admin"}, True),
]


@pytest.mark.parametrize(("scopes", "expected"), SCOPES)
def test_trade_capable(scopes, expected):
    assert trade_capable(scopes) is expected


THREATS = [
    # (scopes, key's subaccount, asked subaccount, key id, threatens)
    ({"read", "write"}, None, 0, "other", True),
    ({"read", "write"}, 0, 0, "other", True),
    ({"read", "write"}, 1, 0, "other", False),
    ({"read", "write"}, 1, None, "other", True),
    ({"read", "write"}, None, 5, "other", True),
    ({"read"}, None, 0, "other", False),
    ({"read", "write::trade"}, 0, 0, "other", True),
    ({"read", "write"}, None, 0, "mine", False),
    ({"read", "write"}, None, 0, "known", False),
    (set(), None, 0, "other", True),
]


@pytest.mark.parametrize(("scopes", "bound_to", "subaccount", "key_id", "expected"), THREATS)
def test_threatens(scopes, bound_to, subaccount, key_id, expected):
    key = VenueKey(key_id, "a name", frozenset(scopes), bound_to)
    verdict = threatens(
        key, subaccount=subaccount, authenticating_key_id="mine", acknowledged_key_ids=["known"]
    )
    assert verdict is expected


def test_a_name_never_makes_a_key_harmless():
    key = VenueKey("k", venue_key_name("c", CLAIM, 1, 1, "abc123"), frozenset({"read", "write"}))
    assert threatens(key, subaccount=0, authenticating_key_id="mine")


def test_an_epoch_secret_is_read_back():
    secret = EpochSecret(3, 8, (Slot(7, "old", "PEM old"), Slot(8, "new", "PEM new")))
    data = secret.data()
    assert data == {
        "epoch": "3",
        "generation": "8",
        "g7.key-id": "old",
        "g7.private-key.pem": "PEM old",
        "g8.key-id": "new",
        "g8.private-key.pem": "PEM new",
    }
    assert EpochSecret.parse(data) == secret
    assert "PEM" not in repr(secret)


def test_slots_are_ordered_by_number():
    data = EpochSecret(1, 11, (Slot(9, "old", "p"), Slot(11, "new", "p"))).data()
    assert [slot.generation for slot in EpochSecret.parse(dict(reversed(data.items()))).slots] == [9, 11]


@pytest.mark.parametrize(
    ("missing", "said"), [("epoch", "'epoch'"), ("generation", "'generation'"), ("g1.key-id", "slot g1")]
)
def test_half_an_epoch_secret_is_refused(missing, said):
    data = EpochSecret(1, 1, (Slot(1, "id", "p"),)).data()
    del data[missing]
    with pytest.raises(FenceInterfaceError, match=said):
        EpochSecret.parse(data)


def example(message="", **changes):
    fields = {
        "claim": CLAIM,
        "epoch": 3,
        "nonce": "abc123",
        "outcome": Outcome.PUBLISHED,
        "reason": Reason.DONE,
        "message": message,
        "key_id": "k",
        "secret_name": "demo-key-e3-abc123",
        "counts": {"keysDeleted": 1},
        "durations_ms": {"total": 1200},
    }
    return Evidence(**(fields | changes))


def test_evidence_is_read_back():
    evidence = example("all is well")
    assert Evidence.parse(evidence.to_json()) == evidence
    failed = example(
        "no", outcome=Outcome.FAILED, reason=Reason.CONFLICT, field="spec.x", key_id=None, secret_name=None
    )
    assert Evidence.parse(failed.to_json()) == failed
    assert '"keyId"' not in failed.to_json()
    identified = example(account_identity="marker:m", marker_id="m", key_may_exist=False)
    assert Evidence.parse(identified.to_json()) == identified


def test_evidence_names_a_few_keys_only():
    parsed = Evidence.parse(example(key_ids=tuple(f"key-{n}" for n in range(9))).to_json())
    assert parsed.key_ids == ("key-0", "key-1", "key-2", "key-3", "key-4")


def test_evidence_that_does_not_say_otherwise_may_have_left_a_key():
    text = example().to_json()
    assert Evidence.parse(text.replace('"keyMayExist":true,', "")).key_may_exist
    assert not Evidence.parse(text.replace('"keyMayExist":true', '"keyMayExist":false')).key_may_exist
    with pytest.raises(FenceInterfaceError, match="list of texts"):
        Evidence.parse(text.replace('"counts"', '"keyIds":[1],"counts"'))


@pytest.mark.parametrize("character", ["x", "é", "😀", '"', "\n", "\x00"])
def test_evidence_stays_below_its_limit(character):
    text = example(character * 5000).to_json()
    assert 1900 < len(text.encode()) < EVIDENCE_LIMIT_BYTES
    cut = Evidence.parse(text)
    assert cut.message.endswith("…")
    assert cut.counts == {"keysDeleted": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Error: OOMKilled",
        "[]",
        '{"version":2}',
        '{"version":1}',
        example().to_json().replace("Published", "Maybe"),
        example().to_json().replace('"epoch":3', '"epoch":"3"'),
        example().to_json().replace('"epoch":3', '"epoch":true'),
        example().to_json().replace('{"keysDeleted":1}', '{"keysDeleted":1.5}'),
    ],
)
def test_what_is_no_evidence_is_refused(text):
    with pytest.raises(FenceInterfaceError):
        Evidence.parse(text)


def test_reasons_are_documented_for_people():
    source = Path(api.__file__).read_text(encoding="utf-8")
    body = source[source.index("class Reason") : source.index("# ---", source.index("class Reason"))]
    for reason in Reason:
        assert f'{reason.name} = "{reason.value}"' in body
    assert body.count('"""') == 2 * (len(Reason) + 1)
    contract = (Path(__file__).parents[3] / "docs" / "interfaces.md").read_text(encoding="utf-8")
    assert all(f"`{reason.value}`" in contract for reason in Reason)


def test_the_jobs_deadline_leaves_time_for_evidence():
    for verb in Verb:
        assert verb.active_deadline_s > verb.deadline_s


def test_arguments_for_each_verb():
    arguments = FenceArguments(
        claim=CLAIM,
        bot="bots/demo",
        epoch=2,
        nonce="abc123",
        cluster_id="uid",
        secret_name="demo-key-e2-abc123",
        revocation_bound_ms=1000,
        acknowledged_key_ids=("a", "b"),
    )
    takeover = arguments.to_args(Verb.TAKEOVER)
    assert takeover[0] == "takeover"
    assert "--epoch=2" in takeover
    assert takeover[-2:] == ["--acknowledged-key-id=a", "--acknowledged-key-id=b"]
    for verb, mounted in {
        Verb.TAKEOVER: True,
        Verb.ROTATE: True,
        Verb.RELEASE: True,
        Verb.AUDIT: False,
    }.items():
        assert ("--slots-dir=/var/run/soloist/secret" in arguments.to_args(verb)) is mounted
    assert "--reap" not in arguments.to_args(Verb.AUDIT)
    reaping = replace(arguments, reap=True, key_list_lag_ms=500)
    assert "--reap" in reaping.to_args(Verb.AUDIT)
    assert "--reap" not in reaping.to_args(Verb.TAKEOVER), "one verb reaps"
    assert "--key-list-lag-ms=500" in reaping.to_args(Verb.TAKEOVER)


def test_arguments_of_identify():
    assert IdentifyArguments("abc123").to_args() == [
        "identify",
        "--nonce=abc123",
        "--config=/etc/soloist/config.yaml",
        "--management-key-dir=/var/run/soloist/management-key",
    ]
    bound = IdentifyArguments("abc123", static=True, bound="marker:m", key_list_lag_ms=9).to_args()
    assert bound[-3:] == ["--key-list-lag-ms=9", "--static", "--bound=marker:m"]


def test_an_account_is_named_by_its_marker_or_by_its_key():
    assert marker_of(marker_identity("m-1")) == "m-1"
    assert marker_of(key_identity("k-1")) is None
    assert marker_of("") is None


def test_marker_names_are_read_back():
    assert marker_key_nonce(marker_key_name("abc123")) == "abc123"
    for look_alike in ("abc123", "soloist-account/", "soloist-account/A", "x/soloist-account/abc123"):
        assert marker_key_nonce(look_alike) is None
    assert not trade_capable(MARKER_SCOPES)


def test_exit_codes_tell_what_was_found_from_could_not_look():
    codes = {outcome: outcome.exit_code for outcome in Outcome}
    assert (codes.pop(Outcome.FAILED), codes.pop(Outcome.FOUND)) == (1, 3)
    assert set(codes.values()) == {0}
