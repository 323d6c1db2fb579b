"""`soloist-trader strategies`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from soloist_trader.strategies.base import Parameters, StrategyPlugin

EXIT_UNUSABLE = 1


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON with each strategy's parameter schema.")
@click.option("--filters", is_flag=True, help="Describe the filters of market discovery instead.")
def strategies(as_json: bool, filters: bool) -> None:
    """List the installed strategies with their parameters, types and defaults.

    With --filters, what may stand in spec.markets.filters: which markets of spec.markets.series a bot follows.

    A strategy is an entry point of the group `soloist.strategies`; any installed package can bring one. Exit code 1: one
    of them cannot be used, and stderr says why; the others are listed.
    """
    from soloist_trader import strategies as registry  # noqa: PLC0415 `--help` does not need it
    from soloist_trader.strategies.discovery import MarketFilters  # noqa: PLC0415 as above

    if filters:
        _describe_filters(MarketFilters, as_json=as_json)
        return
    plugins, unusable = {}, []
    for name in registry.available():
        try:
            plugins[name] = registry.load(name)
        except KeyError as error:
            unusable.append(str(error.args[0]))
    _describe(plugins, as_json=as_json)
    for why in unusable:
        click.echo(why, err=True)
    if unusable:
        sys.exit(EXIT_UNUSABLE)


def _describe(plugins: dict[str, type[StrategyPlugin[Any]]], *, as_json: bool) -> None:
    if as_json:
        schemas = {name: plugin.parameters_model.model_json_schema() for name, plugin in plugins.items()}
        click.echo(json.dumps(schemas, indent=2))
        return
    for name, plugin in plugins.items():
        summary = (plugin.__doc__ or "").strip().splitlines()
        click.echo(f"{name}  {summary[0] if summary else ''}".rstrip())
        _fields(plugin.parameters_model, str)
    click.echo(
        "markets.filters  which markets of a series a bot follows: `soloist-trader strategies --filters`"
    )


def _describe_filters(model: type[Parameters], *, as_json: bool) -> None:
    """In the words of a TradingBot; the engine's own file writes them with underscores."""
    from pydantic.alias_generators import to_camel  # noqa: PLC0415 `--help` does not need it

    if as_json:
        schema = model.model_json_schema()
        schema["properties"] = {to_camel(name): field for name, field in schema["properties"].items()}
        click.echo(json.dumps(schema, indent=2))
        return
    click.echo(
        "spec.markets.filters  every condition has to hold when a market is chosen; it stays until it closes"
    )
    _fields(model, to_camel)


def _fields(model: type[Parameters], spell: Callable[[str], str]) -> None:
    schema = model.model_json_schema()["properties"]
    defaults = model.model_construct().model_dump(mode="json")
    width = max(len(spell(field)) for field in schema)
    for field, described in schema.items():
        default = json.dumps(defaults[field]) if field in defaults else "required"
        click.echo(
            f"  {spell(field):<{width}}  {_type(described):<10}  {default:<10}  {described.get('description', '')}"
        )


def _type(schema: dict[str, Any]) -> str:
    """A word for a JSON schema: `decimal` for quoted decimals, the choices of an enumeration, else its type."""
    if "enum" in schema:
        return "|".join(schema["enum"])
    if "anyOf" in schema:
        return _type(schema["anyOf"][0]) + "?"
    return "decimal" if "pattern" in schema else str(schema.get("type", "any"))
