from __future__ import annotations

import asyncio
import json
import resource
from contextlib import contextmanager

import httpx
import pytest
from soloist_exchange import server
from soloist_exchange.clocks import VirtualClock
from soloist_exchange.errors import StateError
from soloist_exchange.router import Router
from soloist_exchange.server import Listening, encode_listening

from tests.unit.soloist_exchange.exchange_serving import exchange, frame, still_markets
from tests.unit.soloist_exchange.exchange_sockets import DEADLINE_S


def test_the_ready_line_is_one_line_of_json():
    line = encode_listening(
        Listening("https://h:1/trade-api/v2", "wss://h:1/trade-api/ws/v2", "/ca", "http://h:2")
    )
    assert "\n" not in line
    assert json.loads(line) == {
        "rest_url": "https://h:1/trade-api/v2",
        "ws_url": "wss://h:1/trade-api/ws/v2",
        "ca_file": "/ca",
        "admin_url": "http://h:2",
    }


@pytest.mark.parametrize("tls", [False, True])
async def test_port_zero_is_a_free_one_and_the_addresses_say_how(tmp_path, tls):
    async with exchange(tmp_path, tls=tls) as desk:
        said = desk.listening
        scheme = "s" if tls else ""
        host, port = desk.address
        assert said.rest_url == f"http{scheme}://{host}:{port}/trade-api/v2"
        assert said.ws_url == f"ws{scheme}://{host}:{port}/trade-api/ws/v2"
        assert (said.ca_file is None) == (not tls)
        assert port > 0
        assert (await desk.http.get(f"{said.rest_url}/exchange/status")).status_code == 200


async def test_tls_is_not_spoken_with_who_does_not_know_the_authority(tmp_path):
    async with exchange(tmp_path, tls=True) as desk, httpx.AsyncClient() as stranger:
        with pytest.raises(httpx.ConnectError):
            await stranger.get(f"{desk.listening.rest_url}/exchange/status")
        assert (await desk.http.get(f"{desk.listening.rest_url}/exchange/status")).status_code == 200


async def test_orders_and_money_outlive_the_process_and_a_stop_is_clean(tmp_path):
    async with exchange(tmp_path) as desk:
        user = desk.user("demo")
        made = (await user.create("M")).json()
    async with exchange(tmp_path) as desk:
        user.desk = desk
        found = await user.call("GET", f"/portfolio/orders/{made['order_id']}")
        assert found.json()["order"]["status"] == "resting"


def test_on_the_loop_that_it_serves_on(tmp_path):
    """Production runs on uvloop, whose TLS is its own; the other tests run on asyncio's loop."""
    said = []

    async def trade():
        async with exchange(tmp_path, tls=True) as desk:
            user = desk.user("demo")
            said.append((await user.create("M")).status_code)
            async with user.websocket("fill", tls=desk.tls) as socket:
                said.append((await user.create("M", "bid", "0.60")).status_code)
                said.append((await frame(socket, "fill"))["msg"]["count_fp"])
                await desk.faults({"kind": "truncated", "times": 1})
                with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
                    await user.create("M")
                for kind in ("connection_reset", "reply_lost_after"):
                    await desk.faults({"kind": kind, "times": 1})
                    with pytest.raises(httpx.TransportError):
                        await user.create("M")
                stopped = asyncio.ensure_future(socket.receive())
                await desk.admin("POST", "disconnect")
                said.append((await stopped).data)
            said.append(len((await desk.admin("GET", "accepted-orders"))["orders"]))

    server.run(trade())
    assert said == [201, 201, "1.00", 1000, 4]


async def test_a_port_that_is_taken_is_said_and_the_state_is_let_go(tmp_path):
    async with exchange(tmp_path / "one") as desk:
        _, port = desk.address
        options = server.Options(
            "127.0.0.1", port, "127.0.0.1", 0, tmp_path / "two", still_markets("M"), 1, None
        )
        with pytest.raises(OSError, match="address already in use"):
            await server.serve(options, lambda _: None, asyncio.Event())
    async with exchange(tmp_path / "two"):
        pass


