"""A bot whose process is killed and whose journal may be deleted: alone on its account, or one of two on subaccounts of one."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, fields
from pathlib import Path
from subprocess import run
from typing import Any

import yaml
from soloist_kalshi.messages import SubaccountTransfer
from soloist_trader.core.account import OPENING_BALANCE
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Booked, CashAdjusted, Intended, PositionAdopted, Slot
from soloist_trader.journal.reader import Tail, read_journal

from tests.conformance.engine.engine_processes import BIN, DEPOSIT, Account, Bot, Exchange

GUARDS = ("starts.json", "venue-attempts.json")
"""What slows a crash loop down is tested elsewhere; here it would only make the test wait."""
_MONEY_PER_CENT = 10_000
_HANDS = frozenset({"amend", "decrease", "cancel"})


@dataclass
class Share(Exchange):
    """The exchange as one subaccount of an account sees it."""

    subaccount: int = 0

    def events(self, account: str) -> list[dict[str, Any]]:
        """What happened to the orders of this subaccount, whoever did it."""
        own: set[str] = set()
        found = []
        for event in super().events(account):
            if event["kind"] == "accepted" and event["subaccount"] == self.subaccount:
                own.add(event["order_id"])
            if event.get("order_id") in own:
                found.append(event)
        return found

    def holdings(self, account: str) -> dict[str, Any]:
        """Positions and cash of this subaccount; the cash stands under "0", as that of an account without others."""
        held = super().holdings(account)
        own = [row for row in held["positions"] if row["subaccount"] == self.subaccount]
        return {**held, "positions": own, "cash": {"0": held["cash"][str(self.subaccount)]}}


class KilledBot(Bot):
    """What it intended in journals that were deleted is remembered here."""

    def __init__(self, directory: Path, exchange: Share, account: Account, **parameters: Any) -> None:
        self.share = exchange
        self.claim = f"kill{exchange.subaccount:02d}"
        self.remembered: dict[str, Slot] = {}
        self.was_deleted = False
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(directory, exchange, account, **parameters)

    def write_config(self, parameters: dict[str, Any], mode: str = "Live") -> None:
        super().write_config(parameters, mode)
        document = yaml.safe_load(self.config.read_text())
        document["account"] |= {"subaccount": self.share.subaccount, "claim_hash": self.claim}
        self.config.write_text(yaml.safe_dump(document))

    def _records(self) -> list[Any]:
        tail = Tail()
        return [
            record for _, _, records in read_journal(self.state, tail, partial=True) for record in records
        ]

    def delete_journal(self) -> None:
        """Everything in the state directory goes, as when the volume is lost."""
        for record in self._records():
            if isinstance(record, Intended):
                slot = Slot(record.strategy, record.market, record.side, record.level)
                self.remembered[record.client_order_id] = slot
        for path in self.state.iterdir():
            if path.is_file():
                path.unlink()
        self.was_deleted = True

    def forget_crash_loop(self) -> None:
        """Let it start at once."""
        for name in GUARDS:
            (self.state / name).unlink(missing_ok=True)

    # -- judging

    def ledger(self) -> tuple[Ledger, dict[str, Slot]]:
        ledger, slots = super().ledger()
        return ledger, self.remembered | slots

    def judge(self) -> list[str]:
        """As any bot; and what came under its subaccount or was done with its key is all its own."""
        return super().judge() + self._judge_hands()

    def _judge_hands(self) -> list[str]:
        """No order of anybody else on its subaccount, and nothing touched that is not its own."""
        found, owners = [], {}
        for event in Exchange.events(self.share, self.account.name):
            kind, key_id = event["kind"], event.get("key_id")
            if kind == "accepted":
                owners[event["order_id"]] = key_id
                ours = event["client_order_id"].startswith(f"s{self.claim}-")
                here = event["subaccount"] == self.share.subaccount
                if len({ours, here, key_id == self.account.key_id}) > 1:
                    found.append(f"an order on the wrong subaccount: {event}")
            elif key_id == self.account.key_id and (
                kind == "cancel_all" or (kind in _HANDS and owners.get(event["order_id"]) != key_id)
            ):
                found.append(f"touched what is not its own: {event}")
        return found

    def _judge_money(self, ledger: Ledger) -> list[str]:
        found = self._judge_fees(ledger)
        if not self.was_deleted:
            return found + super()._judge_money(ledger)
        holdings = self.exchange.holdings(self.account.name)
        theirs = {row["ticker"]: row["count"] for row in holdings["positions"]}
        for market in theirs.keys() | ledger.positions.keys():
            count = f"{ledger.position(market).count / 100:.2f}"
            if count != theirs.get(market, "0.00"):
                found.append(f"{market}: position {count}, the exchange says {theirs.get(market)}")
        # What was paid before the deletion is in the opening balance: what the account's cash is now says it all.
        if ledger.cash_known and f"{ledger.expected_cash() / 1e6:.6f}" != holdings["cash"]["0"]:
            found.append(f"money {ledger.expected_cash()}, the exchange says {holdings['cash']}")
        strange = [
            record
            for record in self._records()
            if isinstance(record, CashAdjusted) and record.reason != OPENING_BALANCE
        ]
        return found + [f"unexplained cash: {record}" for record in strange]

    def _judge_fees(self, ledger: Ledger) -> list[str]:
        """What the exchange charged for each fill in this journal, alone: cash would hide a fee booked as something else."""
        booked: dict[tuple[str, str], str] = {}
        for record in self._records():
            if isinstance(record, Booked):
                booked[record.fill_id, record.order_id] = record.market
            elif isinstance(record, PositionAdopted):  # begins anew, and is the venue's word about all before
                booked = {fill: market for fill, market in booked.items() if market != record.market}
        charged = dict.fromkeys(ledger.positions, 0)
        for event in self.exchange.events(self.account.name):
            if event["kind"] == "filled" and (event["trade_id"], event["order_id"]) in booked:
                charged[booked.pop((event["trade_id"], event["order_id"]))] += event["fee"]
        found = [f"{market}: booked a fill that never was: {fill}" for fill, market in booked.items()]
        return found + [
            f"{market}: fees {ledger.position(market).fees}, the exchange charged {fee}"
            for market, fee in charged.items()
            if ledger.position(market).fees != fee
        ]


def make_bots(directory: Path, exchange: Exchange, name: str, count: int, parameters: Any) -> list[KilledBot]:
    """So many bots on one account, each on a subaccount of its own with a key of its own and as much money as one alone."""
    dollars = DEPOSIT * count // 1_000_000
    made = run(
        [
            BIN / "soloist-exchange", "account", "create", name, "--state-dir", exchange.state, "--tier", "premier",
            "--subaccounts", str(count - 1), "--balance", str(dollars),
        ],
        capture_output=True, check=True, text=True, timeout=30,
    )  # fmt: skip
    said = json.loads(made.stdout)
    first = Account(name, said["key_id"], Path(said["private_key_file"]).read_bytes())
    accounts = [first, *asyncio.run(_more_accounts(exchange, first, count - 1))]
    at_exchange = {field.name: getattr(exchange, field.name) for field in fields(Exchange)}
    return [
        KilledBot(directory / f"bot-{number}", Share(**at_exchange, subaccount=number), account, **parameters)
        for number, account in enumerate(accounts)
    ]


async def _more_accounts(exchange: Exchange, first: Account, count: int) -> list[Account]:
    accounts = []
    async with exchange.client(first) as client:
        for number in range(1, count + 1):
            transfer = SubaccountTransfer(
                client_transfer_id=f"00000000-0000-4000-8000-{number:012d}", from_subaccount=0, to_subaccount=number,
                amount_cents=DEPOSIT // _MONEY_PER_CENT,
            )  # fmt: skip
            await client.transfer(transfer)
            made = await client.generate_api_key(f"bot {number}")
            accounts.append(Account(first.name, made.api_key_id, made.private_key.encode()))
    return accounts
