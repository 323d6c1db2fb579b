import json

import pytest
from soloist_fence.api import Reason
from soloist_fence.errors import NoAnswerError
from soloist_fence.measure import (
    PATIENCE_MS,
    PAUSE_MS,
    REFUSALS,
    MeasureArguments,
    Measured,
    until_refused,
)


class Tries:
    """A probe whose answers are given, and a clock that only its pauses move. After the last answer comes `then`."""

    def __init__(self, *answers, then=False):
        self.answers = iter(answers)
        self.then = then
        self.now = 1_000

    async def probe(self):
        answer = next(self.answers, self.then)
        if answer is None:
            raise NoAnswerError(Reason.VENUE_UNREACHABLE, "no answer")
        return answer

    async def pause(self, seconds):
        self.now += int(seconds * 1_000)


async def measured(*answers, then=False):
    tries = Tries(*answers, then=then)
    return await until_refused(tries.probe, 1_000, now_ms=lambda: tries.now, pause=tries.pause)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((), 0),
        ((True,), PAUSE_MS),
        ((True, True, True), 3 * PAUSE_MS),
        ((False, True), 2 * PAUSE_MS),
        ((False,) * (REFUSALS - 1) + (True,), REFUSALS * PAUSE_MS),
        ((True, None, None), 3 * PAUSE_MS),
        ((True, False, None), PAUSE_MS),
    ],
    ids=[
        "at once", "one yes", "three", "a machine that refuses early", "almost believed", "no answer is no refusal",
        "no answer is no acceptance",
    ],
)  # fmt: skip
async def test_the_sample_is_the_first_refusal_that_no_acceptance_followed(answers, expected):
    assert await measured(*answers) == expected


async def test_a_key_that_is_never_refused_has_no_figure():
    assert await measured(then=True) is None
    assert await measured(then=None) is None
    assert PATIENCE_MS >= 60_000


def test_figures_are_printed_for_people_and_for_machines():
    found = Measured({"rest": [5, 900, 20], "websocket": []})
    assert found.to_text() == "way\tn\tmedian_ms\tmaximum_ms\nrest\t3\t20\t900"
    document = json.loads(found.to_json())
    assert document == {
        "version": 1,
        "complete": True,
        "ways": [{"way": "rest", "n": 3, "medianMs": 20, "maximumMs": 900, "samplesMs": [5, 900, 20]}],
    }


def test_options_go_before_the_configuration(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        "venue: {rest_url: 'https://a/x', websocket_url: 'wss://a/y', ca_file: /a.pem}\naccount: {subaccount: 3}\n"
    )

    def venue(**given):
        fixed = {"rest_url": None, "websocket_url": None, "ca_file": None}
        arguments = MeasureArguments(1, **(fixed | given), config=str(config), management_key_dir="")
        return arguments.account().venue

    assert venue() == venue(websocket_url="wss://a/y")
    assert venue(ca_file="/b.pem").ca_file == "/b.pem"
    assert venue(rest_url="https://b/x").websocket_url is None, "not the configuration's: another venue"
