"""What a scenario's script may do: one model per verb, times in milliseconds after the start."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from soloist_exchange import faults as fault_room
from soloist_exchange.errors import ExchangeError
from soloist_exchange.faults import Fault
from soloist_exchange.scenario_grids import STRUCTURES
from soloist_exchange.switches import Switches, parse, value_text

__all__ = [
    "FaultList",
    "FaultsAction",
    "MarketAction",
    "MoveCloseAction",
    "NewsAction",
    "OrderAction",
    "PauseAction",
    "PriceRangesAction",
    "PullAction",
    "ResultAction",
    "ScriptAction",
    "Structure",
    "SwitchTable",
    "SwitchesAction",
    "Ticker",
    "armed",
    "assignments",
]

Ticker: TypeAlias = Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9.-]{0,59}$")]


def _known_structure(label: str) -> str:
    if label not in STRUCTURES:
        raise ValueError(f"{label} is not one of {', '.join(STRUCTURES)}")
    return label


Structure: TypeAlias = Annotated[str, AfterValidator(_known_structure)]


def armed(items: list[dict[str, Any]]) -> list[Fault]:
    """Return the faults that a scenario lists. Raises ValueError saying which one is wrong, and how."""
    try:
        return fault_room.parse(items)
    except ExchangeError as error:
        raise ValueError(str(error)) from None


def assignments(table: dict[str, bool | int | str]) -> list[str]:
    """Return a table of switches as `switches.parse` reads it."""
    return [f"{name}={value_text(value)}" for name, value in table.items()]


def _known_faults(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    armed(items)
    return items


def _known_switches(table: dict[str, bool | int | str]) -> dict[str, str | int]:
    try:
        parse(assignments(table), Switches())
    except ExchangeError as error:
        raise ValueError(str(error)) from None
    return table


FaultList: TypeAlias = Annotated[list[dict[str, Any]], AfterValidator(_known_faults)]
SwitchTable: TypeAlias = Annotated[dict[str, bool | int | str], AfterValidator(_known_switches)]


class _Action(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    at_ms: Annotated[int, Field(ge=0, description="when, after the start")]


class _OnMarkets(_Action):
    ticker: Annotated[
        str,
        Field(
            pattern=r"^([A-Z0-9][A-Z0-9.-]{0,59}\*?|\*)$",
            description="a market; with * at the end, every market that begins so",
        ),
    ]


class PauseAction(_Action):
    """Pause or resume trading (cancels work) or the whole exchange (nothing works)."""

    do: Literal["pause", "resume"]
    what: Annotated[
        Literal["trading", "exchange"],
        Field(description="trading: cancels go on working; exchange: nothing does"),
    ] = "trading"


class MarketAction(_OnMarkets):
    """Move a market to another status. `settle` pays out what `determine` decided."""

    do: Literal["activate", "deactivate", "close", "settle"]


class ResultAction(_OnMarkets):
    """Decide a market; one that is still open closes first."""

    do: Literal["determine"]
    result: Annotated[Literal["yes", "no", "scalar"], Field(description="the result")]
    settlement_dollars: Annotated[
        str | None,
        Field(pattern=r"^[01](\.[0-9]{1,4})?$", description="what YES pays when the result is scalar"),
    ] = None


class MoveCloseAction(_OnMarkets):
    """Move a market's close time."""

    do: Literal["move_close"]
    close_at_ms: Annotated[int, Field(ge=0, description="the new close time, after the start")]


class PriceRangesAction(_OnMarkets):
    """Change a market's price grid while it is live; resting orders stay."""

    do: Literal["price_ranges"]
    price_level_structure: Annotated[Structure, Field(description="label of the new grid (section 5)")]


class NewsAction(_OnMarkets):
    """The middle price jumps, and makers pull their quotes for a moment."""

    do: Literal["news"]
    ticks: Annotated[int, Field(ge=-99, le=99, description="how far, negative = down")]
    pull_ms: Annotated[int, Field(ge=0, le=600_000, description="how long makers stay away")] = 1000


class PullAction(_OnMarkets):
    """Makers pull their quotes: the book is empty for a while."""

    do: Literal["pull"]
    for_ms: Annotated[int, Field(ge=0, le=86_400_000, description="how long makers stay away")]


class OrderAction(_OnMarkets):
    """A taker of the exchange sends an order; what rests stays until it trades."""

    do: Literal["order"]
    side: Annotated[Literal["bid", "ask"], Field(description="of the YES book")]
    price_dollars: Annotated[str, Field(pattern=r"^0\.[0-9]{1,4}$", description="limit price")]
    contracts: Annotated[int, Field(ge=1, le=1_000_000, description="how many")]
    time_in_force: Annotated[
        Literal["immediate_or_cancel", "good_till_canceled", "fill_or_kill"],
        Field(description="how long it lives"),
    ] = "immediate_or_cancel"


class FaultsAction(_Action):
    """Replace the faults in force; an empty list takes them all away."""

    do: Literal["faults"]
    faults: Annotated[FaultList, Field(description="as POST /admin/faults takes them")]


class SwitchesAction(_Action):
    """Turn switches."""

    do: Literal["switches"]
    switches: Annotated[
        SwitchTable, Field(description="names and values, as `soloist-exchange switches` lists them")
    ]


ScriptAction: TypeAlias = Annotated[
    PauseAction
    | MarketAction
    | ResultAction
    | MoveCloseAction
    | PriceRangesAction
    | NewsAction
    | PullAction
    | OrderAction
    | FaultsAction
    | SwitchesAction,
    Field(discriminator="do"),
]
