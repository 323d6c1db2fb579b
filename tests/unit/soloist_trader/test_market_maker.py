import pytest
from pydantic import ValidationError
from soloist_trader.core.units import ASK, BID
from soloist_trader.strategies.market_maker import MarketMaker, MarketMakerParameters

from tests.unit.soloist_trader.strategy_views import NOW_MS, view


def maker(**parameters):
    return MarketMaker(MarketMakerParameters.model_validate(parameters))


def quotes(targets):
    return [(target.side, target.level, target.price, target.size) for target in targets]


def prices(targets, side):
    return [target.price for target in targets if target.side == side]


def test_quotes_both_sides_of_the_middle_on_several_levels():
    found = maker(levels=2, half_spread_dollars="0.02", level_step_dollars="0.03", level_contracts="2.00")
    assert quotes(found.targets(view())) == [
        (BID, "quote1", 4_800, 200),
        (BID, "quote2", 4_500, 200),
        (ASK, "quote1", 5_200, 200),
        (ASK, "quote2", 5_500, 200),
    ]


def test_a_weighted_fair_value_leans_to_the_thin_side():
    found = maker(fair_value="weighted", half_spread_dollars="0.02")
    targets = found.targets(view(bid_price=4_000, bid_count=900, ask_price=5_000, ask_count=100))
    assert (prices(targets, BID), prices(targets, ASK)) == ([4_700], [5_100]), "around 0.49"


@pytest.mark.parametrize(
    ("position", "expected"), [(1_000, 4_800), (500, 4_900), (-500, 5_100), (-1_000, 5_200)]
)
def test_the_inventory_shifts_the_quotes_against_itself(position, expected):
    found = maker(skew_dollars="0.02", maximum_inventory_contracts="10.00", half_spread_dollars="0.03")
    targets = found.targets(view(position=position))
    side, distance = (ASK, 300) if position > 0 else (BID, -300)
    assert prices(targets, side) == [expected + distance]


def test_at_full_inventory_only_the_side_that_reduces_is_quoted():
    targets = maker(maximum_inventory_contracts="10.00").targets(view(position=1_000))
    assert {target.side for target in targets} == {ASK}


def test_levels_share_the_room_that_is_left_and_exits_never_flip():
    found = maker(levels=3, level_contracts="4.00", maximum_inventory_contracts="10.00")
    targets = found.targets(view(position=500))
    assert [target.size for target in targets if target.side == BID] == [400, 100]
    assert [target.size for target in targets if target.side == ASK] == [400, 100]


def test_quotes_stay_until_the_fair_value_moved_far_enough():
    found = maker(requote_dollars="0.02", half_spread_dollars="0.05")
    before = quotes(found.targets(view()))
    assert quotes(found.targets(view(bid_price=5_000, ask_price=5_200))) == before
    assert prices(found.targets(view(bid_price=5_100, ask_price=5_300)), BID) == [4_700]


def test_a_quote_never_reaches_the_other_side():
    found = maker(requote_dollars="0.20", half_spread_dollars="0.01")
    found.targets(view())
    targets = found.targets(view(bid_price=5_200, ask_price=5_300))
    assert prices(targets, ASK) == [5_300], "above the best bid although the old fair value says 0.51"
    targets = found.targets(view(bid_price=4_600, ask_price=4_700))
    assert prices(targets, BID) == [4_600], "below the best ask although the old fair value says 0.49"


def test_its_own_quotes_do_not_move_its_fair_value():
    """Alone in the book, a fair value of its own middle would run away from the inventory step by step."""
    found = maker(half_spread_dollars="0.02", skew_dollars="0.05", requote_dollars="0.01")
    targets = found.targets(view())
    for _ in range(20):
        bid, ask = prices(targets, BID)[0], prices(targets, ASK)[0]
        targets = found.targets(
            view(
                bid_price=bid, ask_price=ask, bid_count=100, ask_count=100, unsettled_bids=100, unsettled_asks=100,
                position=500,
            )
        )  # fmt: skip
    assert (prices(targets, BID), prices(targets, ASK)) == ([4_500], [5_000]), "0.50 less half the skew, once"


def test_one_foreign_side_still_moves_the_fair_value():
    found = maker(half_spread_dollars="0.01", level_contracts="1.00")
    (bid, *_) = prices(found.targets(view()), BID)
    moved = found.targets(view(bid_price=bid, bid_count=100, unsettled_bids=100, ask_price=5_400))
    assert prices(moved, BID) == [5_200], "the ask went up by 0.03, and the width was 0.02"


@pytest.mark.parametrize(
    ("parameters", "fields"),
    [
        ({"maximum_spread_dollars": "0.01"}, {}),
        ({}, {"bid_price": 0}),
        ({}, {"ask_price": 0}),
        ({}, {"ticks": ()}),
        ({"minimum_probability": "0.60"}, {}),
        ({"maximum_probability": "0.40"}, {}),
        ({"minimum_seconds_to_close": 61}, {"close_time_ms": NOW_MS + 60_000}),
    ],
)
def test_where_it_does_not_quote(parameters, fields):
    assert maker(**parameters).targets(view(**fields)) == []


def test_near_the_close_it_quotes_what_reduces():
    targets = maker(minimum_seconds_to_close=61).targets(view(close_time_ms=NOW_MS + 60_000, position=-300))
    assert [(target.side, target.size) for target in targets] == [(BID, 100)]


def test_levels_beyond_the_grid_are_left_out():
    found = maker(levels=5, level_step_dollars="0.10", half_spread_dollars="0.02", minimum_probability="0.01")
    targets = found.targets(view(bid_price=1_400, ask_price=1_600))
    assert prices(targets, BID) == [1_300, 300]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"level_contracts": "0"}, "nothing would ever be quoted"),
        ({"maximum_inventory_contracts": "0.50"}, "one fill would pass it"),
        ({"levels": 2, "level_step_dollars": "0"}, "every level would have the same price"),
        ({"half_spread_dollars": "0"}, "trade with each other"),
        ({"minimum_probability": "0.9", "maximum_probability": "0.1"}, "no fair value can be between"),
    ],
)
def test_bad_parameters_are_refused_with_a_reason(parameters, message):
    with pytest.raises(ValidationError, match=message):
        MarketMakerParameters.model_validate(parameters)
