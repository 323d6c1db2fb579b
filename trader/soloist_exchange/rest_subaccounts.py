"""Subaccounts, and money that moves between them and between shards (section 11)."""

import uuid
from typing import Annotated

import msgspec
from soloist_kalshi import messages

from soloist_exchange import rest_query as query
from soloist_exchange.ledger import CENT
from soloist_exchange.rest_call import Reply, Request, bad_request, call, decode, not_found, page
from soloist_exchange.rest_windows import collect
from soloist_exchange.store_rows import Range, TransferRow
from soloist_exchange.wire import MONEY_PER_PRICE, dollars

__all__ = ["ROUTES"]

SUBACCOUNT = "/portfolio/subaccounts"
INTRA = "/portfolio/intra_exchange_instance_transfer"
TRANSFERS_PER_PAGE = 500
PREDICTIONS = "event_contract"

Positive = Annotated[int, msgspec.Meta(gt=0)]
Shard = Annotated[int, msgspec.Meta(ge=0, le=100)]


class _Open(msgspec.Struct):
    """Body of POST /portfolio/subaccounts: money is kept per shard, and no shard needs a subaccount of its own here."""

    exchange_index: Shard = 0


class _Transfer(msgspec.Struct):
    """Body of POST /portfolio/subaccounts/transfer."""

    client_transfer_id: str
    from_subaccount: int
    to_subaccount: int
    amount_cents: Positive
    exchange_index: Shard = 0


class _IntraTransfer(msgspec.Struct):
    """Body of POST /portfolio/intra_exchange_instance_transfer; `amount` is in 1/10 000 dollar."""

    source: str
    destination: str
    amount: Positive
    source_exchange_shard: Shard = 0
    destination_exchange_shard: Shard = 0
    source_subaccount: int = 0
    destination_subaccount: int = 0


# ---------------------------------------------------------------------- subaccounts


def open_subaccount(request: Request) -> Reply:
    """POST /portfolio/subaccounts: the next number, from 1 to 63."""
    query.require_unrestricted(request)
    if request.body.strip():
        decode(request.body, _Open)
    number = request.exchange.open_subaccount(request.sender.account_id)
    return 201, messages.CreateSubaccountReply(subaccount_number=number)


def list_balances(request: Request) -> Reply:
    """GET /portfolio/subaccounts/balances: one row per subaccount and shard with money, and shard 0 of every subaccount."""
    query.require_unrestricted(request)
    exchange, account_id = request.exchange, request.sender.account_id
    rows = [
        messages.SubaccountBalance(
            subaccount_number=subaccount,
            exchange_index=shard,
            balance=dollars(money),
            updated_ts=exchange.as_of_ms() // 1000,
        )
        for subaccount in range(exchange.subaccounts(account_id) + 1)
        for shard, money in sorted(exchange.balances_view(account_id, subaccount).items())
    ]
    return 200, messages.SubaccountBalances(subaccount_balances=rows)


def list_netting(request: Request) -> Reply:
    """GET /portfolio/subaccounts/netting."""
    query.require_unrestricted(request)
    exchange, account_id = request.exchange, request.sender.account_id
    netting = exchange.netting(account_id)
    rows = [
        messages.SubaccountNetting(subaccount_number=number, enabled=number in netting, exchange_index=0)
        for number in range(exchange.subaccounts(account_id) + 1)
    ]
    return 200, messages.SubaccountNettingList(netting_configs=rows)


def set_netting(request: Request) -> Reply:
    """PUT /portfolio/subaccounts/netting: kept and told; positions of this exchange always net within a subaccount."""
    query.require_unrestricted(request)
    wanted = decode(request.body, messages.SubaccountNetting)
    _require_open(request, wanted.subaccount_number)
    request.exchange.set_netting(request.sender.account_id, wanted.subaccount_number, enabled=wanted.enabled)
    return 200, messages.Empty()


def _require_open(request: Request, *numbers: int) -> None:
    highest = request.exchange.subaccounts(request.sender.account_id)
    for number in numbers:
        if not 0 <= number <= highest:
            raise bad_request(f"subaccount {number} is not open")


# ---------------------------------------------------------------------- transfers


def transfer(request: Request) -> Reply:
    """POST /portfolio/subaccounts/transfer, on one shard; a client_transfer_id moves money once, for good (409)."""
    query.require_unrestricted(request)
    wanted = decode(request.body, _Transfer)
    if not wanted.client_transfer_id:
        raise bad_request("client_transfer_id is empty")
    _require_open(request, wanted.from_subaccount, wanted.to_subaccount)
    request.exchange.transfer(
        request.sender.account_id,
        client_transfer_id=wanted.client_transfer_id,
        from_subaccount=wanted.from_subaccount,
        to_subaccount=wanted.to_subaccount,
        exchange_index_from=wanted.exchange_index,
        exchange_index_to=wanted.exchange_index,
        money=wanted.amount_cents * CENT,
    )
    return 200, messages.Empty()


