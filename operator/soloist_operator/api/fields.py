"""Field types of the API: each with its CEL rule for the API server and the same check for the loop.

A rule's message names what is expected and an example, because it is all that a person sees.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from soloist_operator.objects import quantity

VALIDATIONS = "x-kubernetes-validations"


def rule(expression: str, message: str, field_path: str | None = None) -> JsonDict:
    """One CEL rule."""
    found: JsonDict = {"rule": expression, "message": message}
    return found if field_path is None else {**found, "fieldPath": field_path}


class Block(BaseModel):
    """A part of a spec: unknown fields are refused, names are camelCase outside and snake_case inside."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


def immutable(what: str) -> JsonDict:
    """The rule of a field that never changes after creation."""
    return rule("self == oldSelf", f"{what} is immutable: delete the TradingBot and create it again")


def _matching(pattern: str, message: str, *further: JsonDict, **limits: Any) -> Any:
    """A text type that matches a pattern, in CEL and in Python, with one message; `further` are more CEL rules."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(message)
        return value

    escaped = pattern.replace("\\", "\\\\")
    return Annotated[
        str,
        Field(
            json_schema_extra={VALIDATIONS: [rule(f"self.matches('^({escaped})$')", message), *further]},
            **limits,
        ),
        AfterValidator(check),
    ]


Money = _matching(
    r"(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?",
    'must be dollars as a decimal text with at most 6 decimals, such as "200.00"',
    max_length=20,
)
"""Dollars as a decimal text."""

Count = _matching(
    r"(0|[1-9][0-9]{0,11})(\.[0-9]{1,2})?",
    'must be contracts as a decimal text with at most 2 decimals, such as "100.00"',
    max_length=16,
)
"""Contracts as a decimal text."""

SecretName = _matching(
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
    "must be the name of a Secret in the bot's namespace, such as demo-management-key",
    max_length=253,
)
"""Name of a Secret in the bot's own namespace."""

ProfileName = _matching(
    r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
    "must be the name of a venue profile of the operator's settings, such as simulator",
    immutable("venue"),
    max_length=63,
)
"""Name of a venue profile; immutable."""

Ticker = Annotated[str, Field(min_length=1, max_length=100)]
KeyId = Annotated[str, Field(min_length=1, max_length=100)]


def _cron_field(low: int, high: int, names: str = "") -> str:
    """Pattern of one field of a schedule: `*`, numbers, ranges, lists, steps."""
    numbers = "|".join(str(n) for n in range(low, high + 1))
    value = f"({numbers}{'|' + names if names else ''})"
    part = rf"(\*|{value}(-{value})?)(/[1-9][0-9]?)?"
    return f"{part}(,{part})*"


_SCHEDULE = "@(yearly|annually|monthly|weekly|daily|midnight|hourly)|" + " ".join(
    (
        _cron_field(0, 59),
        _cron_field(0, 23),
        _cron_field(1, 31),
        _cron_field(1, 12, "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"),
        _cron_field(0, 7, "SUN|MON|TUE|WED|THU|FRI|SAT"),
    )
)
Schedule = _matching(
    f"({_SCHEDULE})",
    'must be a schedule of five fields (minute, hour, day, month, weekday) or @daily and the like, such as "0 3 * * 0"',
    max_length=100,
)
"""When a CronJob runs."""


def _quantity(value: str) -> str:
    amount = quantity(value)
    if amount is None or amount <= 0:
        raise ValueError("must be a size above zero, such as 10Gi")
    return value


VolumeSize = Annotated[
    str,
    Field(
        max_length=20,
        json_schema_extra={
            VALIDATIONS: [
                rule(
                    "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
                    "must be a size above zero, such as 10Gi",
                )
            ]
        },
    ),
    AfterValidator(_quantity),
]
"""A storage size; it may grow, never shrink."""
