from __future__ import annotations

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from soloist_exchange.auth import Caller, authenticate, require_scope, require_subaccount, wall_clock_ms
from soloist_exchange.errors import Refused
from soloist_exchange.exchange import Exchange, create_account, generate_key
from soloist_exchange.switches import Switches
from soloist_kalshi.signing import Signer, signed_text

from tests.unit.soloist_exchange.exchange_venues import Clock, still

METHOD, PATH = "POST", "/trade-api/v2/portfolio/events/orders"
NOW_MS = 1_790_000_000_000


@pytest.fixture
def exchange(tmp_path):
    clock = Clock()
    made = Exchange(tmp_path, still(), 1, clock_ms=clock, clock_us=lambda: clock() * 1000)
    yield made
    made.close()


@pytest.fixture(params=["ed25519", "rsa"])
def signer(exchange, request):
    _, key_id, pem = create_account(exchange.store, "demo", 1_000_000, request.param, NOW_MS)
    return Signer.from_pem(key_id, pem)


def headers(signer, timestamp_ms=NOW_MS, method=METHOD, path=PATH):
    return {name.lower(): value for name, value in signer.headers(method, path, timestamp_ms).items()}


def ask(exchange, given, method=METHOD, path=PATH):
    return authenticate(exchange, given, method, path, lambda: NOW_MS)


def refusal(exchange, given, **other):
    with pytest.raises(Refused) as error:
        ask(exchange, given, **other)
    return error.value.status, error.value.code, error.value.message, error.value.details


STALE = (401, "header_timestamp_expired", "header timestamp expired", "")
WRONG = (401, "authentication_error", "authentication_error", "INCORRECT_API_KEY_SIGNATURE")
UNKNOWN = (401, "authentication_error", "authentication_error", "NOT_FOUND")
MISSING = (401, "signature_is_missing_from_headers", "signature is missing from headers", "")


def test_who_signed_is_known(exchange, signer):
    caller = ask(exchange, headers(signer))
    assert (caller.account, caller.key.key_id) == ("demo", signer.key_id)


def test_what_was_signed_is_what_was_asked(exchange, signer):
    assert refusal(exchange, headers(signer), method="DELETE") == WRONG
    assert refusal(exchange, headers(signer), path=PATH + "/1") == WRONG
    assert refusal(exchange, headers(signer) | {"kalshi-access-timestamp": str(NOW_MS + 1)}) == WRONG


@pytest.mark.parametrize("signature", ["*", "AAAA", "é", "A" * 10_000])
def test_what_is_no_signature_is_refused(exchange, signer, signature):
    assert refusal(exchange, headers(signer) | {"kalshi-access-signature": signature}) == WRONG


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"kalshi-access-signature": ""}, MISSING),
        ({"kalshi-access-key": "nobody"}, UNKNOWN),
        ({"kalshi-access-key": ""}, UNKNOWN),
        ({"kalshi-access-timestamp": ""}, STALE),
        ({"kalshi-access-timestamp": "soon"}, STALE),
        ({"kalshi-access-timestamp": "-1"}, STALE),
        ({"kalshi-access-timestamp": "\u0661"}, STALE),
        ({"kalshi-access-timestamp": "9" * 400}, STALE),
        ({"kalshi-access-timestamp": str(NOW_MS // 1000)}, STALE),  # seconds
    ],
)
def test_what_is_missing_or_wrong_is_told(exchange, signer, change, answer):
    assert refusal(exchange, headers(signer) | change) == answer


@pytest.mark.parametrize(
    ("switches", "accepted", "refused"),
    [
        (Switches(), [-20_000, 0, 20_000], [-20_001, 20_001]),
        (Switches(clock_past_ms=5000, clock_future_ms=30_000), [-5000, 30_000], [-5001, 30_001]),
        (Switches(clock_past_ms=0, clock_future_ms=0), [0], [-1, 1]),
    ],
)
def test_the_window_has_two_sides_and_both_are_switches(exchange, switches, accepted, refused):
    _, key_id, pem = create_account(exchange.store, "demo", 1_000_000, "ed25519", NOW_MS)
    signer = Signer.from_pem(key_id, pem)
    exchange.venue.switches = switches
    for off_ms in accepted:
        ask(exchange, headers(signer, NOW_MS + off_ms))
    for off_ms in refused:
        assert refusal(exchange, headers(signer, NOW_MS + off_ms)) == STALE


def test_signatures_are_judged_by_the_wall_clock_whatever_the_venues_clock_says(exchange, signer):
    assert abs(exchange.clock_ms() - wall_clock_ms()) > 60_000
    given = headers(signer, wall_clock_ms())
    assert authenticate(exchange, given, METHOD, PATH).account == "demo"


@pytest.mark.parametrize("salt", [0, 20, padding.PSS.MAX_LENGTH])
def test_another_salt_is_a_switch(exchange, salt):
    _, key_id, pem = create_account(exchange.store, "demo", 1_000_000, "rsa", NOW_MS)
    signer = Signer.from_pem(key_id, pem)
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt)
    raw = signer._key.sign(signed_text(NOW_MS, METHOD, PATH), pss, hashes.SHA256())
    given = headers(signer) | {"kalshi-access-signature": b64encode(raw).decode()}
    assert refusal(exchange, given) == WRONG
    exchange.venue.switches = Switches(pss_salt="any")
    assert ask(exchange, given).account == "demo"
    assert refusal(exchange, given, method="GET") == WRONG


def test_the_loose_salt_does_not_loosen_other_keys(exchange):
    _, key_id, pem = create_account(exchange.store, "demo", 1_000_000, "ed25519", NOW_MS)
    signer = Signer.from_pem(key_id, pem)
    exchange.venue.switches = Switches(pss_salt="any")
    assert refusal(exchange, headers(signer), method="GET") == WRONG


def test_a_deleted_key_is_unknown(exchange, signer):
    caller = ask(exchange, headers(signer))
    assert exchange.delete_key(caller.account_id, signer.key_id)
    exchange.commit()
    assert refusal(exchange, headers(signer)) == UNKNOWN


def caller(exchange, scopes, subaccount=None):
    row, _, _ = create_account(exchange.store, "demo", 1_000_000, "ed25519", NOW_MS)
    with exchange.store.transaction():
        key_id, _ = generate_key(
            exchange.store, row.account_id, name="bound", key_type="ed25519", scopes=scopes, subaccount=subaccount, now_ms=NOW_MS
        )  # fmt: skip
    return Caller(exchange.key(key_id), "demo")


@pytest.mark.parametrize(
    ("scopes", "allowed", "refused"),
    [
        (("read",), ["read"], ["write", "write::trade"]),
        (("read", "write"), ["read", "write", "write::trade"], []),
        (("read", "write::trade"), ["write::trade"], ["write", "write::transfer"]),
    ],
)
def test_a_scope_holds_what_is_below_it(exchange, scopes, allowed, refused):
    found = caller(exchange, scopes)
    for wanted in allowed:
        require_scope(found, wanted)
    for wanted in refused:
        with pytest.raises(Refused) as error:
            require_scope(found, wanted)
        assert error.value.status == 403


def test_a_key_bound_to_a_subaccount_reaches_no_other_and_not_all(exchange):
    bound = caller(exchange, ("read", "write"), subaccount=3)
    require_subaccount(bound, 3)
    for wanted in (0, 4, None):
        with pytest.raises(Refused) as error:
            require_subaccount(bound, wanted)
        assert error.value.status == 403
        assert (
            error.value.message
            == "this API key is restricted to a single sub-account and cannot access this endpoint"
        )
