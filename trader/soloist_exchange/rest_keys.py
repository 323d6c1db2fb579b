"""API keys over REST (section 10)."""

import msgspec
from soloist_kalshi import messages
from soloist_kalshi.errors import VenueKeyError
from soloist_kalshi.signing import KeyType

from soloist_exchange import rest_query as query
from soloist_exchange.rest_call import SUBACCOUNTS, Reply, Request, bad_request, call, decode, not_found
from soloist_exchange.store import FULL_SCOPES

__all__ = ["ROUTES"]

LONGEST_NAME = 200
KEYS_PER_ACCOUNT = 1000


class _KeyList(msgspec.Struct):
    """GET /api_keys. An account of the local exchange needs no attestation of its location, so the second field is null."""

    api_keys: list[messages.ApiKey]
    api_key_region_expiration_ts: int | None = None


def list_keys(request: Request) -> Reply:
    """GET /api_keys, as it was `key_list_lag_ms` ago."""
    query.require_unrestricted(request)
    keys = [
        messages.ApiKey(
            api_key_id=key.key_id,
            name=key.name,
            scopes=list(key.scopes),
            subaccount=key.subaccount,
            key_type="rsa" if key.key_type == "rsa" else "ed25519",
        )
        for key in request.exchange.keys_view(request.sender.account_id)
    ]
    return 200, _KeyList(api_keys=keys)


async def generate(request: Request) -> Reply:
    """POST /api_keys/generate: the private key is in this reply and nowhere else. Making an RSA key takes long, so others go on."""
    query.require_unrestricted(request)
    wanted = decode(request.body, messages.GenerateApiKey)
    _check(request, wanted.name, wanted.subaccount)
    key_type: KeyType = wanted.key_type or "rsa"
    key_id, private_pem = await request.exchange.generate_key_async(
        request.sender.account_id,
        name=wanted.name,
        key_type=key_type,
        scopes=tuple(wanted.scopes or FULL_SCOPES),
        subaccount=wanted.subaccount,
    )
    return 201, messages.GeneratedApiKey(
        api_key_id=key_id,
        private_key=private_pem.decode(),
        key_type=key_type,
        warning="Store the private key now: it is not shown again.",
    )


def upload(request: Request) -> Reply:
    """POST /api_keys: a public key of the caller's own, for Premier and above."""
    query.require_unrestricted(request)
    wanted = decode(request.body, messages.CreateApiKey)
    _check(request, wanted.name, wanted.subaccount)
    try:
        key_id = request.exchange.upload_key(
            request.sender.account_id,
            name=wanted.name,
            public_pem=wanted.public_key.encode(),
            scopes=tuple(wanted.scopes or FULL_SCOPES),
            subaccount=wanted.subaccount,
        )
    except VenueKeyError as error:
        raise bad_request(f"public_key: {error}") from None
    return 201, messages.CreatedApiKey(api_key_id=key_id)


def _check(request: Request, name: str, subaccount: int | None) -> None:
    """Raise Refused for what no key can be; its scopes are judged where the key is made."""
    if not 0 < len(name) <= LONGEST_NAME:
        raise bad_request(f"name must have 1 to {LONGEST_NAME} characters")
    if subaccount is not None and not 0 <= subaccount < SUBACCOUNTS:
        raise bad_request(f"subaccount must be 0 to {SUBACCOUNTS - 1}")
    if len(request.exchange.store.keys(request.sender.account_id)) >= KEYS_PER_ACCOUNT:
        raise bad_request(f"more than {KEYS_PER_ACCOUNT} API keys")


def delete_key(request: Request) -> Reply:
    """DELETE /api_keys/{api_key}, with effect at once (or `revocation_delay_ms` later); the feed decides about open WebSockets."""
    query.require_unrestricted(request)
    key_id = request.match["api_key"]
    if not request.exchange.delete_key(request.sender.account_id, key_id):
        raise not_found()
    request.on_key_deleted(key_id)
    return 204, None


ROUTES = (
    call("GET", "/api_keys", "GetApiKeys", list_keys),
    call("POST", "/api_keys", "CreateApiKey", upload, scope="write"),
    call("POST", "/api_keys/generate", "GenerateApiKey", generate, scope="write"),
    call("DELETE", "/api_keys/{api_key}", "DeleteApiKey", delete_key, scope="write"),
)
