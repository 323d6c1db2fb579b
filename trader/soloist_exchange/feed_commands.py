"""Reading WebSocket commands: what is asked for, or the error of section 13.2 that says why it cannot be read."""

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from soloist_kalshi.frames import SubscribeParams, UnsubscribeParams, UpdateSubscriptionParams

__all__ = ["ERROR_TEXTS", "Asked", "CommandError", "Params", "read"]

UNREADABLE, PARAMS_REQUIRED, CHANNELS_REQUIRED, SIDS_REQUIRED, UNKNOWN_COMMAND = 1, 2, 3, 4, 5
ALREADY_SUBSCRIBED, UNKNOWN_SID, UNKNOWN_CHANNEL, AUTHENTICATION_REQUIRED, CHANNEL_ERROR = 6, 7, 8, 9, 10
INVALID_PARAMETER, ONE_SID, UNSUPPORTED_ACTION, MARKET_REQUIRED, ACTION_REQUIRED = 11, 12, 13, 14, 15
SHARD_FACTOR_TOO_SMALL, SHARD_FACTOR_REQUIRED, SHARD_KEY_RANGE, SHARD_FACTOR_TOO_LARGE = 19, 20, 21, 22
INDEX_IDS_REQUIRED, OVERFLOW, MARKET_LIMIT, COMMAND_RATE, UNDERLYINGS_REQUIRED = 24, 25, 26, 27, 28

ERROR_TEXTS: Final = {
    UNREADABLE: "Unable to process message",
    PARAMS_REQUIRED: "Params required",
    CHANNELS_REQUIRED: "Channels required",
    SIDS_REQUIRED: "Subscription IDs required",
    UNKNOWN_COMMAND: "Unknown command",
    ALREADY_SUBSCRIBED: "Already subscribed",
    UNKNOWN_SID: "Unknown subscription ID",
    UNKNOWN_CHANNEL: "Unknown channel name",
    AUTHENTICATION_REQUIRED: "Authentication required",
    CHANNEL_ERROR: "Channel error",
    INVALID_PARAMETER: "Invalid parameter",
    ONE_SID: "Exactly one subscription ID is required",
    UNSUPPORTED_ACTION: "Unsupported action",
    MARKET_REQUIRED: "Market Ticker required",
    ACTION_REQUIRED: "Action required",
    SHARD_FACTOR_TOO_SMALL: "shard_factor must be > 0",
    SHARD_FACTOR_REQUIRED: "shard_factor is required when shard_key is set",
    SHARD_KEY_RANGE: "shard_key must be >= 0 and < shard_factor",
    SHARD_FACTOR_TOO_LARGE: "shard_factor must be <= 100",
    INDEX_IDS_REQUIRED: "Index IDs required",
    OVERFLOW: "Subscription buffer overflow",
    MARKET_LIMIT: "Subscription market limit exceeded",
    COMMAND_RATE: "Too many requests",
    UNDERLYINGS_REQUIRED: "Underlying tickers required",
}

COMMANDS: Final = frozenset({"subscribe", "unsubscribe", "update_subscription", "list_subscriptions"})
_ACTIONS: Final = frozenset({"add_markets", "delete_markets", "get_snapshot"})
# Actions of the channels of reference prices, which this exchange does not serve: what they need, and its error.
_REFERENCE_ACTIONS: Final = {
    "subscribe_indices": ("index_ids", INDEX_IDS_REQUIRED),
    "unsubscribe_indices": ("index_ids", INDEX_IDS_REQUIRED),
    "subscribe_underlyings": ("underlying_tickers", UNDERLYINGS_REQUIRED),
    "unsubscribe_underlyings": ("underlying_tickers", UNDERLYINGS_REQUIRED),
}
_MOST_SHARDS: Final = 100

Params = SubscribeParams | UnsubscribeParams | UpdateSubscriptionParams
_Params = TypeVar("_Params", SubscribeParams, UnsubscribeParams, UpdateSubscriptionParams)


