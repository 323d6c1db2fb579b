"""Order groups over REST (section 9)."""

from soloist_kalshi import messages
from soloist_kalshi.numbers import NumberError, count_from_text, count_to_text

from soloist_exchange import rest_query as query
from soloist_exchange.groups import Group
from soloist_exchange.rest_call import Reply, Request, bad_request, call, decode, not_found
from soloist_exchange.rest_orders import subaccount_of

__all__ = ["ROUTES"]

GROUPS = "/portfolio/order_groups"
COUNT_OF_ONE = 100


class _Create(messages.CreateOrderGroup, frozen=True, kw_only=True):
    contracts_limit_fp: str | None = None


class _Limit(messages.LimitOrderGroup, frozen=True, kw_only=True):
    contracts_limit_fp: str | None = None


def list_groups(request: Request) -> Reply:
    """GET /portfolio/order_groups; without any the reply is `{}`, as on the wire."""
    groups = request.exchange.venue.groups
    rows = [
        messages.OrderGroup(
            id=group.group_id,
            contracts_limit_fp=count_to_text(group.limit),
            is_auto_cancel_enabled=groups.is_auto_cancel_enabled(group),
            exchange_index=group.exchange_index,
        )
        for group in groups.of(request.sender.account_id, query.subaccount(request, None))
    ]
    return 200, messages.OrderGroupList(order_groups=rows or None)


def create_group(request: Request) -> Reply:
    """POST /portfolio/order_groups/create."""
    wanted = decode(request.body, _Create)
    subaccount, index = subaccount_of(request, wanted.subaccount), wanted.exchange_index or 0
    if index < 0:
        raise bad_request("exchange_index must be 0 or more")
    limit = _limit(wanted.contracts_limit, wanted.contracts_limit_fp)
    group = request.exchange.venue.groups.create(request.sender.account_id, subaccount, limit, index)
    return 201, messages.CreateOrderGroupReply(
        order_group_id=group.group_id, subaccount=subaccount, exchange_index=group.exchange_index
    )


def _limit(whole: int | None, text: str | None) -> int:
    """Return the limit (1/100 contract) that a body says once, or twice with the same meaning. Raises Refused."""
    if whole is None and text is None:
        raise bad_request("contracts_limit or contracts_limit_fp must be there")
    try:
        exact = None if text is None else count_from_text(text)
    except NumberError as error:
        raise bad_request(f"contracts_limit_fp: {error}") from None
    if exact is None:
        return (whole or 0) * COUNT_OF_ONE
    if whole is not None and whole * COUNT_OF_ONE != exact:
        raise bad_request("contracts_limit and contracts_limit_fp must match")
    return exact


def get_group(request: Request) -> Reply:
    """GET /portfolio/order_groups/{order_group_id}, of every subaccount unless one is named."""
    groups = request.exchange.venue.groups
    group = groups.find(request.sender.account_id, request.match["order_group_id"])
    if query.subaccount(request, None) not in {None, group.subaccount}:
        raise not_found()
    return 200, messages.OrderGroupReply(
        is_auto_cancel_enabled=groups.is_auto_cancel_enabled(group),
        contracts_limit_fp=count_to_text(group.limit),
        orders=[order.order_id for order in group.orders],
        exchange_index=group.exchange_index,
    )


def reset_group(request: Request) -> Reply:
    """PUT /portfolio/order_groups/{order_group_id}/reset."""
    request.exchange.venue.reset_group(_own_group(request))
    return 200, messages.Empty()


def trigger_group(request: Request) -> Reply:
    """PUT /portfolio/order_groups/{order_group_id}/trigger."""
    request.exchange.venue.trigger_group(_own_group(request))
    return 200, messages.Empty()


def limit_group(request: Request) -> Reply:
    """PUT /portfolio/order_groups/{order_group_id}/limit."""
    wanted = decode(request.body, _Limit)
    limit = _limit(wanted.contracts_limit, wanted.contracts_limit_fp)
    request.exchange.venue.limit_group(_own_group(request), limit)
    return 200, messages.Empty()


def delete_group(request: Request) -> Reply:
    """DELETE /portfolio/order_groups/{order_group_id}."""
    request.exchange.venue.delete_group(_own_group(request))
    return 200, messages.Empty()


def _own_group(request: Request) -> Group:
    """Return the group that a write means: of the primary subaccount and shard 0 unless others are named. Raises Refused 404."""
    group = request.exchange.venue.groups.find(request.sender.account_id, request.match["order_group_id"])
    subaccount, index = query.subaccount(request, 0), query.exchange_index(request, least=-1)
    reached = index if index is not None and index >= 0 else 0
    if (group.subaccount, group.exchange_index) != (subaccount, reached):
        raise not_found()
    return group


ROUTES = (
    call("GET", GROUPS, "GetOrderGroups", list_groups),
    call("POST", f"{GROUPS}/create", "CreateOrderGroup", create_group, scope="write::trade", write=True),
    call("GET", GROUPS + "/{order_group_id}", "GetOrderGroup", get_group),
    call(
        "DELETE",
        GROUPS + "/{order_group_id}",
        "DeleteOrderGroup",
        delete_group,
        scope="write::trade",
        write=True,
    ),
    *(
        call(
            "PUT",
            f"{GROUPS}/{{order_group_id}}/{verb}",
            operation,
            handle,
            scope="write::trade",
            write=True,
        )
        for verb, operation, handle in (
            ("reset", "ResetOrderGroup", reset_group),
            ("trigger", "TriggerOrderGroup", trigger_group),
            ("limit", "UpdateOrderGroupLimit", limit_group),
        )
    ),
)
