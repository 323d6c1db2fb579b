from random import Random

import pytest
from soloist_kalshi.attempt_budget import AttemptBudget
from soloist_kalshi.errors import VenueUnreachable
from soloist_kalshi.rest import ReadPolicy, RestClient

from tests.unit.soloist_kalshi.kalshi_servers import ScriptedServer, reply

STATUS = b'{"exchange_active":true,"trading_active":true}'


class Wall:
    def __init__(self):
        self.now_ms = 1_800_000_000_000

    def __call__(self):
        return self.now_ms

    def budget(self, path=None, **changes):
        return AttemptBudget(path, **{"capacity": 20, "refill_per_minute": 60, "wall_ms": self, **changes})


def use_up(budget):
    while budget.wait_ms() == 0:
        budget.failed()


def test_every_failure_takes_one_and_time_gives_it_back():
    wall = Wall()
    budget = wall.budget()
    for _ in range(20):
        assert budget.wait_ms() == 0
        budget.failed()
    assert (budget.attempts, budget.wait_ms(), budget.wasted) == (0, 1_000, 20)
    wall.now_ms += 999
    assert budget.wait_ms() == 1
    wall.now_ms += 1
    assert budget.wait_ms() == 0
    wall.now_ms += 10**9
    assert budget.attempts == 20


def test_it_never_runs_into_debt():
    budget = Wall().budget()
    for _ in range(100):
        budget.failed()
    assert budget.wait_ms() == 1_000


def test_the_level_outlives_the_process(tmp_path):
    wall, path = Wall(), tmp_path / "attempts"
    use_up(wall.budget(path))
    wall.now_ms += 3_000
    assert wall.budget(path).attempts == 0  # 3 came back, and the start took 5
    assert [file.name for file in tmp_path.iterdir()] == ["attempts"]


def test_a_start_costs_attempts_and_a_crash_loop_ends_up_slow(tmp_path):
    wall, path = Wall(), tmp_path / "attempts"
    waits = []
    for _ in range(6):
        waits.append(wall.budget(path).wait_ms())
        wall.now_ms += 10  # crashes at once
    assert waits[:3] == [0, 0, 0]
    assert min(waits[4:]) > 900


def test_a_crash_loop_is_never_locked_out_for_good(tmp_path):
    wall, path = Wall(), tmp_path / "attempts"
    for _ in range(200):
        wall.budget(path)
    assert wall.budget(path).wait_ms() <= 1_000


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"level_milli":1}', b"\xff\xfe", b'{"level_milli":"9","at_ms":1}']
)
def test_a_damaged_file_is_an_empty_budget(tmp_path, content, caplog):
    path = tmp_path / "attempts"
    path.write_bytes(content)
    budget = Wall().budget(path)
    assert (budget.attempts, budget.wait_ms()) == (0, 1_000)
    assert "begins empty" in caplog.text


def test_a_file_from_the_future_is_an_empty_budget(tmp_path):
    wall, path = Wall(), tmp_path / "attempts"
    wall.budget(path)
    wall.now_ms -= 3_600_000
    assert wall.budget(path).attempts == 0


def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing():
    wall = Wall()
    budget = wall.budget()
    use_up(budget)
    wall.now_ms -= 60_000
    assert budget.wait_ms() == 1_000
    wall.now_ms += 61_000
    assert budget.wait_ms() == 0


def test_a_file_that_cannot_be_written_is_said_once_and_the_budget_holds_here(tmp_path, caplog):
    budget = Wall().budget(tmp_path / "absent" / "attempts")
    use_up(budget)
    assert budget.wait_ms() == 1_000
    assert caplog.text.count("cannot be written") == 1


QUICK = ReadPolicy(attempts=50, request_ms=2_000, deadline_ms=3_000, base_wait_ms=1, cap_wait_ms=2)


async def test_reads_stop_when_the_budget_is_used_up_and_the_next_process_asks_nothing(tmp_path):
    path, wall = tmp_path / "attempts", Wall()

    async def drop(_):
        return None

    async with ScriptedServer(drop) as server:
        for expected in ("RemoteProtocolError", "attempt budget"):
            budget = wall.budget(
                path, refill_per_minute=1
            )  # the next attempt is due in a minute: after the deadline
            async with RestClient(
                server.base_url, None, policy=QUICK, budget=budget, random=Random(1)
            ) as rest:
                with pytest.raises(VenueUnreachable, match=expected):
                    await rest.get_exchange_status()
        assert len(server.requests) == 15  # 20, of which the start took 5; the second process sent none


async def test_a_venue_that_comes_back_is_asked_again_as_time_passes(tmp_path):
    answers = [None] * 3 + [reply(200, STATUS)]

    async def answer(_):
        return answers.pop(0) if len(answers) > 1 else answers[0]

    budget = AttemptBudget(tmp_path / "attempts", capacity=6, refill_per_minute=6_000)
    async with (
        ScriptedServer(answer) as server,
        RestClient(server.base_url, None, policy=QUICK, budget=budget, random=Random(1)) as rest,
    ):
        status = await rest.get_exchange_status()
    assert status.exchange_active
    assert (len(server.requests), rest.retries, budget.wasted) == (4, 3, 3)
