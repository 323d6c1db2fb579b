"""The engine's configuration, `docs/interfaces.md` "Engine configuration": schema, reading, and every problem at once.

A problem names the field as its author wrote it in the TradingBot (`spec.risk.maxOrderContracts`), because that is what
a person can change; the rendered file is a derived thing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    model_validator,
)
from soloist_kalshi.numbers import count_from_text, count_to_text, money_from_dollars, money_to_dollars

from soloist_trader import strategies
from soloist_trader.core.risk import Limits
from soloist_trader.core.units import ONE_CONTRACT, OPEN_GROUP, REDUCE_GROUP
from soloist_trader.errors import ConfigurationError
from soloist_trader.strategies.base import StrategyPlugin
from soloist_trader.strategies.discovery import MarketFilters

MAXIMUM_GROUP_LIMIT = 1_000_000 * ONE_CONTRACT
"""The venue's bound for the limit of an order group."""


def _text(value: object, example: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f'write it as a quoted decimal, such as "{example}"')  # noqa: TRY004 pydantic wants it
    return value


def _positive(value: int, example: str) -> int:
    if value <= 0:
        raise ValueError(f'must be above zero, such as "{example}"')
    return value


Count = Annotated[
    int,
    PlainValidator(lambda value: _positive(count_from_text(_text(value, "100.00")), "100.00")),
    PlainSerializer(count_to_text),
    Field(examples=["100.00"]),
]
"""Contracts as a decimal text, kept in 1/100 contract."""

Money = Annotated[
    int,
    PlainValidator(lambda value: _positive(money_from_dollars(_text(value, "200.00")), "200.00")),
    PlainSerializer(money_to_dollars),
    Field(examples=["200.00"]),
]
"""Dollars as a decimal text, kept in 1/1 000 000 dollar."""


Ticker = Annotated[str, Field(min_length=1, max_length=100)]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BotBlock(_Block):
    """Who the bot is in the cluster."""

    namespace: str = Field(min_length=1, examples=["bots"])
    name: str = Field(min_length=1, examples=["rain"])


class VenueBlock(_Block):
    """Where the venue is. `ca_file` replaces the system's roots."""

    name: str = Field(examples=["simulator"])
    rest_url: str = Field(pattern=r"^https?://", examples=["https://127.0.0.1:8443/trade-api/v2"])
    websocket_url: str = Field(pattern=r"^wss?://", examples=["wss://127.0.0.1:8443/trade-api/ws/v2"])
    ca_file: Path | None = None


class AccountBlock(_Block):
    """The account of a Live bot, and the epoch in which this engine may trade it."""

    subaccount: int = Field(0, ge=0, le=63)
    claim_hash: str = Field(pattern=r"^[0-9a-z]{6}$", examples=["1a2b3c"])
    epoch: int = Field(ge=1, examples=[1])


class MarketsBlock(_Block):
    """What to trade: tickers, and series from whose markets `filters` choose, at start and every `look_every_seconds`."""

    tickers: tuple[Ticker, ...] = ()
    series: tuple[Ticker, ...] = ()
    filters: MarketFilters = MarketFilters()
    look_every_seconds: int = Field(60, ge=1, le=3600)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.tickers and not self.series:
            raise ValueError("name at least one ticker or series: there is nothing to trade")
        if not self.series and "filters" in self.model_fields_set:
            raise ValueError(
                "filters choose among the markets of a series and none is named: name it in spec.markets.series, "
                "or remove spec.markets.filters (markets in tickers are always followed)"
            )
        return self


class StrategyBlock(_Block):
    """Which strategy, with which parameters; its own schema judges them."""

    name: str = Field(examples=["threshold"])
    parameters: dict[str, Any] = Field(default_factory=dict)


class RiskBlock(_Block):
    """The limits of the risk table. Generous defaults would be a trap: every one is given."""

    max_order_contracts: Count
    max_position_contracts: Count
    max_exposure_dollars: Money
    max_open_orders: int = Field(ge=1, examples=[20])
    daily_loss_dollars: Money

    def limits(self) -> Limits:
        """As the core wants them."""
        return Limits(
            self.max_order_contracts,
            self.max_position_contracts,
            self.max_exposure_dollars,
            self.max_open_orders,
            self.daily_loss_dollars,
        )


