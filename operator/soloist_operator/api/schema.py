"""From a pydantic model to a structural OpenAPI v3 schema, as a CustomResourceDefinition wants it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

_DROPPED = frozenset({"title", "default", "additionalProperties", "$defs"})


def structural(model: type[BaseModel]) -> Schema:
    """The schema of a model: references inlined, no `null` variants, no defaults.

    Defaults stay out on purpose: a default in the schema is written into the user's object, which then differs from
    what is in git. What applies is shown in `status.resolved`.
    """
    document = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(document, document.get("$defs", {}))


def _convert(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    schema = _without_null(_inline(schema, definitions), definitions)
    converted = {key: value for key, value in schema.items() if key not in _DROPPED}
    if "properties" in schema:
        converted["properties"] = {
            name: _convert(part, definitions) for name, part in schema["properties"].items()
        }
    if "items" in schema:
        converted["items"] = _convert(schema["items"], definitions)
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        converted["additionalProperties"] = _convert(extra, definitions)
    if "const" in converted:
        converted["enum"] = [converted.pop("const")]
    if converted.get("type") == "integer":
        converted.setdefault("format", "int64")
    return converted


def _inline(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    if "$ref" not in schema:
        return schema
    referred = definitions[schema["$ref"].rsplit("/", 1)[1]]
    merged = {**_inline(referred, definitions), **{k: v for k, v in schema.items() if k != "$ref"}}
    rules = "x-kubernetes-validations"
    if rules in referred and rules in schema:
        merged[rules] = [*referred[rules], *schema[rules]]
    return merged


def _without_null(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """`X | None` becomes X: absent says the same, and Kubernetes drops nulls by itself."""
    if "anyOf" not in schema:
        return schema
    variants = [variant for variant in schema["anyOf"] if variant.get("type") != "null"]
    assert len(variants) == 1, f"a union of two types is not structural: {schema}"
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**_without_null(_inline(variants[0], definitions), definitions), **rest}
