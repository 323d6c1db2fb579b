"""The conformance layer's own tool: exchanges that start, die, come back on the same ports, and end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_c000_an_exchange_starts_dies_and_comes_back_where_it_was(start_exchange):
    exchange = start_exchange()
    demo = exchange.create_account("demo", "123.45")
    before = (exchange.rest_url, exchange.ws_url, exchange.admin_url, exchange.ca_file)
    first = exchange.pid
    exchange.kill()
    assert not is_running(first)
    exchange.restart()
    assert (exchange.rest_url, exchange.ws_url, exchange.admin_url, exchange.ca_file) == before
    async with exchange.rest(demo.signer) as client:
        assert (await client.get_balance(subaccount=0)).balance_dollars == "123.450000"
    second = exchange.pid
    assert exchange.stop() == 0
    assert not is_running(second)


def test_c000_an_exchange_that_cannot_start_says_why(start_exchange):
    with pytest.raises(AssertionError, match="no-such-scenario"):
        start_exchange(scenario="no-such-scenario")


def test_c000_a_second_exchange_on_one_state_directory_is_refused(start_exchange):
    exchange = start_exchange()
    program = Path(sys.executable).with_name("soloist-exchange")
    addresses = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    second = subprocess.run(
        [program, "serve", *addresses, "--state-dir", exchange.state_dir],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert second.returncode == 1
    assert "another exchange serves it" in second.stderr
    assert is_running(exchange.pid)