class TradingBlock(_Block):
    """How trading ends, and what bounds it at the venue.

    `group_limit_contracts` is what the venue lets an order group match within 15 s before it triggers, a runaway's end;
    without it, ten times what all orders that may be open hold. `rate_share_percent` is this bot's part of the account's
    write budget. Cash that nothing explains latches REDUCING above `unexplained_cash_dollars`.
    """

    cancel_on_stop: bool = True
    group_limit_contracts: Count | None = None
    rate_share_percent: Annotated[int, Field(ge=1, le=100)] = 100
    unexplained_cash_dollars: Money = 100_000_000


class RecordingBlock(_Block):
    """What is kept for replay beside the journal: `tape` in the state directory, at most so many megabytes of it."""

    tape: bool = False
    tape_megabytes: Annotated[int, Field(ge=16)] = 1024


class StoreBlock(_Block):
    """Tables for people and dashboards: a process of its own that follows the journal, into SQLite or what `url` names."""

    follow: bool = False
    url: str | None = Field(None, pattern=r"^(sqlite:///|postgres(ql)?://)")
    poll_seconds: float = Field(1.0, ge=0.1, le=3600)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.url is not None and not self.follow:
            raise ValueError("url has no effect without follow: true; add it, or remove url")
        if self.url is not None and re.match(r"postgres(ql)?://[^/@]*:[^/@]*@", self.url):
            raise ValueError(
                "a password does not belong into this file: give the whole URL in the environment variable "
                "SOLOIST_STORE_URL, and leave it out of url"
            )
        return self


class Configuration(_Block):
    """The whole file."""

    version: Literal[1] = Field(examples=[1])
    bot: BotBlock
    mode: Literal["Paper", "Shadow", "Live"] = Field(examples=["Paper"])
    venue: VenueBlock
    account: AccountBlock | None = None
    markets: MarketsBlock
    strategy: StrategyBlock
    risk: RiskBlock
    trading: TradingBlock = TradingBlock()
    recording: RecordingBlock = RecordingBlock()
    store: StoreBlock = Field(default_factory=lambda: StoreBlock.model_validate({}))

    @model_validator(mode="after")
    def _account_when_live(self) -> Self:
        if self.mode == "Live" and self.account is None:
            raise ValueError(
                "mode Live needs an account; set spec.account, or mode Paper to trade without one"
            )
        if self.mode != "Live" and self.account is not None:
            raise ValueError(f"mode {self.mode} uses no account; remove spec.account, or set mode Live")
        return self

    def group_limits(self) -> dict[str, int]:
        """Limit of each order group, in 1/100 contract per 15 s. Exits get ten times more: they have to go."""
        risk = self.risk
        limit = self.trading.group_limit_contracts or 10 * risk.max_order_contracts * risk.max_open_orders
        return {
            OPEN_GROUP: min(max(limit, ONE_CONTRACT), MAXIMUM_GROUP_LIMIT),
            REDUCE_GROUP: min(max(10 * limit, ONE_CONTRACT), MAXIMUM_GROUP_LIMIT),
        }

    def make_strategy(self) -> StrategyPlugin[Any]:
        """The strategy; `load` has already checked that it can be made."""
        return strategies.load(self.strategy.name).from_mapping(self.strategy.parameters)


def load(path: Path) -> Configuration:
    """Read and check a configuration file. Raises ConfigurationError with every problem."""
    return parse(read(path), path)


