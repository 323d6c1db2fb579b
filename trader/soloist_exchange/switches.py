"""Where the sources of the contract disagree, one named switch each; the defaults are the documented behaviour (section 16).

Everybody reads `venue.switches.X` at the moment of use, so a switch that is turned while serving holds from the next step on.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec

from soloist_exchange.errors import ExchangeError

__all__ = ["Switch", "Switches", "described", "parse", "value_text"]

Duration = Annotated[int, msgspec.Meta(ge=0)]


class Switches(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One value per open question. See `described` for what each one means."""

    clock_past_ms: Duration = 20_000
    clock_future_ms: Duration = 20_000
    pss_salt: Literal["strict", "any"] = "strict"
    post_only_cross: Literal["reject", "cancel"] = "reject"
    group_trigger: Literal["reached", "exceeded"] = "reached"
    group_auto_cancel_when_triggered: bool = True
    reduce_only: Literal["immediate_or_cancel", "any"] = "immediate_or_cancel"
    fill_or_kill: Literal["cancel", "reject"] = "cancel"
    bucket_capacity: Literal["documented", "1s", "2s", "3s"] = "documented"
    # The only balance ever recorded after a fee is 98.0186: not whole cents, and the fee of 1 @ 0.52 was 0.0175 where whole cents
    # would have made it 0.02. So the account that was seen was a direct member's.
    fee_precision: Literal["direct", "indirect"] = "direct"
    fee_step: Literal["0.0001", "0.000001"] = "0.0001"
    orderbook_auth: Literal["none", "required"] = "none"
    empty_book_key: Literal["orderbook_fp", "orderbook"] = "orderbook_fp"
    last_cursor: Literal["empty", "null", "absent"] = "empty"
    cancel_reply_client_order_id: bool = True
    repeat_subscribe: Literal["same_sid", "error_6"] = "same_sid"
    client_order_id_scope: Literal["account", "subaccount"] = "account"
    zero_fill_ioc_uses_id: bool = True
    reduce_to_zero: Literal["cancel", "reject"] = "cancel"
    deleted_key_ends_websocket: bool = True
    market_inactive_status: Literal[400, 409] = 400
    v1_status: Literal[410, 200] = 410
    auto_routed_bills_all_shards: bool = False
    ping_when_busy: bool = True
    cancel_all_lag_ms: Duration = 0
    cancel_all_tail_ms: Duration = 0
    cancel_all_cost: Literal["2", "batch"] = "2"
    read_model_lag_ms: Duration = 0
    revocation_delay_ms: Duration = 0
    key_list_lag_ms: Duration = 0
    exchange_status_fields: Literal["all", "two"] = "all"
    wrong_shard_cancel: Literal["not_found", "route"] = "not_found"
    settled_positions: Literal["kept", "removed"] = "kept"
    live_window_ms: Duration = 90 * 24 * 3600 * 1000


