import asyncio

import pytest
from soloist_operator.queue import Key, Schedule, WorkQueue

A, B = Key("bots", "a"), Key("bots", "b")


def schedule(draw: float = 0.0) -> Schedule:
    return Schedule(draw=lambda: draw)


def test_a_key_is_planned_once_however_often_it_is_added() -> None:
    plan = schedule()
    for _ in range(5):
        plan.add(A, 0)
    assert plan.take(0) == A
    plan.finish(A, 0, failed=False)
    assert plan.take(0) is None


def test_a_key_never_has_two_runs_at_once() -> None:
    plan = schedule()
    plan.add(A, 0)
    assert plan.take(0) == A
    plan.add(A, 1)
    assert plan.take(1) is None
    plan.finish(A, 2, failed=False)
    assert plan.take(2) == A, "what happened during the run is looked at after it"


def test_keys_are_taken_in_the_order_they_became_due() -> None:
    plan = schedule()
    plan.add_after(A, 0, 5)
    plan.add_after(B, 0, 3)
    assert plan.take(2) is None
    assert plan.next_due_s() == 3
    assert plan.take(6) == B
    assert plan.take(6) == A


def test_an_event_hurries_a_planned_look() -> None:
    plan = schedule()
    plan.add_after(A, 0, 300)
    plan.add(A, 1)
    assert plan.take(1) == A


def test_a_later_plan_does_not_delay_an_earlier_one() -> None:
    plan = schedule()
    plan.add_after(A, 0, 1)
    plan.add_after(A, 0, 300)
    assert plan.take(1) == A


def test_failures_back_off_from_one_second_to_five_minutes() -> None:
    plan = schedule()
    delays = []
    now_s = 0.0
    for _ in range(11):
        plan.add(A, now_s)
        assert plan.take(now_s) == A
        plan.finish(A, now_s, failed=True)
        due_s = plan.next_due_s()
        assert due_s is not None
        delays.append(due_s - now_s)
        now_s = due_s
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_a_success_forgets_earlier_failures() -> None:
    plan = schedule()
    for failed in (True, True, False, True):
        plan.add(A, 1000)
        plan.take(1000)
        plan.finish(A, 1000, failed=failed)
    assert plan.next_due_s() == 1001


def test_jitter_stretches_a_delay_by_a_fifth_at_most() -> None:
    assert schedule(0.0).backoff_s(3) == 4
    assert schedule(1.0).backoff_s(3) == pytest.approx(4.8)


def test_an_event_during_a_failing_run_waits_for_the_back_off() -> None:
    plan = schedule()
    plan.add(A, 0)
    plan.take(0)
    plan.add(A, 0)
    plan.finish(A, 0, failed=True)
    assert plan.take(0.5) is None
    assert plan.take(1) == A


def test_a_forgotten_key_is_not_planned() -> None:
    plan = schedule()
    plan.add(A, 0)
    plan.forget(A)
    assert plan.take(0) is None
    assert len(plan) == 0


async def test_a_waiting_worker_wakes_for_a_new_key() -> None:
    queue = WorkQueue()
    waiting = asyncio.create_task(queue.take())
    await queue.add(A)
    assert await waiting == A


async def test_two_workers_share_the_keys() -> None:
    queue = WorkQueue()
    waiting = [asyncio.create_task(queue.take()) for _ in range(2)]
    await queue.add(A)
    await queue.add(B)
    assert {await w for w in waiting} == {A, B}


async def test_a_key_added_during_its_run_is_handed_out_after_it() -> None:
    queue = WorkQueue()
    await queue.add(A)
    assert await queue.take() == A
    await queue.add(A)
    waiting = asyncio.create_task(queue.take())
    await queue.add(B)
    assert await waiting == B
    await queue.finish(A, failed=False)
    assert await queue.take() == A
