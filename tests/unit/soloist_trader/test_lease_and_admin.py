import asyncio
import json
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from soloist_trader.errors import ConfigurationError
from soloist_trader.shell import lease as lease_module
from soloist_trader.shell.admin import LOOP_STUCK_MS, AdminServer, Board
from soloist_trader.shell.lease import LeaseAddress, LeaseClient, LeaseKeeper, Word


class ApiServer:
    """One Lease behind HTTP, with merge patches applied and everything noted."""

    def __init__(self):
        self.lease = {"metadata": {"annotations": {}}, "spec": {}}
        self.seen = []
        self.status = 200

    def annotate(self, **annotations):
        names = {f"soloist.trade/{name.replace('_', '-')}": value for name, value in annotations.items()}
        self.lease["metadata"]["annotations"].update(names)


@contextmanager
def serving(api):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PATCH(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            api.seen.append(("PATCH", self.path, dict(self.headers), body))
            if api.status == 200:
                api.lease["metadata"]["annotations"].update(body["metadata"]["annotations"])
                api.lease["spec"].update(body["spec"])
            self.answer()

        def do_GET(self):
            api.seen.append(("GET", self.path, dict(self.headers), None))
            self.answer()

        def answer(self):
            body = json.dumps(api.lease).encode()
            self.send_response(api.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def api():
    return ApiServer()


@pytest.fixture
def address(api, tmp_path):
    (tmp_path / "token").write_text("token-1\n")
    with serving(api) as url:
        yield LeaseAddress(url, "bots", "demo-0", tmp_path / "token", None)


async def test_a_renewal_writes_the_heartbeat_and_reads_the_operators_word(api, address):
    api.annotate(epoch="4", desired_state="Reducing", admitted_pod_uid="pod-1")
    client = LeaseClient(address, "pod-1/abc")
    assert await client.renew({"state": "ACTIVE", "epoch": 4}) == Word(4, "Reducing", "pod-1")
    method, path, headers, body = api.seen[0]
    assert (method, path) == ("PATCH", "/apis/coordination.k8s.io/v1/namespaces/bots/leases/demo-0")
    assert headers["Content-Type"] == "application/merge-patch+json"
    assert body["spec"]["holderIdentity"] == "pod-1/abc"
    assert body["spec"]["leaseDurationSeconds"] == 15
    assert body["spec"]["renewTime"].endswith("Z")
    assert set(body) == {"metadata", "spec"}
    assert list(body["metadata"]["annotations"]) == ["soloist.trade/engine"], (
        "the operator's annotations are its own"
    )
    await client.close()


async def test_the_token_is_read_again_for_every_call(api, address):
    client = LeaseClient(address, "x")
    await client.read()
    address.token_file.write_text("token-2")
    await client.read()
    assert [headers["Authorization"] for _, _, headers, _ in api.seen] == ["Bearer token-1", "Bearer token-2"]
    await client.close()


async def test_the_keeper_tells_words_and_silence(api, address, monkeypatch):
    monkeypatch.setattr(lease_module, "RENEW_S", 0.02)
    words, silences = asyncio.Queue(), asyncio.Queue()
    api.annotate(epoch="1", engine="left behind")
    client = LeaseClient(address, "x")
    elapsed_ms = 0
    keeper = LeaseKeeper(
        client, lambda: {"state": "ACTIVE"}, words.put_nowait, silences.put_nowait, lambda: elapsed_ms
    )
    assert keeper.age_ms is None
    task = asyncio.create_task(keeper.run())
    try:
        async with asyncio.timeout(5):
            assert (await words.get()).report == "left behind"
            assert keeper.age_ms is None, (
                "the first look only reads: what an earlier engine left must not be lost"
            )
            assert await words.get() == Word(1, "", "")
            assert keeper.age_ms == 0
            api.status = 403
            elapsed_ms = 15_000
            assert keeper.held, "a Lease of 15 s is held for all of them"
            elapsed_ms = 15_001
            assert "403" in await silences.get()
            assert not keeper.held
            api.status = 200
            api.annotate(desired_state="Halted")
            while (await words.get()).desired_state != "Halted":
                pass
    finally:
        task.cancel()
        await client.close()


def test_outside_a_cluster_the_option_says_so(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match="run without --lease"):
        LeaseAddress.in_cluster("bots/demo-0")
    with pytest.raises(ConfigurationError, match="NAMESPACE/NAME"):
        LeaseAddress.in_cluster("demo-0")


@pytest.fixture
def admin():
    board = Board()
    server = AdminServer("127.0.0.1:0", board)
    server.start()

    def get(path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    yield board, get
    server.stop()


def test_startup_and_ready_wait_for_the_start_and_nothing_else(admin):
    board, get = admin
    assert [get(path)[0] for path in ("/startup", "/ready", "/health")] == [503, 503, 200]
    board.started = True
    board.publish({"state": "HALTED", "ready": False})
    assert [get(path)[0] for path in ("/startup", "/ready", "/health")] == [200, 200, 200]
    assert json.loads(get("/ready")[1])["reconciled"] is False


def test_health_fails_when_the_loop_does_not_turn_and_status_still_answers(admin):
    board, get = admin
    board.started = True
    board.publish({"state": "ACTIVE", "counters": {}, "histograms": {}})
    board.published_ms -= LOOP_STUCK_MS + 1
    status, body = get("/health")
    assert status == 503
    assert "has not turned" in json.loads(body)["reason"]
    code, shown = get("/status")
    assert code == 200
    assert json.loads(shown)["ageMs"] > LOOP_STUCK_MS
    assert "counters" not in json.loads(shown)


def test_an_unknown_path_lists_the_known_ones(admin):
    _, get = admin
    assert get("/") == (404, b"/startup /health /ready /metrics /status\n")


@pytest.mark.parametrize("address", ["foo", "127.0.0.1:http", "127.0.0.1:99999"])
def test_an_admin_address_that_cannot_be_had_names_the_option(address):
    with pytest.raises(ConfigurationError) as caught:
        AdminServer(address, Board())
    (((field, message),)) = caught.value.problems
    assert field == "--admin"
    assert address in message


def test_an_admin_port_that_is_taken_names_the_option():
    first = AdminServer("127.0.0.1:0", Board())
    try:
        with pytest.raises(ConfigurationError, match="--admin"):
            AdminServer(f"127.0.0.1:{first.port}", Board())
    finally:
        first._server.server_close()
