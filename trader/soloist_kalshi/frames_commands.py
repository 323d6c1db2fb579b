"""Commands to the venue's WebSocket (section 13.2), as the client sends them and the exchange reads them."""

from typing import Annotated, Literal

import msgspec

from soloist_kalshi.messages_base import Body

__all__ = [
    "Command",
    "CommandId",
    "ListSubscriptionsCommand",
    "SubscribeCommand",
    "SubscribeParams",
    "UnsubscribeCommand",
    "UnsubscribeParams",
    "UpdateAction",
    "UpdateSubscriptionCommand",
    "UpdateSubscriptionParams",
]

CommandId = Annotated[int, msgspec.Meta(ge=1)]
UpdateAction = Literal["add_markets", "delete_markets", "get_snapshot"]


class SubscribeParams(Body, frozen=True, kw_only=True):
    """Params of subscribe: one of the four market fields at most; ids go with the channel ticker only.

    `send_initial_snapshot` is for ticker, `use_yes_price` for orderbook_delta; `skip_ticker_ack` leaves the markets out of `ok` replies.
    """

    channels: list[str]
    market_ticker: str | None = None
    market_tickers: list[str] | None = None
    market_id: str | None = None
    market_ids: list[str] | None = None
    send_initial_snapshot: bool | None = None
    skip_ticker_ack: bool | None = None
    use_yes_price: bool | None = None
    user_filter: str | None = None
    shard_factor: int | None = None
    shard_key: int | None = None
    index_ids: list[str] | None = None
    underlying_tickers: list[str] | None = None


class UnsubscribeParams(Body, frozen=True, kw_only=True):
    """Params of unsubscribe."""

    sids: list[int]


class UpdateSubscriptionParams(Body, frozen=True, kw_only=True):
    """Params of update_subscription: exactly one sid, as `sid` or in `sids`, and one of the four market fields."""

    action: UpdateAction
    sid: int | None = None
    sids: list[int] | None = None
    market_ticker: str | None = None
    market_tickers: list[str] | None = None
    market_id: str | None = None
    market_ids: list[str] | None = None
    send_initial_snapshot: bool | None = None


class SubscribeCommand(Body, frozen=True, kw_only=True, tag_field="cmd", tag="subscribe"):
    """Subscribe to channels; each channel answers with its own `subscribed`."""

    id: CommandId
    params: SubscribeParams


class UnsubscribeCommand(Body, frozen=True, kw_only=True, tag_field="cmd", tag="unsubscribe"):
    """End subscriptions."""

    id: CommandId
    params: UnsubscribeParams


class UpdateSubscriptionCommand(Body, frozen=True, kw_only=True, tag_field="cmd", tag="update_subscription"):
    """Add or delete markets of a subscription, or ask for snapshots."""

    id: CommandId
    params: UpdateSubscriptionParams


class ListSubscriptionsCommand(Body, frozen=True, kw_only=True, tag_field="cmd", tag="list_subscriptions"):
    """List the subscriptions of the connection."""

    id: CommandId


Command = SubscribeCommand | UnsubscribeCommand | UpdateSubscriptionCommand | ListSubscriptionsCommand