async def test_an_exchange_whose_disk_is_full_tells_nobody_of_what_it_cannot_keep_and_ends(tmp_path):
    refused = []

    async def fill(desk):
        user = desk.user("demo", dollars=1_000_000)
        await desk.admin("POST", "accounts/demo/tier", {"tier": "prestige"})
        assert (await user.create("M")).status_code == 201
        with files_no_larger_than((tmp_path / "exchange.sqlite-wal").stat().st_size + 4096):
            async with asyncio.timeout(DEADLINE_S):
                while (reply := await user.create("M")).status_code == 201:
                    pass
        refused.append((reply.status_code, reply.headers["connection"]))

    with pytest.raises(StateError, match="room"):
        async with exchange(tmp_path) as desk:
            await fill(desk)
    assert refused == [(503, "close")]


@contextmanager
def files_no_larger_than(size):
    """Let this process write no file further than a size, as if the disk was full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_the_scenarios_faults_are_in_force_from_the_start(tmp_path):
    scenario = still_markets("M", faults=[{"kind": "error_before", "path": "/markets", "status": 504}])
    async with exchange(tmp_path, scenario) as desk:
        assert (await desk.http.get(f"{desk.listening.rest_url}/markets")).status_code == 504


async def test_the_script_sets_faults_while_it_serves(tmp_path):
    script = [{"at_ms": 50, "do": "faults", "faults": [{"kind": "error_before", "path": "/markets"}]}]
    async with exchange(tmp_path, still_markets("M", script=script), clock="virtual") as desk:
        assert (await desk.http.get(f"{desk.listening.rest_url}/markets")).status_code == 200
        await desk.admin("POST", "clock", {"advance_ms": 50})
        assert (await desk.http.get(f"{desk.listening.rest_url}/markets")).status_code == 503


async def test_a_kill_while_the_clock_moves_brings_back_no_earlier_time(tmp_path, monkeypatch):
    kept = []
    move_to = VirtualClock.move_to

    def watched(self, now_ms):
        kept.append([int(file.read_text()) for file in tmp_path.rglob("virtual-clock")])
        move_to(self, now_ms)

    monkeypatch.setattr(VirtualClock, "move_to", watched)
    async with exchange(tmp_path, still_markets("M"), clock="virtual") as desk:
        until_ms = (await desk.admin("POST", "clock", {"advance_ms": 60_000}))["time_ms"]
    assert kept
    assert all(times == [until_ms] for times in kept)


def test_a_kept_time_that_is_none_is_said(tmp_path):
    file = tmp_path / "virtual-clock"
    file.write_text("yesterday")
    with pytest.raises(StateError, match="delete it"):
        VirtualClock(file, 1)


# ---------------------------------------------------------------------- paths


@pytest.mark.parametrize(
    ("method", "path", "target", "match"),
    [
        ("GET", "/a", "a", {}),
        ("HEAD", "/a", "a", {}),
        ("POST", "/a", None, None),
        ("GET", "/a/", None, None),
        ("GET", "/a/x", "a-one", {"id": "x"}),
        ("GET", "/a/batched", "a-batched", {}),
        ("GET", "/a//b", None, None),
        ("GET", "/a/x/b", "b", {"id": "x"}),
        ("GET", "/a/fixed/b", "fixed-b", {}),
        ("GET", "/a/x/c", "any", {"id": "x", "name": "c"}),
        ("GET", "/fixed/x/c", None, None),
        ("GET", "", None, None),
    ],
)
def test_which_call_a_path_means(method, path, target, match):
    router = Router(
        [
            ("GET", "/a", "a"),
            ("GET", "/a/{id}/{name}", "any"),
            ("GET", "/a/{id}", "a-one"),
            ("GET", "/a/batched", "a-batched"),
            ("GET", "/a/{id}/b", "b"),
            ("GET", "/a/fixed/b", "fixed-b"),
        ]
    )
    assert router.find(method, path) == (None if target is None else (target, match))
