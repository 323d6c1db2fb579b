"""The control socket: what is asked, what is answered, and a path longer than the kernel takes."""

import asyncio
import json

import pytest
from click.testing import CliRunner
from soloist_trader.cli import main as command
from soloist_trader.shell.control import SOCKET_NAME, ControlServer, Request, RequestError, ask, read_request

GOOD = {"verb": "halt", "actor": "ada", "reason": "look"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verb": "explode"}, "verb 'explode' is none of halt, reduce"),
        ({"actor": " "}, "actor is missing"),
        ({"reason": ""}, "reason is missing"),
        ({"reason": 7}, "reason must be a text"),
        ({"reason": "x" * 201}, "at most 200"),
        ({"market": "M"}, "a market goes with release-market"),
        ({"verb": "release-market"}, "a market goes with release-market"),
        ({"latch": "risk"}, "a latch goes with resume only"),
        ({"extra": "x"}, "unknown field 'extra'"),
    ],
)
def test_a_request_that_cannot_be_carried_out_names_the_field(changes, message):
    with pytest.raises(RequestError, match=message):
        read_request(json.dumps(GOOD | changes).encode())


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'"halt"', b"\xff"])
def test_what_is_no_request_is_said(line):
    with pytest.raises(RequestError, match="JSON"):
        read_request(line)


@pytest.fixture
async def server(tmp_path):
    directory = tmp_path / ("long-" * 30) / ("name-" * 30)
    directory.mkdir(parents=True)
    carried = []

    async def carry(request):
        if request.actor == "nobody":
            raise RequestError("nobody may")
        carried.append(request)
        return {"state": "HALTED"}

    (directory / SOCKET_NAME).write_text("of a process that was killed")
    server = ControlServer(directory, carry)
    await server.start()
    yield directory, carried
    await server.stop()
    assert not (directory / SOCKET_NAME).exists()


async def test_a_verb_is_carried_out_and_answered(server):
    directory, carried = server
    request = Request("resume", "ada", "fine", latch="risk")
    assert await asyncio.to_thread(ask, directory, request, 4) == {"ok": True, "state": "HALTED"}
    assert carried == [request]
    assert (directory / SOCKET_NAME).stat().st_mode & 0o777 == 0o600


async def test_a_refusal_is_an_answer(server):
    directory, carried = server
    answer = await asyncio.to_thread(ask, directory, Request("halt", "nobody", "x"), 4)
    assert (answer, carried) == ({"ok": False, "message": "nobody may"}, [])


async def test_the_command_prints_the_answer_or_why_not(server, monkeypatch):
    directory, carried = server
    monkeypatch.setenv("SOLOIST_ACTOR", "ada")

    def run(*arguments):
        return CliRunner().invoke(command, ["ctl", *arguments, "--state-dir", str(directory)])

    done = await asyncio.to_thread(run, "halt", "--reason", "look")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"state": "HALTED"})
    assert carried == [Request("halt", "ada", "look")]
    refused = await asyncio.to_thread(run, "halt", "--reason", "x", "--actor", "nobody")
    assert (refused.exit_code, refused.stderr) == (1, "refused: nobody may\n")


def test_without_an_engine_the_command_says_so(tmp_path):
    done = CliRunner().invoke(command, ["ctl", "halt", "--reason", "x", "--state-dir", str(tmp_path)])
    assert done.exit_code == 2
    assert "no engine answers in" in done.stderr
    assert "--state-dir" in done.stderr
