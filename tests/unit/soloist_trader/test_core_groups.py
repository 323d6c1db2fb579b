"""Order groups: every order names one; what a person has to lift triggers them; a reset needs a word."""

import pytest
from soloist_trader.core import events
from soloist_trader.core.codes import Code
from soloist_trader.core.commands import Alert, ResetGroup, TriggerGroup
from soloist_trader.core.engine import Settings
from soloist_trader.core.ledger import Ledger
from soloist_trader.core.records import GroupChanged, GroupMade
from soloist_trader.core.units import ASK

from tests.unit.soloist_trader.core_world import ENTRY, EXIT, CoreWorld, places

GROUPS = Settings(groups=True)


def group(world, role, *, triggered=False, group_id=""):
    return world.step(events.GroupSeen(world.now_ms, role, group_id or f"g-{role}", triggered, 5_000))


def made(*, settings=GROUPS, ledger=None):
    world = CoreWorld(settings=settings, ledger=ledger)
    group(world, "open")
    group(world, "reduce")
    return world


def asked(commands):
    return [command for command in commands if isinstance(command, TriggerGroup | ResetGroup)]


def test_nothing_is_sent_before_the_groups_are_known_and_then_every_order_names_its_own():
    world = CoreWorld(settings=GROUPS)
    assert places(world.want(ENTRY)) == []
    assert world.engine.denials == {Code.GROUP_UNKNOWN: 1}
    group(world, "open")
    group(world, "reduce")
    assert world.place(ENTRY).group_id == "g-open"
    world = made()
    world.hold(100)
    place = world.place(EXIT)
    assert (place.side, place.group_id) == (ASK, "g-reduce")
    assert world.ledger.orders[place.client_order_id].group == "reduce"


def test_an_edge_without_groups_names_none():
    assert CoreWorld().place(ENTRY).group_id == ""


def test_a_group_is_in_the_journal_before_its_first_order_and_a_new_start_brings_new_ones():
    world = made()
    assert world.records[-2:] == [
        GroupMade(world.now_ms, "open", "g-open", 5_000),
        GroupMade(world.now_ms, "reduce", "g-reduce", 5_000),
    ]
    group(world, "open")
    assert not isinstance(world.records[-1], GroupChanged), "the same again is no news"
    group(world, "open", group_id="g-next")
    assert world.ledger.groups["open"] == ("g-next", 5_000, "armed")


@pytest.mark.parametrize(
    ("state", "roles"), [("REDUCING", ["open"]), ("HALTED", ["open", "reduce"])], ids=["reducing", "kill"]
)
def test_reducing_triggers_open_only_and_a_kill_both(state, roles):
    world = made()
    world.hold(100)
    commands = world.verb("alice", state)
    assert asked(commands) == [TriggerGroup(role, f"g-{role}") for role in roles]
    assert asked(world.tick()) == [], "asked once a second, not at tick rate"
    assert asked(world.tick(1_000)) == [TriggerGroup(role, f"g-{role}") for role in roles]
    for role in roles:
        group(world, role, triggered=True)
    assert asked(world.tick(2_000)) == []
    assert (places(world.want(EXIT)) != []) == (state == "REDUCING"), "exits still go"


def test_a_reset_waits_for_the_word_of_the_actor_and_is_journaled():
    world = made()
    world.verb("alice", "REDUCING")
    group(world, "open", triggered=True)
    assert asked(world.tick(60_000)) == []
    assert asked(world.verb("alice", "ACTIVE")) == [ResetGroup("open", "g-open")]
    assert places(world.want(ENTRY)) == []
    assert world.engine.denials[Code.GROUP_TRIGGERED] >= 1, "released, and not armed yet"
    group(world, "open")
    assert GroupChanged(world.now_ms, "open", "armed") in world.records
    assert places(world.tick())


def test_a_reset_waits_for_the_last_actor():
    world = made()
    world.verb("alice", "REDUCING")
    group(world, "open", triggered=True)
    world.verb("bob", "HALTED")
    group(world, "reduce", triggered=True)
    assert asked(world.verb("alice", "ACTIVE")) == []
    assert {command.role for command in asked(world.verb("bob", "ACTIVE"))} == {"open", "reduce"}


def test_a_latch_that_lifts_by_itself_triggers_nothing():
    """A reset is never automatic: else a moment without the API server would end trading until a person comes."""
    world = made()
    assert asked(world.verb("lease", "REDUCING")) == []
    assert asked(world.verb("lease", "ACTIVE")) == []
    world.verb("alice", "REDUCING")
    group(world, "open", triggered=True)
    world.verb("alice", "ACTIVE")
    world.tick(2_000)
    world.engine.groups._released.clear()  # as after a restart
    world.now_ms += 2_000
    assert asked(world.verb("lease", "ACTIVE")) == []
    assert asked(world.verb("alice", "ACTIVE")) == [ResetGroup("open", "g-open")], "resume once more arms it"


@pytest.mark.parametrize(("role", "state"), [("open", "REDUCING"), ("reduce", "HALTED")])
def test_a_runaway_latches_until_a_person_resumes(role, state):
    world = made()
    commands = group(world, role, triggered=True)
    assert [alert.code for alert in commands if isinstance(alert, Alert)] == ["GroupTriggered"]
    assert world.ledger.latches["runaway"][0] == state
    world.tick(60_000)
    assert world.ledger.state == state
    assert ResetGroup(role, f"g-{role}") in world.verb("runaway", "ACTIVE")


def test_a_trigger_of_ours_that_is_shown_after_the_latch_went_is_no_runaway_and_is_reset():
    world = made()
    assert TriggerGroup("open", "g-open") in world.verb("operator", "HALTED")
    world.verb("operator", "ACTIVE")
    commands = group(world, "open", triggered=True)
    assert world.ledger.latches == {}
    assert commands == [ResetGroup("open", "g-open")]
    group(world, "open")
    group(world, "open", triggered=True)
    assert world.ledger.latches["runaway"][0] == "REDUCING", "the next one is not ours"


def test_a_stop_triggers_both():
    world = made()
    commands = world.step(events.StopAsked(world.now_ms, "test"))
    assert [command.role for command in asked(commands)] == ["open", "reduce"]
    assert not any(isinstance(command, Alert) for command in group(world, "open", triggered=True))
    assert world.ledger.latches == {}, "we asked for it: no runaway"


def test_a_latch_that_survived_a_restart_triggers_the_new_groups():
    world = made()
    world.verb("alice", "REDUCING")
    rebuilt = Ledger.restore(world.ledger.export())
    after = CoreWorld(settings=GROUPS, ledger=rebuilt)
    assert asked(group(after, "open", group_id="g2")) == [TriggerGroup("open", "g2")]
