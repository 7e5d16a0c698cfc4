"""The keys of a JSON schema as rows of key, type and meaning: for the site and for the manual pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["schema_of", "schema_path", "schema_rows"]


def schema_path(name: str) -> Path:
    """The file of a schema."""
    return Path(__file__).parents[2] / "specs/schemas" / f"{name}.schema.json"


def schema_of(name: str) -> dict[str, Any]:
    """A schema by the name that `snapplan schema` has for it."""
    schema: dict[str, Any] = json.loads(schema_path(name).read_text())
    return schema


def schema_rows(schema: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Key, type and meaning of every key, the nested ones by their path."""
    return list(dict.fromkeys(_rows(schema, schema, "", ())))


def _rows(
    schema: dict[str, Any], root: dict[str, Any], before: str, above: tuple[str, ...]
) -> list[tuple[str, str, str]]:
    """Key, type and meaning of each key below a schema; a reference is followed once on each way."""
    name = schema.get("$ref", "")
    if name in above:
        return []
    above = (*above, name) if name else above
    schema = _resolved(schema, root)
    found: list[tuple[str, str, str]] = []
    needed = schema.get("required", ())
    for key, value in schema.get("properties", {}).items():
        path = f"{before}{key}"
        said = value.get("description") or _resolved(value, root).get("description", "")
        found.append((path, _type_of(value, root), said + ("" if key in needed else " Optional.")))
        found += _rows(value, root, f"{path}.", above)
    for child, path in (
        (schema.get("items"), f"{before.removesuffix('.')}[]."),
        (schema.get("additionalProperties"), f"{before}*."),
        *((each, before) for word in ("oneOf", "anyOf", "allOf") for each in schema.get(word, ())),
    ):
        if isinstance(child, dict):
            found += _rows(child, root, path, above)
    return list(dict.fromkeys(found))


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    at: dict[str, Any] = schema
    while "$ref" in at and at["$ref"].startswith("#"):
        target: Any = root
        for step in at["$ref"].removeprefix("#").strip("/").split("/"):
            target = target[step] if step else target
        at = {**target, **{key: value for key, value in at.items() if key != "$ref"}}
    return at


def _type_of(schema: dict[str, Any], root: dict[str, Any]) -> str:
    schema = _resolved(schema, root)
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(each) for each in schema["enum"])
    for word in ("oneOf", "anyOf"):
        if word in schema:
            return " | ".join(dict.fromkeys(_type_of(each, root) for each in schema[word]))
    kind = schema.get("type", "any")
    return " | ".join(kind) if isinstance(kind, list) else str(kind)
