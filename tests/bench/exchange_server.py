"""`soloist-exchange` on one core, with the CPU time of each stage of a request: `python -m tests.bench.exchange_server REPORT CORE serve ...`.

Started by the benches, ended with SIGTERM; then REPORT (a file) holds the CPU seconds as JSON. Stages are wrapped from outside, so the
exchange knows nothing of being measured. CORE is a number, or `any`. REPORT `-` measures nothing.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from pathlib import Path

from soloist_exchange import gateway
from soloist_exchange.cli import main
from soloist_exchange.exchange import Exchange
from soloist_exchange.http import Connection


class Stages:
    """CPU time by stage; a stage inside another one is taken off it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]

    def wrapped(self, name, function):
        self.seconds[name] = 0.0

        @functools.wraps(function)
        def timed(*args, **kwargs):
            started_s = time.thread_time()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                took_s = time.thread_time() - started_s
                self.seconds[name] += took_s - self._inner.pop()
                self._inner[-1] += took_s

        return timed


def wrap(stages: Stages) -> None:
    """Put a clock around each stage."""
    Connection.data_received = stages.wrapped("parse", Connection.data_received)
    Connection.flush = stages.wrapped("write", Connection.flush)
    gateway.Wire.request = stages.wrapped("dispatch", gateway.Wire.request)
    gateway.authenticate = stages.wrapped("auth", gateway.authenticate)
    gateway.encode = stages.wrapped("encode", gateway.encode)
    Exchange.commit = stages.wrapped("store", Exchange.commit)
    handle = stages.wrapped("handle", lambda route, call: route(call))
    for made in gateway.rest.ROUTES:
        object.__setattr__(made, "handle", functools.partial(handle, made.handle))


def run() -> None:
    """Serve until told to stop, then write the report."""
    report, core, *words = sys.argv[1:]
    if core != "any":
        os.sched_setaffinity(0, {int(core)})
    stages = Stages()
    if report != "-":
        wrap(stages)
    try:
        main(words, standalone_mode=False)
    finally:
        if report != "-":
            Path(report).write_text(json.dumps(stages.seconds), encoding="utf-8")


if __name__ == "__main__":
    run()