class CommandError(Exception):
    """A command that is refused, with its code of section 13.2; `detail` follows the code's text."""

    def __init__(self, code: int, detail: str = "", *, ticker: str | None = None) -> None:
        text = ERROR_TEXTS[code]
        super().__init__(f"{text}: {detail}" if detail else text)
        self.code = code
        self.ticker = ticker


@dataclass(slots=True)
class Asked:
    """A command: its id (None for 0 or none, which are the same), and what it asks for; no params mean list_subscriptions."""

    id: int | None = None
    params: Params | None = None


def read(raw: str | bytes, asked: Asked) -> None:
    """Read a command into `asked`, its id first, so that the error finds it there. Raises CommandError."""
    try:
        fields = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:  # the last: a million brackets
        raise CommandError(UNREADABLE) from error
    if not isinstance(fields, dict):
        raise CommandError(UNREADABLE)
    asked.id = _id(fields.get("id"))
    name = fields.get("cmd")
    if not isinstance(name, str) or name not in COMMANDS:
        raise CommandError(UNKNOWN_COMMAND)
    if name == "list_subscriptions":
        return
    params = fields.get("params")
    if not isinstance(params, dict):
        raise CommandError(PARAMS_REQUIRED)
    if name == "subscribe":
        asked.params = _subscribe(params)
    elif name == "unsubscribe":
        if not params.get("sids"):
            raise CommandError(SIDS_REQUIRED)
        asked.params = _typed(params, UnsubscribeParams)
    else:
        asked.params = _update(params)


def _id(found: object) -> int | None:
    if found is None:
        return None
    if type(found) is not int or found < 0:
        raise CommandError(UNREADABLE, "id is an integer from 1 on")
    return found or None


def _subscribe(params: dict[str, Any]) -> SubscribeParams:
    if not params.get("channels"):
        raise CommandError(CHANNELS_REQUIRED)
    wanted = _typed(params, SubscribeParams)
    factor, key = wanted.shard_factor, wanted.shard_key
    if factor is not None and factor <= 0:
        raise CommandError(SHARD_FACTOR_TOO_SMALL)
    if factor is not None and factor > _MOST_SHARDS:
        raise CommandError(SHARD_FACTOR_TOO_LARGE)
    if key is not None and factor is None:
        raise CommandError(SHARD_FACTOR_REQUIRED)
    if key is not None and factor is not None and not 0 <= key < factor:
        raise CommandError(SHARD_KEY_RANGE)
    if wanted.user_filter not in {None, "", "self"}:
        raise CommandError(INVALID_PARAMETER, "user_filter is self or empty")
    return wanted


def _update(params: dict[str, Any]) -> UpdateSubscriptionParams:
    action = params.get("action")
    if not action:
        raise CommandError(ACTION_REQUIRED)
    if not isinstance(action, str):
        raise CommandError(INVALID_PARAMETER, "action is a text")
    needs, code = _REFERENCE_ACTIONS.get(action, ("", 0))
    if needs and not params.get(needs):
        raise CommandError(code)
    if action not in _ACTIONS:
        raise CommandError(UNSUPPORTED_ACTION)
    wanted = _typed(params, UpdateSubscriptionParams)
    if len(wanted.sids or []) + (wanted.sid is not None) != 1:
        raise CommandError(ONE_SID)
    return wanted


def _typed(params: dict[str, Any], kind: type[_Params]) -> _Params:
    """Return params of the right types. Markets are named in one way at most."""
    try:
        wanted = msgspec.convert(params, kind)
    except msgspec.ValidationError as error:
        raise CommandError(INVALID_PARAMETER, str(error)) from error
    if not isinstance(wanted, UnsubscribeParams):
        named = (wanted.market_ticker, wanted.market_tickers, wanted.market_id, wanted.market_ids)
        if sum(1 for item in named if item) > 1:
            raise CommandError(INVALID_PARAMETER, "market_ticker, market_tickers, market_id or market_ids")
    return wanted