def list_transfers(request: Request) -> Reply:
    """GET /portfolio/subaccounts/transfers, newest first: those that stayed on one shard."""
    query.require_unrestricted(request)
    rows, cursor = _transfers(request, query.limit(request), is_intra=False)
    shown = [
        messages.TransferRecord(
            transfer_id=row.client_transfer_id,
            from_subaccount=row.from_subaccount,
            to_subaccount=row.to_subaccount,
            amount_cents=row.money // CENT,
            created_ts=row.time_ms // 1000,
            exchange_index=row.exchange_index_from,
        )
        for row in rows
    ]
    return page(request, "transfers", shown, cursor)


def intra_transfer(request: Request) -> Reply:
    """POST /portfolio/intra_exchange_instance_transfer: between shards, here in one step. Perpetuals are not part of this exchange."""
    query.require_unrestricted(request)
    wanted = decode(request.body, _IntraTransfer)
    if (wanted.source, wanted.destination) != (PREDICTIONS, PREDICTIONS):
        raise bad_request(f"source and destination must be {PREDICTIONS}")
    if wanted.source_exchange_shard == wanted.destination_exchange_shard:
        raise bad_request("source_exchange_shard and destination_exchange_shard are the same")
    _require_open(request, wanted.source_subaccount, wanted.destination_subaccount)
    transfer_id = str(uuid.uuid4())
    request.exchange.transfer(
        request.sender.account_id,
        client_transfer_id=transfer_id,
        from_subaccount=wanted.source_subaccount,
        to_subaccount=wanted.destination_subaccount,
        exchange_index_from=wanted.source_exchange_shard,
        exchange_index_to=wanted.destination_exchange_shard,
        money=wanted.amount * MONEY_PER_PRICE,
    )
    return 200, messages.ShardTransferReply(transfer_id=transfer_id)


def list_intra_transfers(request: Request) -> Reply:
    """GET /portfolio/intra_exchange_instance_transfers, newest first."""
    query.require_unrestricted(request)
    rows, cursor = _transfers(request, query.limit(request, most=TRANSFERS_PER_PAGE), is_intra=True)
    return page(request, "transfers", [_intra(row) for row in rows], cursor)


def get_intra_transfer(request: Request) -> Reply:
    """GET /portfolio/intra_exchange_instance_transfers/{transfer_id}."""
    query.require_unrestricted(request)
    wanted = Range(limit=TRANSFERS_PER_PAGE)
    exchange, account_id = request.exchange, request.sender.account_id
    found, _ = collect(
        lambda asked: exchange.store.transfers(account_id, asked),
        wanted,
        lambda row: row.number,
        lambda row: _is_intra(row) and row.client_transfer_id == request.match["transfer_id"],
    )
    if not found:
        raise not_found()
    return 200, messages.ShardTransferRecordReply(transfer=_intra(found[0]))


def _transfers(request: Request, limit: int, *, is_intra: bool) -> tuple[list[TransferRow], int | None]:
    exchange, account_id = request.exchange, request.sender.account_id
    return collect(
        lambda asked: exchange.store.transfers(account_id, asked),
        Range(limit=limit, before=query.cursor(request)),
        lambda row: row.number,
        lambda row: _is_intra(row) is is_intra,
    )


def _is_intra(row: TransferRow) -> bool:
    return row.exchange_index_from != row.exchange_index_to


def _intra(row: TransferRow) -> messages.ShardTransferRecord:
    return messages.ShardTransferRecord(
        transfer_id=row.client_transfer_id,
        source=PREDICTIONS,
        destination=PREDICTIONS,
        source_exchange_shard=row.exchange_index_from,
        destination_exchange_shard=row.exchange_index_to,
        amount=dollars(row.money),
        status="complete",
        created_ts=row.time_ms // 1000,
    )


ROUTES = (
    call("POST", SUBACCOUNT, "CreateSubaccount", open_subaccount, scope="write::transfer"),
    call(
        "POST",
        f"{SUBACCOUNT}/transfer",
        "ApplySubaccountTransfer",
        transfer,
        scope="write::transfer",
    ),
    call("GET", f"{SUBACCOUNT}/transfers", "GetSubaccountTransfers", list_transfers),
    call("GET", f"{SUBACCOUNT}/balances", "GetSubaccountBalances", list_balances),
    call("GET", f"{SUBACCOUNT}/netting", "GetSubaccountNetting", list_netting),
    call("PUT", f"{SUBACCOUNT}/netting", "UpdateSubaccountNetting", set_netting, scope="write::transfer"),
    call("POST", INTRA, "IntraExchangeInstanceTransfer", intra_transfer, scope="write::transfer"),
    call("GET", f"{INTRA}s", "GetIntraExchangeInstanceTransfers", list_intra_transfers),
    call("GET", f"{INTRA}s/{{transfer_id}}", "GetIntraExchangeInstanceTransfer", get_intra_transfer),
)
