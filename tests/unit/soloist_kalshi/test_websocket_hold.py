"""Frames wait a few turns while orders leave."""

import asyncio

from tests.unit.soloist_kalshi.test_websocket import Consumer, Venue, delta

TURNS = 200
"""Far more than a frame on the loopback needs."""


async def turns_until(condition, most):
    for turn in range(most):
        if condition():
            return turn
        await asyncio.sleep(0)
    return most


async def test_reads_are_held_for_so_many_turns_and_nothing_is_lost():
    async with Venue() as venue, Consumer(venue) as consumer:
        await consumer.until(lambda: consumer.client.is_open)
        venue.send(delta(1, 1))
        await consumer.until(lambda: len(consumer.frames) == 1)
        consumer.client.hold_reads(TURNS)
        venue.send(delta(1, 2), delta(1, 3))
        assert await turns_until(lambda: len(consumer.frames) > 1, TURNS - 1) == TURNS - 1, (
            "held all the time"
        )
        await consumer.until(lambda: len(consumer.frames) == 3)
        assert consumer.closed == consumer.gaps == []


async def test_holding_again_holds_longer_and_an_end_of_the_connection_meanwhile_harms_nothing():
    async with Venue() as venue, Consumer(venue) as consumer:
        await consumer.until(lambda: consumer.client.is_open)
        consumer.client.hold_reads(3)
        consumer.client.hold_reads(TURNS)
        venue.send(delta(1, 1))
        assert await turns_until(lambda: consumer.frames, TURNS - 1) == TURNS - 1
        consumer.client.hold_reads(TURNS)
        consumer.client.disconnect()
        consumer.client.hold_reads(TURNS)
        await consumer.until(lambda: consumer.opened == 2 and consumer.client.is_open)
        await turns_until(lambda: False, TURNS)
        venue.send(delta(1, 1))
        await consumer.until(lambda: consumer.frames)
