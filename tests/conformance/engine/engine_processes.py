"""The real engine process against the real exchange process, and the exchange's log as the judge."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml
from soloist_kalshi.rest import RestClient
from soloist_kalshi.signing import Signer
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import Intended, Slot
from soloist_trader.journal.reader import Tail, read_journal

from tests.support import eventually

PATIENCE_S = 30.0
"""How long a card waits for what must come: no budget, the machine may be busy with others."""
BIN = Path(sys.executable).parent
DEPOSIT = 10_000_000_000
TICKERS = ["SIM-RAIN", "SIM-WIND", "SIM-SNOW", "SIM-HEAT", "SIM-FROST"]
CLAIM = "confor"
ORDERS_PATH = "/portfolio/events/orders"
BUSY = {
    "entry": "cross",
    "minimum_probability": "0.05",
    "maximum_probability": "0.95",
    "maximum_spread_dollars": "0.10",
    "order_contracts": "1.00",
    "take_profit_dollars": "0.02",
    "stop_loss_dollars": "0.05",
    "maximum_hold_seconds": 1,
    "cooldown_seconds": 0.1,
}


@dataclass
class Account:
    """An account of the exchange and its first key."""

    name: str
    key_id: str
    pem: bytes

    @property
    def signer(self) -> Signer:
        return Signer.from_pem(self.key_id, self.pem)


@dataclass
class Exchange:
    """A running exchange."""

    state: Path
    rest_url: str
    websocket_url: str
    ca_file: str
    admin_url: str

    def admin(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.admin_url}/admin/{path}", data=data, timeout=10) as reply:
            return json.load(reply)

    def account(self, name: str) -> Account:
        made = subprocess.run(
            [BIN / "soloist-exchange", "account", "create", name, "--state-dir", self.state],
            capture_output=True, check=True, text=True, timeout=30,
        )  # fmt: skip
        said = json.loads(made.stdout)
        return Account(name, said["key_id"], Path(said["private_key_file"]).read_bytes())

    def events(self, account: str) -> list[dict[str, Any]]:
        return self.admin(f"events?account={account}")["events"]

    def accepted(self, account: str) -> list[dict[str, Any]]:
        return [event for event in self.events(account) if event["kind"] == "accepted"]

    def holdings(self, account: str) -> dict[str, Any]:
        return next(row for row in self.admin("accounts")["accounts"] if row["account"] == account)

    def faults(self, *faults: dict[str, Any]) -> None:
        self.admin("faults", list(faults))

    def client(self, account: Account) -> RestClient:
        return RestClient(self.rest_url, account.signer, ca_file=self.ca_file)


@contextmanager
def serving(directory: Path, scenario: str = "demo") -> Iterator[Exchange]:
    """An exchange with a scenario, by name or file, on free ports."""
    state = directory / "exchange"
    log = (directory / "exchange.log").open("wb")
    process = subprocess.Popen(
        [
            BIN / "soloist-exchange", "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
            "--state-dir", state, "--scenario", scenario,
        ],
        stdout=subprocess.PIPE, stderr=log, text=True,
    )  # fmt: skip
    log.close()
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        yield Exchange(state, said["rest_url"], said["ws_url"], said["ca_file"], said["admin_url"])
    finally:
        process.terminate()
        process.wait(timeout=20)
        if process.stdout is not None:
            process.stdout.close()


class Bot:
    """One bot: its directory of configuration, keys and state, and the processes that run it one after the other."""

    def __init__(self, directory: Path, exchange: Exchange, account: Account, **parameters: Any) -> None:
        self.directory = directory
        self.exchange = exchange
        self.account = account
        self.keys = directory / "keys"
        self.state = directory / "state"
        self.config = directory / "config.yaml"
        self.runs = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.write_secret({1: (account.key_id, account.pem)})
        self.write_config(parameters)

    def write_config(self, parameters: dict[str, Any], mode: str = "Live") -> None:
        document = {
            "version": 1,
            "bot": {"namespace": "tests", "name": self.account.name},
            "mode": mode,
            "venue": {
                "name": "simulator",
                "rest_url": self.exchange.rest_url,
                "websocket_url": self.exchange.websocket_url,
                "ca_file": self.exchange.ca_file,
            },
            "account": {"subaccount": 0, "claim_hash": CLAIM, "epoch": 3},
            "markets": {"tickers": TICKERS, "series": []},
            "strategy": {"name": "threshold", "parameters": {**BUSY, **parameters}},
            "risk": {
                "max_order_contracts": "5.00",
                "max_position_contracts": "20.00",
                "max_exposure_dollars": "100.00",
                "max_open_orders": 20,
                "daily_loss_dollars": "2000.00",
            },
        }
        if mode != "Live":
            del document["account"]
        self.config.write_text(yaml.safe_dump(document))

    def write_secret(self, slots: dict[int, tuple[str, bytes]]) -> None:
        """Write the Secret as its volume shows it, and copy it as the pod's init container and watchdog do."""
        secret = self.directory / f"secret-{len(list(self.directory.glob('secret-*')))}"
        secret.mkdir(parents=True)
        (secret / "epoch").write_text("3")
        (secret / "generation").write_text(str(max(slots)))
        for generation, (key_id, pem) in slots.items():
            (secret / f"g{generation}.key-id").write_text(key_id)
            (secret / f"g{generation}.private-key.pem").write_bytes(pem)
        subprocess.run(
            [BIN / "soloist-trader", "keys", "--from", secret, "--to", self.keys], check=True, timeout=30,
            capture_output=True,
        )  # fmt: skip

    # -- process

    @property
    def log_file(self) -> Path:
        return self.directory / f"engine-{self.runs}.log"

    def start(self) -> None:
        self.runs += 1
        command = [
            BIN / "soloist-trader", "run", "--config", self.config, "--keys", self.keys, "--state-dir", self.state,
            "--admin", "127.0.0.1:0",
        ]  # fmt: skip
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("KUBERNETES", "POD_"))
        }
        with self.log_sink() as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)

    def log_sink(self) -> IO[bytes]:
        """Where the next process writes its log; the process has a copy, so this one is closed."""
        return self.log_file.open("wb")

    def log(self) -> list[dict[str, Any]]:
        lines = self.log_file.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def logged(self, event: str) -> dict[str, Any] | None:
        return next((line for line in self.log() if line["event"] == event), None)

    def wait_logged(self, event: str, deadline_s: float = PATIENCE_S) -> dict[str, Any]:
        return eventually(
            lambda: self.logged(event) or self._ended(), deadline_s, lambda: f"no {event}:\n{self.log_file.read_text()}",
            interval_s=0.02,
        )  # fmt: skip

    def _ended(self) -> None:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(
                f"the engine ended with {self.process.returncode}:\n{self.log_file.read_text()}"
            )

    def start_and_wait(self) -> None:
        self.start()
        self.wait_logged("Ready")

    def get(self, path: str) -> bytes:
        port = self.wait_logged("Serving")["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
            return reply.read()

    def status(self) -> dict[str, Any]:
        return json.loads(self.get("/status"))

    def status_when(
        self, condition: Callable[[dict[str, Any]], Any], deadline_s: float = PATIENCE_S
    ) -> dict[str, Any]:
        """The first status that meets a condition."""

        def seen() -> dict[str, Any] | None:
            status = self.status()
            return status if condition(status) else None

        return eventually(seen, deadline_s, lambda: json.dumps(self.status(), indent=1)) or {}

    def ctl(self, *arguments: str, refused: bool = False) -> dict[str, Any]:
        """Ask the running engine; its answer, or what it refused."""
        done = subprocess.run(
            [BIN / "soloist-trader", "ctl", *arguments, "--state-dir", self.state, "--actor", "tester"],
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == int(refused), done.stderr + self.log_file.read_text()[-2000:]
        return {"message": done.stderr} if refused else json.loads(done.stdout)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=10)

    def terminate(self, deadline_s: float = PATIENCE_S) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=deadline_s)

    def wait_exit(self, deadline_s: float = PATIENCE_S) -> int:
        assert self.process is not None
        return self.process.wait(timeout=deadline_s)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    # -- judging

    def ledger(self) -> tuple[Ledger, dict[str, Slot]]:
        """The journal as state, and the slot of every order that was ever intended."""
        ledger, slots = Ledger(), {}
        for _, _, records in read_journal(self.state, Tail()):
            for record in records:
                ledger.apply(record)
                if isinstance(record, Intended):
                    slots[record.client_order_id] = Slot(
                        record.strategy, record.market, record.side, record.level
                    )
        return ledger, slots

    def judge(self) -> list[str]:
        """What the exchange's log says against this bot, once it has stopped."""
        found: list[str] = []
        ledger, slots = self.ledger()
        live: dict[Slot, str] = {}
        for event in self.exchange.events(self.account.name):
            name = event["client_order_id"]
            if event["kind"] == "accepted":
                if name not in slots:
                    found.append(f"{name} was accepted and never intended")
                    continue
                holder = live.setdefault(slots[name], name)
                if holder != name:
                    found.append(f"{holder} and {name} were live in {slots[name]} at once")
            elif event["kind"] == "closed" and live.get(slots.get(name)) == name:
                del live[slots[name]]
        found += [f"{name} rests" for name in live.values()]
        found += [f"{order.client_order_id} is {order.label}" for order in ledger.unsettled()]
        found += [f"{market} halted: {why}" for market, why in ledger.halts.items()]
        return found + self._judge_money(ledger)

    def _judge_money(self, ledger: Ledger) -> list[str]:
        found = []
        holdings = self.exchange.holdings(self.account.name)
        theirs = {row["ticker"]: row for row in holdings["positions"]}
        for market in theirs.keys() | ledger.positions.keys():
            position = ledger.position(market)
            ours = (f"{position.count / 100:.2f}", f"{position.fees / 1e6:.6f}")
            row = theirs.get(market, {"count": "0.00", "fees": "0.000000"})
            if ours != (row["count"], row["fees"]):
                found.append(f"{market}: position and fees {ours}, the exchange says {row}")
        cash = DEPOSIT + sum(position.cash - position.fees for position in ledger.positions.values())
        if f"{cash / 1e6:.6f}" != holdings["cash"]["0"]:
            found.append(f"money {cash}, the exchange says {holdings['cash']}")
        return found