# Name: section of kalshi-api.md, and what the switch decides.
_MEANINGS: Final = {
    "clock_past_ms": ("2", "how old the timestamp of a signed request may be"),
    "clock_future_ms": ("2", "how far ahead of the venue the timestamp of a signed request may be"),
    "pss_salt": ("2", "RSA-PSS salt: 32 bytes exactly, or any length"),
    "post_only_cross": (
        "8.1",
        "a post-only order that would cross: refused, or accepted and cancelled with PostOnlyCrossCancel",
    ),
    "group_trigger": (
        "9",
        "an order group triggers when its matched contracts reach the limit, or only beyond it",
    ),
    "group_auto_cancel_when_triggered": ("9", "is_auto_cancel_enabled of a triggered order group"),
    "reduce_only": (
        "8.1",
        "reduce-only goes with immediate_or_cancel alone, or with every time in force",
    ),
    "fill_or_kill": (
        "8.1",
        "a fill-or-kill order that cannot fill ends cancelled, or is refused (FOK_INSUFFICIENT_VOLUME)",
    ),
    "bucket_capacity": ("4", "capacity of the token buckets: as documented per tier, or 1, 2 or 3 seconds"),
    "fee_precision": (
        "12",
        "a fee moves a balance in steps of 0.0001 dollar (direct members) or 0.01 dollar (everybody else)",
    ),
    "fee_step": ("12", "step, in dollars, to which a trade fee is rounded up"),
    "orderbook_auth": ("6", "whether reading an order book needs a signature"),
    "empty_book_key": ("6", "key of an empty order book in a REST reply"),
    "last_cursor": ("3.4", "cursor of the last page: an empty text, null, or absent"),
    "cancel_reply_client_order_id": ("8.2", "whether the reply to a cancel carries client_order_id"),
    "repeat_subscribe": (
        "13.2",
        "a second subscribe to a channel: acknowledged with the same sid, or error 6",
    ),
    "client_order_id_scope": ("8.1", "a client order id is unique per account, or per subaccount"),
    "zero_fill_ioc_uses_id": (
        "8.1",
        "whether an immediate-or-cancel or fill-or-kill order without a fill uses up its client order id",
    ),
    "reduce_to_zero": ("8.4", "decrease to 0: cancels the order, or is refused"),
    "deleted_key_ends_websocket": ("10", "whether deleting a key ends its open WebSocket connections"),
    "market_inactive_status": ("3.3", "HTTP status of MARKET_INACTIVE"),
    "v1_status": ("8.7", "HTTP status of the legacy write paths"),
    "auto_routed_bills_all_shards": (
        "4",
        "an auto-routed write draws from the bucket of every shard, or from the unscoped one only",
    ),
    "ping_when_busy": ("13.1", "whether the server pings a connection on which frames flow"),
    "cancel_all_lag_ms": ("8.6", "how long a cancel-all takes to begin"),
    "cancel_all_tail_ms": (
        "8.6",
        "orders that come to rest this long after a cancel-all are cancelled, too",
    ),
    "cancel_all_cost": ("4", "tokens of a cancel-all: 2, or those of the largest batch"),
    "read_model_lag_ms": ("3.5", "how far the portfolio reads are behind the matching engine"),
    "revocation_delay_ms": ("10", "how long a deleted key still works"),
    "key_list_lag_ms": ("10", "how far the list of API keys is behind"),
    "exchange_status_fields": (
        "6",
        "the exchange's status with every documented field, or with the two that demo sent",
    ),
    "wrong_shard_cancel": ("8.2", "a cancel that names no shard of another shard's order: 404, or routed"),
    "settled_positions": ("16", "whether the position list keeps what is settled"),
    "live_window_ms": ("6", "how long the live reads show what is over; older rows are under /historical"),
}


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch as it is shown: `section` of the contract, the value and the choices as texts."""

    name: str
    value: str
    choices: tuple[str, ...]
    section: str
    meaning: str


def described(switches: Switches | None = None) -> list[Switch]:
    """Return every switch with its value, by default the documented one."""
    current = switches or Switches()
    return [
        Switch(
            name,
            value_text(getattr(current, name)),
            _choices(field.type),
            *_MEANINGS[name],
        )
        for field in msgspec.structs.fields(Switches)
        for name in (field.name,)
    ]


def parse(assignments: Iterable[str], base: Switches) -> Switches:
    """Return `base` with texts such as "post_only_cross=cancel" applied. Raises ExchangeError naming the switch and its choices."""
    shown = {switch.name: switch for switch in described()}
    values = msgspec.structs.asdict(base)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        switch = shown.get(name.strip())
        if switch is None or not equals:
            raise ExchangeError(
                f"switch {assignment!r}: write NAME=VALUE with one of the names {', '.join(sorted(shown))}"
            )
        values[switch.name] = _value(switch, text.strip())
    return msgspec.convert(values, Switches)


def value_text(value: object) -> str:
    """Return a switch's value as `parse` reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(switch: Switch, text: str) -> object:
    field = next(item for item in msgspec.structs.fields(Switches) if item.name == switch.name)
    for choice in getattr(field.type, "__args__", ()):
        if value_text(choice) == text:
            return choice
    if field.type is bool and text in switch.choices:
        return text == "true"
    if field.type == Duration and text.isascii() and text.isdigit():
        return int(text)
    raise ExchangeError(f"switch {switch.name}: {text!r} is not one of {', '.join(switch.choices)}")


def _choices(kind: object) -> tuple[str, ...]:
    if kind is bool:
        return ("true", "false")
    if kind == Duration:
        return ("milliseconds, 0 or more",)
    return tuple(value_text(choice) for choice in getattr(kind, "__args__", ()))
