"""The directive `schema`: the keys of a JSON schema of `specs/schemas`, as a table.

    ```{schema} request
    ```

What a key is and means is taken from the schema that is checked and shipped, so it is written once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_SCHEMAS = Path(__file__).parents[2] / "specs/schemas"


class SchemaTable(SphinxDirective):
    """One schema: what it describes, and each of its keys, the nested ones too."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes of the table."""
        path = _SCHEMAS / f"{self.arguments[0]}.schema.json"
        self.env.note_dependency(str(path))
        schema = json.loads(path.read_text())
        rows = list(_rows(schema, schema, "", ()))
        described = nodes.paragraph(text=schema.get("description", ""))
        return [described, _table(rows)] if rows else [described]


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


def _table(rows: list[tuple[str, str, str]]) -> nodes.table:
    table, group, body = nodes.table(), nodes.tgroup(cols=3), nodes.tbody()
    head = nodes.thead("", _row(("key", "type", "meaning"), literal=False))
    group += [*(nodes.colspec(colwidth=width) for width in (30, 20, 50)), head, body]
    body += [_row(row, literal=True) for row in rows]
    table += group
    return table


def _row(texts: tuple[str, str, str], *, literal: bool) -> nodes.row:
    row = nodes.row()
    for column, text in enumerate(texts):
        shown = nodes.literal(text=text) if literal and column < 2 else nodes.Text(text)
        row += nodes.entry("", nodes.paragraph("", "", shown))
    return row


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls it."""
    app.add_directive("schema", SchemaTable)
    return {"parallel_read_safe": True}
