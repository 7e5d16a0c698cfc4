"""`snapplan schema`: the JSON schema of every output, of errors and progress, and of every file."""

from __future__ import annotations

import json

import click

from planner.cli.common import json_option, print_json
from planner.cli.schema_files import schema_files, schema_text
from planner.present.outputs import output
from planner.present.tables import table

__all__ = ["command"]


@click.command("schema")
@click.argument("name", required=False, default="")
@json_option
def command(*, name: str, as_json: bool) -> None:
    """Print the JSON schema of an output; without NAME, list them.

    An output has the name of its command; `plan`, `request`, `facts`, `manifest` and `restore-record`
    are files, `error` is what any command prints that fails, and `progress` a line of `--progress json`.
    """
    if name:
        click.echo(schema_text(name), nl=False)
        return
    schemas = [(each, json.loads(path.read_text())) for each, path in schema_files().items()]
    if as_json:
        listed = [
            {"name": each, "id": schema["$id"], "describes": schema["description"]}
            for each, schema in schemas
        ]
        print_json(output("schemas", {"schemas": listed}))
    else:
        click.echo(table([(each, schema["description"]) for each, schema in schemas]))
