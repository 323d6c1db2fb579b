"""A real `soloist-exchange serve` process for conformance cards: started, killed, restarted and ended by its process id."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
from soloist_exchange.exchange import create_account
from soloist_exchange.store import Store
from soloist_kalshi.numbers import money_from_dollars
from soloist_kalshi.orders import OrderClient
from soloist_kalshi.rest import RestClient
from soloist_kalshi.signing import KeyType, Signer

PROGRAM = str(Path(sys.executable).with_name("soloist-exchange"))
READY_S = 20.0
END_S = 10.0
LONGEST_ADVANCE_MS = 31 * 24 * 3600 * 1000


@dataclass(frozen=True)
class Account:
    """An account with its first, unrestricted key. `signer` is the same key, ready to sign."""

    name: str
    key_id: str
    pem: bytes
    signer: Signer


class ExchangeProcess:
    """One exchange: its addresses, its accounts and its admin API. A restart keeps state directory and ports."""

    def __init__(
        self,
        directory: Path,
        *,
        scenario: str = "static",
        seed: int = 7,
        tls: bool = True,
        clock: Literal["real", "virtual"] = "real",
        words: Iterable[str] = (),
    ) -> None:
        """Start it on free ports and wait until it says that it is ready; `words` are more of its command line."""
        self.directory = directory
        self.state_dir = directory / "state"
        self.log_file = directory / "exchange.log"
        self._is_virtual = clock == "virtual"
        self._virtual_ms = 0
        self._switches: dict[str, Any] | None = None
        self._paused: set[str] = set()
        self._options = ["--scenario", str(scenario), "--seed", str(seed), *([] if tls else ["--plain"])]
        self._options += ["--clock", "virtual", *words] if self._is_virtual else [*words]
        self._listen, self._admin_listen = "127.0.0.1:0", "127.0.0.1:0"
        self._process: subprocess.Popen[bytes] | None = None
        self.rest_url = self.ws_url = self.admin_url = ""
        # No certificates to load, which costs more than the call; no connection kept, which a kill would break.
        self._admin = httpx.Client(verify=False, timeout=5, limits=httpx.Limits(max_keepalive_connections=0))
        self.ca_file: str | None = None
        self.start()

    @property
    def pid(self) -> int:
        """The process id of the serving process."""
        assert self._process is not None, "the exchange does not run"
        return self._process.pid

    def start(self) -> None:
        """Start the process on the ports that it had before, if it had any."""
        assert self._process is None, "the exchange runs already"
        command = [
            PROGRAM, "serve", "--listen", self._listen, "--admin", self._admin_listen,
            "--state-dir", str(self.state_dir), *self._options,
        ]  # fmt: skip
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        said = json.loads(self._ready_line())
        self.rest_url, self.ws_url = said["rest_url"], said["ws_url"]
        self.ca_file, self.admin_url = said["ca_file"], said["admin_url"]
        self._listen = urlsplit(self.rest_url).netloc
        self._admin_listen = urlsplit(self.admin_url).netloc
        if self._is_virtual:
            self._virtual_ms = self.admin("health")["time_ms"]

    def now_ms(self) -> int:
        """Return the venue's time in Unix ms: this machine's, or the one that `advance` moves. Signatures go by this machine's."""
        return self._virtual_ms if self._is_virtual else time.time_ns() // 1_000_000

    def advance(self, milliseconds: int) -> None:
        """Move a virtual clock on; whatever falls due meanwhile has happened when this returns."""
        assert self._is_virtual, "a real clock moves by itself: ask for clock='virtual'"
        while milliseconds > 0:
            step_ms = min(milliseconds, LONGEST_ADVANCE_MS)
            self._virtual_ms = self.tell("clock", {"advance_ms": step_ms})["time_ms"]
            milliseconds -= step_ms

    def kill(self) -> None:
        """End it with SIGKILL: nothing in it can react."""
        assert self._process is not None, "the exchange does not run"
        self._process.kill()
        self._reap()

    def stop(self) -> int:
        """End it with SIGTERM and return its exit code; it has a few seconds, then it is killed and the test fails."""
        assert self._process is not None, "the exchange does not run"
        self._process.terminate()
        return self._reap()

    def restart(self) -> None:
        """Start it again on the same state and ports; one that still runs is killed first."""
        if self._process is not None:
            self.kill()
        self.start()

    def close(self) -> None:
        """End it if it runs, however the test went."""
        self._admin.close()
        if self._process is not None:
            self.stop()

    def create_account(
        self, name: str, balance: str = "10000.00", *, key_type: KeyType = "ed25519"
    ) -> Account:
        """Create an account in the state directory while the exchange serves, as its command line does."""
        store = Store(self.state_dir)
        try:
            money = money_from_dollars(balance)
            _, key_id, pem = create_account(store, name, money, key_type, self.now_ms())
        finally:
            store.close()
        return Account(name, key_id, pem, Signer.from_pem(key_id, pem))

    def create_account_by_hand(self, name: str, balance: str) -> tuple[int, dict[str, str], str]:
        """Create an account with the command line; return its exit code, what it printed, and what it complained of."""
        words = [
            "account",
            "create",
            name,
            "--balance",
            balance,
            "--print-key",
            "--state-dir",
            str(self.state_dir),
        ]
        done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=False, timeout=READY_S)
        return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr

    def rest(self, signer: Signer | None) -> RestClient:
        """The venue client's reads and API keys; use as `async with`."""
        return RestClient(self.rest_url, signer, ca_file=self.ca_file)

    def orders(self, signer: Signer) -> OrderClient:
        """The venue client's order path; use as `async with`."""
        return OrderClient(self.rest_url, signer, ca_file=self.ca_file)

    def admin(self, path: str, **query: object) -> Any:
        """GET a path below /admin as JSON, such as `admin("events", account="demo")`."""
        params = {name: str(value) for name, value in query.items()}
        reply = self._admin.get(f"{self.admin_url}/admin/{path}", params=params)
        assert reply.status_code == 200, f"GET /admin/{path}: {reply.status_code} {reply.text}"
        return reply.json()

    def tell(self, path: str, content: object, method: str = "POST") -> Any:
        """Send JSON to a path below /admin, such as `tell("pause", {"what": "trading", "active": False})`."""
        reply = self._admin.request(method, f"{self.admin_url}/admin/{path}", json=content)
        assert reply.is_success, f"{method} /admin/{path}: {reply.status_code} {reply.text}"
        return reply.json() if reply.content else None

    def switch(self, **switches: object) -> None:
        """Turn switches of the open questions, such as `switch(post_only_cross="cancel")`."""
        if self._switches is None:
            self._switches = self.admin("switches")
        self.tell("switches", switches, "PATCH")

    def market(self, ticker: str, do: str, **fields: object) -> None:
        """Do something to a market, such as `market(ticker, "determine", result="yes")`."""
        self.tell(f"markets/{ticker}/{do}", fields)

    def pause(self, what: Literal["trading", "exchange"], *, active: bool = False) -> None:
        """Pause trading or the whole exchange, or resume it."""
        self._paused.add(what)
        self.tell("pause", {"what": what, "active": active})

    def reset(self) -> None:
        """Take back faults, switches and pauses; books, accounts and time stay."""
        self.faults()
        if self._switches is not None:
            self.tell("switches", self._switches, "PATCH")
        for what in self._paused:
            self.tell("pause", {"what": what, "active": True})
        self._switches, self._paused = None, set()

    def faults(self, *faults: dict[str, object]) -> None:
        """Replace the faults in force; none takes them all away."""
        self.tell("faults", list(faults))

    def disconnect(self, account: str = "") -> int:
        """End the WebSocket connections of an account ("" = all) and return how many there were."""
        reply = self._admin.post(f"{self.admin_url}/admin/disconnect", params={"account": account})
        return int(reply.raise_for_status().json()["disconnected"])

    def account(self, name: str) -> Any:
        """What the exchange itself says about one account."""
        return next(item for item in self.admin("accounts")["accounts"] if item["account"] == name)

    def _ready_line(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], READY_S)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            self._process.kill()
            self._reap()
            raise AssertionError(
                f"the exchange was not ready within {READY_S:g} s: {self.log_file.read_text()[-2000:]}"
            )
        return line

    def _reap(self) -> int:
        process, self._process = self._process, None
        assert process is not None
        try:
            return process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the exchange did not end within {END_S:g} s; it was killed") from None
        finally:
            assert process.stdout is not None
            process.stdout.close()
