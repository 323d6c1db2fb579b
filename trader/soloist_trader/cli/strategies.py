"""`soloist-trader strategies`."""

from __future__ import annotations

import json
from typing import Any

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON with each strategy's parameter schema.")
def strategies(as_json: bool) -> None:
    """List the installed strategies with their parameters, types and defaults."""
    from soloist_trader import strategies as registry  # noqa: PLC0415 `--help` does not need it

    plugins = {name: registry.load(name) for name in registry.available()}
    if as_json:
        schemas = {name: plugin.parameters_model.model_json_schema() for name, plugin in plugins.items()}
        click.echo(json.dumps(schemas, indent=2))
        return
    for name, plugin in plugins.items():
        model = plugin.parameters_model
        summary = (plugin.__doc__ or "").strip().splitlines()
        click.echo(f"{name}  {summary[0] if summary else ''}".rstrip())
        schema = model.model_json_schema()["properties"]
        defaults = model.model_construct().model_dump(mode="json")
        width = max(len(field) for field in schema)
        for field, described in schema.items():
            default = json.dumps(defaults.get(field))
            click.echo(
                f"  {field:<{width}}  {_type(described):<10}  {default:<10}  {described.get('description', '')}"
            )


def _type(schema: dict[str, Any]) -> str:
    """A word for a JSON schema: `decimal` for quoted decimals, the choices of an enumeration, else its type."""
    if "enum" in schema:
        return "|".join(schema["enum"])
    if "anyOf" in schema:
        return _type(schema["anyOf"][0]) + "?"
    return "decimal" if "pattern" in schema else str(schema.get("type", "any"))
