"""The fence's machines against a real exchange process: real TLS, real signatures, real keys; only the cluster is in memory."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from soloist_fence.attempt import Attempt
from soloist_fence.commands import (
    Command,
    CreateSecret,
    DeleteSecret,
    PatchSecret,
    ReadClaim,
    ReadLease,
)
from soloist_fence.driver import World as RealWorld
from soloist_fence.driver import boottime_ms
from soloist_fence.venue import Venue
from soloist_kalshi.rest_keys import KeyClient
from soloist_kalshi.signing import Signer

from tests.unit.soloist_fence.fence_world import CLUSTER_ID, World, attempt_of

REVOCATION_BOUND_MS = 100
PROGRAM = str(Path(sys.executable).with_name("soloist-exchange"))
_IN_MEMORY = (ReadClaim, ReadLease, CreateSecret, PatchSecret, DeleteSecret)


@dataclass(frozen=True)
class Exchange:
    """A running `soloist-exchange serve`."""

    rest_url: str
    websocket_url: str
    ca_file: str
    admin_url: str
    state_dir: Path

    def account(self, name: str) -> Signer:
        """Create an account and return its management key, as a person does; its tier lets cards follow each other fast."""
        words = ["account", "create", name, "--state-dir", str(self.state_dir), "--print-key"]
        words += ["--tier", "prestige"]
        printed = subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=True).stdout
        made = json.loads(printed.splitlines()[-1])
        return Signer.from_pem(made["key_id"], made["private_key"].encode())

    def faults(self, *faults: dict[str, Any]) -> None:
        """Replace the faults in force."""
        httpx.post(f"{self.admin_url}/admin/faults", json=list(faults), timeout=5).raise_for_status()

    def switches(self, **switches: Any) -> None:
        """Turn switches of the exchange; the documented behaviour is back with the same names and their old values."""
        httpx.patch(f"{self.admin_url}/admin/switches", json=switches, timeout=5).raise_for_status()

    def client(self, signer: Signer) -> KeyClient:
        """A client of the REST interface."""
        return KeyClient(self.rest_url, signer, ca_file=self.ca_file)


@contextlib.contextmanager
def serving(state_dir: Path) -> Iterator[Exchange]:
    """Run an exchange until the block ends."""
    command = [
        PROGRAM, "serve", "--scenario", "static", "--seed", "7",
        "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state-dir", str(state_dir),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the exchange ended at once"
            said = json.loads(line)
            yield Exchange(said["rest_url"], said["ws_url"], said["ca_file"], said["admin_url"], state_dir)
        finally:
            process.terminate()
            process.wait(timeout=15)


class Bench:
    """Performs venue commands at the exchange and cluster commands in a World; counts and can die at any of them."""

    def __init__(self, exchange: Exchange, management_key: Signer, world: World) -> None:
        self.exchange = exchange
        self.management_key = management_key
        self.world = world
        self.performed: list[Command[Any]] = []
        self.venue = Venue(exchange.rest_url, exchange.ca_file, management_key, 0)

    async def perform(self, command: Command[Any]) -> Any:
        self.performed.append(command)
        if isinstance(command, _IN_MEMORY):
            return self.world.answer(command)
        return await RealWorld(self.venue, None).perform(command)

    def attempt(self, **changes: Any) -> Attempt:
        """The attempt that the world's claim names, with this account's management key and the real clock."""
        fixed = {
            "authenticating_key_id": self.management_key.key_id,
            "revocation_bound_ms": REVOCATION_BOUND_MS,
            "deadline_ms": boottime_ms() + 60_000,
            "cluster_id": CLUSTER_ID,
        }
        return attempt_of(self.world.claim, self.world, **(fixed | changes))

    async def accepted(self) -> set[str]:
        """Ids of the keys that the venue lists, the management key aside."""
        return {key.key_id for key in await self.venue.list_keys()} - {self.management_key.key_id}

    def signer(self, key_id: str) -> Signer:
        """A published key, ready to sign."""
        for secret in self.world.secrets.values():
            for slot in secret.slots:
                if slot.key_id == key_id:
                    return Signer.from_pem(key_id, slot.private_key_pem.encode())
        raise AssertionError(f"{key_id} is in no epoch Secret")
