"""API keys over REST (section 10)."""

from soloist_kalshi import messages

from soloist_exchange.auth import require_subaccount
from soloist_exchange.errors import Refused
from soloist_exchange.exchange import generate_key
from soloist_exchange.rest_call import SUBACCOUNTS, Reply, Request, Route, decode, not_found
from soloist_exchange.store import FULL_SCOPES

__all__ = ["ROUTES"]

SCOPES = frozenset(
    {
        "read",
        "write",
        "read::portfolio_balance",
        "read::block_trade_accept",
        "write::trade",
        "write::transfer",
        "write::block_trade_accept",
        "write::fcm_risk",
    }
)


def list_keys(request: Request) -> Reply:
    """GET /api_keys."""
    require_subaccount(request.sender, None)
    keys = [
        messages.ApiKey(
            api_key_id=key.key_id,
            name=key.name,
            scopes=list(key.scopes),
            subaccount=key.subaccount,
            key_type="rsa" if key.key_type == "rsa" else "ed25519",
        )
        for key in request.exchange.store.keys(request.sender.account_id)
    ]
    return 200, messages.ApiKeyList(api_keys=keys)


def generate(request: Request) -> Reply:
    """POST /api_keys/generate: the private key is in this reply and nowhere else."""
    require_subaccount(request.sender, None)
    wanted = decode(request.body, messages.GenerateApiKey)
    scopes = tuple(wanted.scopes or FULL_SCOPES)
    if unknown := set(scopes) - SCOPES:
        raise Refused(400, "bad_request", f"unknown scopes {sorted(unknown)}", shape="flat")
    if any(item.startswith("write") for item in scopes) and "read" not in scopes:
        raise Refused(400, "bad_request", "write scopes need read", shape="flat")
    if wanted.subaccount is not None and not 0 <= wanted.subaccount < SUBACCOUNTS:
        raise Refused(400, "bad_request", f"subaccount must be 0 to {SUBACCOUNTS - 1}", shape="flat")
    key_id, private_pem = generate_key(
        request.exchange.store,
        request.sender.account_id,
        name=wanted.name,
        key_type=wanted.key_type or "rsa",
        scopes=scopes,
        subaccount=wanted.subaccount,
        now_ms=request.exchange.clock_ms(),
    )
    return 201, messages.GeneratedApiKey(
        api_key_id=key_id,
        private_key=private_pem.decode(),
        key_type=wanted.key_type or "rsa",
        warning="Store the private key now: it is not shown again.",
    )


def delete_key(request: Request) -> Reply:
    """DELETE /api_keys/{api_key}, with effect at once."""
    require_subaccount(request.sender, None)
    key_id = request.match["api_key"]
    if not request.exchange.delete_key(request.sender.account_id, key_id):
        raise not_found()
    request.on_key_deleted(key_id)
    return 204, None


def upload_key(_: Request) -> Reply:
    """POST /api_keys: own public keys need a level that no account has here."""
    raise Refused(403, "forbidden", "uploading a public key needs the Premier or Market Maker level")


ROUTES = (
    Route("GET", "/api_keys", list_keys),
    Route("POST", "/api_keys", upload_key, scope="write", write=True),
    Route("POST", "/api_keys/generate", generate, scope="write", write=True),
    Route("DELETE", "/api_keys/{api_key}", delete_key, scope="write", write=True),
)
