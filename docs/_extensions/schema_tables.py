"""The directive `schema`: the keys of a JSON schema of `specs/schemas`, as a table.

    ```{schema} request
    ```

What a key is and means is taken from the schema that is checked and shipped, so it is written once.
"""

from __future__ import annotations

from docutils import nodes
from schema_rows import schema_of, schema_path, schema_rows
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class SchemaTable(SphinxDirective):
    """One schema: what it describes, and each of its keys, the nested ones too."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes of the table."""
        self.env.note_dependency(str(schema_path(self.arguments[0])))
        schema = schema_of(self.arguments[0])
        rows = schema_rows(schema)
        described = nodes.paragraph(text=schema.get("description", ""))
        return [described, _table(rows)] if rows else [described]


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
