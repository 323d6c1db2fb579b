"""The schema of a scenario: markets, who trades in them, and what happens when. All times are milliseconds after the start."""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from soloist_exchange.scenario_actions import FaultList, ScriptAction, Structure, SwitchTable, Ticker
from soloist_exchange.scenario_grids import DEFAULT_STRUCTURE

__all__ = [
    "LARGEST_SCENARIO",
    "EventPlan",
    "FeePlan",
    "Informed",
    "ManyMarkets",
    "MarketPlan",
    "News",
    "Scenario",
    "SeriesPlan",
]

LARGEST_SCENARIO = 5000
LONGEST_MS = 10 * 365 * 24 * 3600 * 1000

Percent = Annotated[int, Field(ge=0, le=100)]
Moment = Annotated[int, Field(ge=-LONGEST_MS, le=LONGEST_MS)]
Later = Annotated[int, Field(ge=0, le=LONGEST_MS)]
DollarText = Annotated[str, Field(pattern=r"^[01](\.[0-9]{1,4})?$")]
Shard = Annotated[int, Field(ge=0, le=15)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FeePlan(_Model):
    """How a series charges fees (section 12)."""

    kind: Annotated[
        Literal["quadratic", "quadratic_with_maker_fees", "quadratic_with_combo_maker_fees", "flat"],
        Field(description="fee_type of the series"),
    ] = "quadratic"
    multiplier_percent: Annotated[
        int,
        Field(
            ge=0, le=1000, description="fee_multiplier in 1/100: 100 = the documented rate, 50 = half of it"
        ),
    ] = 100


class SeriesPlan(_Model):
    """A series of events. One that no entry describes is made from its ticker."""

    ticker: Annotated[Ticker, Field(description="series_ticker that events and markets name")]
    title: Annotated[str, Field(description="what people read")] = ""
    category: Annotated[str, Field(description="category of the series, as in GET /series?category=")] = ""
    tags: Annotated[list[str], Field(description="tags, as in GET /series?tags=", max_length=20)] = []
    frequency: Annotated[str, Field(description="how often its events come, a word for people")] = "custom"
    fee: Annotated[FeePlan, Field(description="fee terms of all its markets that have none of their own")] = (
        FeePlan()
    )


class EventPlan(_Model):
    """An event, the parent of markets. One that no entry describes is made from its ticker."""

    ticker: Annotated[Ticker, Field(description="event_ticker that markets name")]
    series: Annotated[
        Ticker | None, Field(description="ticker of its series; absent = its own up to the first dash")
    ] = None
    title: Annotated[str, Field(description="what people read")] = ""
    mutually_exclusive: Annotated[bool, Field(description="whether at most one of its markets ends YES")] = (
        False
    )
    exchange_index: Annotated[Shard, Field(description="shard (section 11)")] = 0


class Informed(_Model):
    """A trader who knows where the middle price will be and trades ahead of it."""

    ahead_steps: Annotated[
        int, Field(ge=1, le=100, description="how many steps ahead he knows the middle price")
    ] = 5
    percent: Annotated[
        Percent, Field(description="chance that he acts in a step in which he would profit")
    ] = 30
    contracts: Annotated[int, Field(ge=1, le=100_000, description="contracts of one of his orders")] = 50


class News(_Model):
    """The middle price jumps, and makers pull their quotes for a moment."""

    ticks: Annotated[
        int, Field(ge=1, le=90, description="how far the middle price jumps, up or down as the dice fall")
    ] = 10
    per_mille: Annotated[
        int,
        Field(
            ge=0, le=1000, description="chance of news in a step, in 1/1000; 0 = at the times of at_ms only"
        ),
    ] = 0
    at_ms: Annotated[list[Later], Field(description="times of news", max_length=1000)] = []
    pull_ms: Annotated[int, Field(ge=0, le=600_000, description="how long makers stay away after news")] = (
        1000
    )


class _Participants(_Model):
    """A market without its name: terms, times and who trades."""

    title: Annotated[str, Field(description="what people read; absent = the ticker")] = ""
    event: Annotated[Ticker | None, Field(description="ticker of its event; absent = its own ticker")] = None
    series: Annotated[
        Ticker | None,
        Field(description="ticker of its series; absent = its event's"),
    ] = None
    market_type: Annotated[
        Literal["binary", "scalar"],
        Field(description="binary settles at yes or no, scalar at a value in between"),
    ] = "binary"
    price_level_structure: Annotated[Structure, Field(description="label of its price grid (section 5)")] = (
        DEFAULT_STRUCTURE
    )
    exchange_index: Annotated[Shard, Field(description="shard (section 11)")] = 0
    fee: Annotated[FeePlan | None, Field(description="fee terms; absent = its series'")] = None
    fee_waiver_until_ms: Annotated[Moment | None, Field(description="until when no fees are charged")] = None
    status: Annotated[
        Literal["initialized", "active", "inactive"],
        Field(description="status to begin with; initialized becomes active by itself at open_at_ms"),
    ] = "active"
    create_at_ms: Annotated[
        Later, Field(description="when the market appears; later than 0 with a `created` event")
    ] = 0
    open_at_ms: Annotated[Moment | None, Field(description="open_time; absent = create_at_ms")] = None
    close_at_ms: Annotated[
        Moment | None, Field(description="close_time; absent = a year after the start")
    ] = None
    can_close_early: Annotated[bool, Field(description="can_close_early of the market")] = True
    settlement_timer_ms: Annotated[
        Later | None, Field(description="settle this long after the result; absent = an hour")
    ] = None
    determine_at_ms: Annotated[
        Later | None, Field(description="when the result is known; absent = never by itself")
    ] = None
    settle_at_ms: Annotated[
        Later | None, Field(description="when it pays out; absent = settlement_timer_ms after the result")
    ] = None
    result: Annotated[Literal["yes", "no", "scalar"], Field(description="the result at determine_at_ms")] = (
        "yes"
    )
    settlement_dollars: Annotated[
        DollarText | None,
        Field(description="what YES pays when the result is scalar, dollar text from 0 to 1"),
    ] = None

    start_dollars: Annotated[str, Field(description="first middle price, a dollar text on the grid")] = "0.50"
    spread_ticks: Annotated[int, Field(ge=1, le=20, description="best ask minus best bid, in ticks")] = 1
    levels: Annotated[int, Field(ge=0, le=40, description="price levels on each side")] = 5
    level_contracts: Annotated[
        int, Field(ge=1, le=100_000, description="contracts a level is quoted with, give or take a half")
    ] = 200
    sides: Annotated[
        Literal["both", "bids", "asks", "none"],
        Field(description="which sides makers quote: a whole, one-sided or empty book"),
    ] = "both"
    step_ms: Annotated[
        int, Field(ge=0, description="milliseconds between moves; 0 = the book never moves by itself")
    ] = 200
    move_percent: Annotated[Percent, Field(description="chance that the middle price moves in a step")] = 50
    reach_ticks: Annotated[
        int, Field(ge=0, le=45, description="how far the middle strays from its start")
    ] = 15
    trade_percent: Annotated[Percent, Field(description="chance that somebody trades in a step")] = 40
    trade_contracts: Annotated[int, Field(ge=1, le=100_000, description="the largest of these trades")] = 40
    cross_percent: Annotated[
        Percent,
        Field(
            description="chance of a crossing moment in a step: an order through the other side that trades and rests"
        ),
    ] = 0
    informed: Annotated[Informed | None, Field(description="a trader who knows the coming middle price")] = (
        None
    )
    news: Annotated[News | None, Field(description="jumps of the middle price")] = None


class MarketPlan(_Participants):
    """One market and the participants that move it."""

    ticker: Annotated[Ticker, Field(description="market ticker")]


class ManyMarkets(_Participants):
    """Many markets of one kind: PREFIX-1, PREFIX-2 and so on, each with an event of its own unless `event` is set."""

    count: Annotated[int, Field(ge=1, le=LARGEST_SCENARIO, description="how many")]
    prefix: Annotated[
        str, Field(pattern=r"^[A-Z0-9][A-Z0-9.-]{0,49}$", description="beginning of their tickers")
    ] = "MANY"
    stagger_ms: Annotated[
        Later,
        Field(
            description="each market's create, open, close, determine and settle times are this much after its neighbour's"
        ),
    ] = 0

    def plans(self) -> list[MarketPlan]:
        """Return the markets one by one."""
        # The template was judged; its copies are not judged again.
        values = {name: getattr(self, name) for name in _Participants.model_fields}
        made = []
        for index in range(self.count):
            plan = values | {"ticker": f"{self.prefix}-{index + 1}"}
            if shift := index * self.stagger_ms:
                for name in _STAGGERED:
                    if plan[name] is not None:
                        plan[name] += shift
            made.append(MarketPlan.model_construct(**plan))
        return made


_STAGGERED = ("create_at_ms", "open_at_ms", "close_at_ms", "determine_at_ms", "settle_at_ms")


class Scenario(_Model):
    """A named set of markets, and what happens to them."""

    name: Annotated[str, Field(description="a name for people", min_length=1)]
    description: Annotated[str, Field(description="one line for people")] = ""
    series: Annotated[
        list[SeriesPlan], Field(description="series with titles, tags or fees of their own")
    ] = []
    events: Annotated[
        list[EventPlan], Field(description="events with titles of their own, or several markets")
    ] = []
    markets: Annotated[
        list[MarketPlan], Field(description="markets, each described by itself", max_length=LARGEST_SCENARIO)
    ] = []
    markets_many: Annotated[
        list[ManyMarkets], Field(description="markets of one kind by the hundred", max_length=100)
    ] = []
    switches: Annotated[
        SwitchTable, Field(description="switches to begin with, as `soloist-exchange switches` lists them")
    ] = {}
    faults: Annotated[
        FaultList, Field(description="faults to begin with, as POST /admin/faults takes them")
    ] = []
    script: Annotated[list[ScriptAction], Field(description="what happens when", max_length=10_000)] = []
    tape: Annotated[
        str | None,
        Field(
            description="a tape to replay instead of markets of its own; a relative path begins at the scenario's file"
        ),
    ] = None

    @cached_property
    def plans(self) -> Sequence[MarketPlan]:
        """Every market, those of markets_many behind the others."""
        found = list(self.markets)
        for many in self.markets_many:
            found.extend(many.plans())
        return found

    def described(self) -> dict[str, Any]:
        """Return what a file of this scenario would say: nothing that is as it would be anyway."""
        return self.model_dump(mode="json", exclude_defaults=True)
