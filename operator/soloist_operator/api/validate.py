"""A spec as the API server stores it -> the model, or every problem with the field's name and the fix."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from soloist_operator.api.tradingbot import TradingBotSpec


@dataclass(frozen=True)
class Problem:
    """One thing that a person has to change. `field` begins with `spec`."""

    field: str
    message: str

    def __str__(self) -> str:
        """As conditions show it."""
        return f"{self.field}: {self.message}"


@dataclass(frozen=True)
class InvalidSpec:
    """Every problem of a spec, in the order of its fields. `reason` is the condition's word for it."""

    problems: tuple[Problem, ...]
    reason: str = "InvalidSpec"

    def __str__(self) -> str:
        """All problems in one line."""
        return "; ".join(map(str, self.problems))


def validate(spec: Mapping[str, Any], venues: Collection[str]) -> TradingBotSpec | InvalidSpec:
    """The same checks as the CRD's CEL rules, and whether the venue profile exists.

    `venues` are the names of the profiles in the operator's settings.
    """
    try:
        model = TradingBotSpec.model_validate(dict(spec))
    except ValidationError as error:
        return InvalidSpec(tuple(Problem(_field(e["loc"]), _message(e)) for e in error.errors()))
    if model.venue not in venues:
        known = ", ".join(sorted(venues)) or "none"
        message = f"no venue profile {model.venue!r}; the operator's settings define: {known}. Venue profiles are set in the chart's values"
        return InvalidSpec((Problem("spec.venue", message),), "UnknownVenue")
    return model


def _field(location: tuple[int | str, ...]) -> str:
    parts = ["spec"]
    for part in location:
        if isinstance(part, int):
            parts[-1] += f"[{part}]"
        else:
            parts.append(part)
    return ".".join(parts)


def _message(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown field: remove it or correct its spelling"
    if error["type"] == "missing":
        return "is missing"
    return str(error["msg"]).removeprefix("Value error, ")
