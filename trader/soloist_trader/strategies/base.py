"""What a strategy class offers: a name, a schema of its parameters, and the decision."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, WithJsonSchema
from soloist_kalshi.numbers import count_from_text, count_to_text, price_from_dollars, price_to_dollars

from soloist_trader.core.strategy import MarketView, Target


def _text(value: object, example: str) -> str:
    """A decimal text. A YAML number was a float on its way here, and floats are never money."""
    if not isinstance(value, str):
        raise ValueError(f'write it as a quoted decimal, such as "{example}"')  # noqa: TRY004 pydantic wants it
    return value


def _price(value: object) -> int:
    return price_from_dollars(_text(value, "0.05"))


def _count(value: object) -> int:
    count = count_from_text(_text(value, "10.00"))
    if count < 0:
        raise ValueError("must not be negative")
    return count


def _decimal_schema(example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?$", "examples": [example]})


Dollars = Annotated[int, PlainValidator(_price), PlainSerializer(price_to_dollars), _decimal_schema("0.05")]
"""A price or a probability as a decimal text, kept in 1/10 000 dollar."""

Contracts = Annotated[int, PlainValidator(_count), PlainSerializer(count_to_text), _decimal_schema("10.00")]
"""A count as a decimal text, kept in 1/100 contract."""


class Parameters(BaseModel):
    """Base of parameter schemas: unknown names are refused, every field is described."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ParametersType = TypeVar("ParametersType", bound=Parameters)


class StrategyPlugin(ABC, Generic[ParametersType]):
    """One strategy of one bot. Working state is volatile: it starts empty after every restart."""

    name: ClassVar[str]
    parameters_model: ClassVar[type[Parameters]]

    def __init__(self, parameters: ParametersType) -> None:
        self.parameters = parameters

    @classmethod
    def from_mapping(cls, mapping: dict[str, Any]) -> StrategyPlugin[ParametersType]:
        """Build it from the configuration's mapping. Raises pydantic.ValidationError."""
        return cls(cls.parameters_model.model_validate(mapping))  # type: ignore[arg-type]

    @abstractmethod
    def targets(self, view: MarketView) -> list[Target]:
        """Every order wanted in this market now."""

    @abstractmethod
    def entered(self, market: str, now_ms: int) -> None:
        """An opening order was intended in a market."""