def read(path: Path) -> bytes:
    """The bytes of a configuration file. Raises ConfigurationError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError([("config.yaml", f"cannot be read: {error}")]) from error


def parse(content: bytes, path: Path) -> Configuration:
    """Check the content of a configuration file; `path` is for messages. Raises ConfigurationError with every problem."""
    try:
        document = yaml.safe_load(content.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        shown = " ".join(str(error).split())
        raise ConfigurationError([("config.yaml", f"{path} is not YAML: {shown}")]) from error
    if not isinstance(document, dict):
        raise ConfigurationError([("config.yaml", f"{path} must be a mapping that begins with `version: 1`")])
    problems: list[tuple[str, str]] = []
    configuration = None
    try:
        configuration = Configuration.model_validate(document)
    except ValidationError as error:
        problems += [(_field(problem["loc"]), _message(problem, Configuration)) for problem in error.errors()]
    problems += _strategy_problems(document.get("strategy"))
    problems += _file_problems(configuration)
    if problems or configuration is None:
        raise ConfigurationError(problems)
    return configuration


def _strategy_problems(block: object) -> list[tuple[str, str]]:
    """What the strategy itself says about its name and parameters; checked even if other blocks are wrong."""
    if not isinstance(block, dict) or not isinstance(block.get("name"), str):
        return []
    try:
        plugin = strategies.load(block["name"])
    except KeyError as error:
        return [("spec.strategy.name", str(error.args[0]))]
    parameters = block.get("parameters", {})
    if not isinstance(parameters, dict):
        return []  # the schema of the file says so already
    try:
        plugin.from_mapping(parameters)
    except ValidationError as error:
        known = ", ".join(plugin.parameters_model.model_fields)
        return [
            (
                ".".join(["spec.strategy.parameters", *map(str, problem["loc"])]),
                f"unknown parameter; {block['name']} has {known}"
                if problem["type"] == "extra_forbidden"
                else _message(problem, plugin.parameters_model),
            )
            for problem in error.errors()
        ]
    return []


def _file_problems(configuration: Configuration | None) -> list[tuple[str, str]]:
    if configuration is None or configuration.venue.ca_file is None:
        return []
    try:
        configuration.venue.ca_file.read_bytes()
    except OSError as error:
        why = (
            f"the CA file of venue {configuration.venue.name!r} cannot be read: {error}. It has to be there before the engine "
            "starts (a local exchange makes it at its first start: start that one first, from the same directory)"
        )
        return [("spec.venue", why)]
    return []


def _message(problem: Any, model: type[BaseModel]) -> str:
    *above, name = problem["loc"] or ("",)
    if problem["type"] == "extra_forbidden":
        return f"unknown field; {_known(_block(model, above))}remove it or correct its spelling"
    if problem["type"] == "missing":
        return f"is missing; add it{_as_what(model, above, name)}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    given = problem.get("input")
    return f"{message} (given: {given!r})" if isinstance(given, str | int | float) else message


def _block(model: type[BaseModel], location: Iterable[str | int]) -> type[BaseModel] | None:
    """The block at a place below `model`; None where there is none, or more than one could stand there."""
    found: type[BaseModel] | None = model
    for part in location:
        field = found.model_fields.get(str(part)) if found is not None else None
        if field is None:
            return None
        kinds = [field.annotation, *get_args(field.annotation)]
        found = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    return found


def _known(block: type[BaseModel] | None) -> str:
    """What may stand in a block, in the words of the TradingBot; "" where that is not known."""
    return f"known here: {', '.join(map(_camel, block.model_fields))}; " if block is not None else ""


def _as_what(model: type[BaseModel], above: Iterable[str | int], name: str | int) -> str:
    """An example of a field that is missing, what belongs into it if it is a block, or its type."""
    holder = _block(model, above)
    field = holder.model_fields.get(str(name)) if holder is not None else None
    if field is None:
        return ""
    if field.examples:
        return f", such as {json.dumps(field.examples[0])}"
    if (block := _block(model, [*above, name])) is not None:
        return f"; {_known(block)}".removesuffix("; ")
    return f": {getattr(field.annotation, '__name__', field.annotation)}"


def _field(location: tuple[str | int, ...]) -> str:
    """Path of the field in the TradingBot. `bot` is its metadata; names there are written in camelCase."""
    if not location:
        return "spec.account"
    parts = [_camel(part) if isinstance(part, str) else str(part) for part in location]
    if parts[0] == "version":
        return "version"
    if parts[0] == "bot":
        return ".".join(["metadata", *parts[1:]])
    if parts[0] == "venue":
        return "spec.venue"
    return ".".join(["spec", *parts])


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


def lines(path: Path, problems: list[tuple[str, str]]) -> list[str]:
    """Each problem as `file: field: what to change`, with names as the file itself spells them."""
    return [
        f"{path}: {_in_file(field)}{re.sub(r'known here: [^;]*', lambda known: _snake(known[0]), message)}"
        for field, message in problems
    ]


def _in_file(field: str) -> str:
    if field == "config.yaml":
        return ""
    head, _, rest = field.partition(".")
    return f"{_snake({'spec': rest, 'metadata': f'bot.{rest}'}.get(head, field))}: "


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", name)


def echo(configuration: Configuration) -> dict[str, Any]:
    """The configuration as a mapping for the log; it never holds secrets."""
    return configuration.model_dump(mode="json", exclude_none=True)
