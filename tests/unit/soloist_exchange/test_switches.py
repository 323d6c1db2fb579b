from __future__ import annotations

import pytest
from soloist_exchange.errors import ExchangeError
from soloist_exchange.switches import Switches, described, parse, value_text


def test_every_switch_is_described_with_its_section_and_its_default_among_its_choices():
    switches = described()
    assert [switch.name for switch in switches] == list(Switches.__struct_fields__)
    for switch in switches:
        assert switch.meaning
        assert switch.section[0].isdigit()
        assert switch.value == value_text(getattr(Switches(), switch.name))
        assert switch.value in switch.choices or (switch.value.isdigit() and "0 or more" in switch.choices[0])


def test_every_choice_of_every_switch_can_be_set_and_is_shown():
    for switch in described():
        for choice in switch.choices if "0 or more" not in switch.choices[0] else ("0", "7"):
            turned = parse([f"{switch.name}={choice}"], Switches())
            shown = {item.name: item.value for item in described(turned)}
            assert shown.pop(switch.name) == choice
            assert shown == {item.name: item.value for item in described() if item.name != switch.name}


def test_assignments_apply_in_order_on_a_base():
    base = parse(["ping_when_busy=false"], Switches())
    turned = parse(
        ["market_inactive_status=409", "market_inactive_status = 400", "cancel_all_lag_ms=5"], base
    )
    assert (turned.ping_when_busy, turned.market_inactive_status, turned.cancel_all_lag_ms) == (False, 400, 5)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("nothing=1", "post_only_cross"),
        ("pss_salt", "NAME=VALUE"),
        ("pss_salt=some", "pss_salt: 'some' is not one of strict, any"),
        ("ping_when_busy=1", "ping_when_busy: '1' is not one of true, false"),
        ("clock_past_ms=-1", "clock_past_ms: '-1'"),
        ("clock_past_ms=1.5", "milliseconds, 0 or more"),
        ("v1_status=404", "410, 200"),
    ],
)
def test_what_cannot_be_set_is_named_with_its_choices(assignment, said):
    with pytest.raises(ExchangeError, match=said):
        parse([assignment], Switches())
