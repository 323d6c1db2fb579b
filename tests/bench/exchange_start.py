"""How fast the exchange starts and how much memory it takes: `python -m tests.bench.exchange_start` prints JSON. By hand only; not a test.

A fresh process per measurement, the median of RUNS; `ready_s` is from the start of the process to its ready line, over TLS with a
certificate that is there already; resident memory is read at once and again after the markets have moved for a while. `flow_core`
is the part of one core that the process used in that while, when nobody asked anything: the rest is left to requests.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.conformance.exchange_process import ExchangeProcess

RUNS = 5
WHILE_S = 10.0
SCENARIOS = ("demo", "hundred", "thousand", "five-thousand")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Memory of a process that is in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def processor_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def start(scenario: str, directory: Path) -> tuple[ExchangeProcess, float]:
    """Start an exchange and return it with the seconds until it was ready."""
    started_s = time.perf_counter()
    exchange = ExchangeProcess(directory, scenario=scenario)
    return exchange, time.perf_counter() - started_s


def measure(scenario: str, directory: Path) -> dict[str, object]:
    """Measure one scenario."""
    start(scenario, directory)[0].close()  # makes the certificate and warms the file cache
    ready_s, memory_mb = [], []
    for _ in range(RUNS):
        for state in directory.glob("state/exchange.sqlite*"):
            state.unlink()
        exchange, took_s = start(scenario, directory)
        ready_s.append(took_s)
        memory_mb.append(resident_mb(exchange.pid))
        exchange.close()
    exchange, _ = start(scenario, directory)
    try:
        used_s, since_s = processor_s(exchange.pid), time.perf_counter()
        time.sleep(WHILE_S)
        core = (processor_s(exchange.pid) - used_s) / (time.perf_counter() - since_s)
        later_mb = resident_mb(exchange.pid)
    finally:
        exchange.close()
    return {
        "ready_s": round(statistics.median(ready_s), 2),
        "ready_s_maximum": round(max(ready_s), 2),
        "memory_mb": round(statistics.median(memory_mb)),
        "memory_mb_later": round(later_mb),
        "flow_core": round(core, 2),
    }


def main() -> None:
    """Print the table."""
    wanted = sys.argv[1:] or SCENARIOS
    with tempfile.TemporaryDirectory() as name:
        results = {scenario: measure(scenario, Path(name) / scenario) for scenario in wanted}
    load, _, _ = os.getloadavg()
    print(
        json.dumps(
            {"runs": RUNS, "cores": os.cpu_count(), "load_average": round(load, 1), **results}, indent=2
        )
    )


if __name__ == "__main__":
    main()
