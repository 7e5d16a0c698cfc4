"""The reference in docs/design-language.md, from the schema of design files.

Run as a module, it writes the page again.
"""

import json
from pathlib import Path

__all__ = ["PAGE", "SCHEMA", "reference", "written"]

PAGE = Path("docs/design-language.md")
SCHEMA = Path("specs/schemas/design-file.schema.json")
BEGIN, END = "<!-- from specs/schemas/design-file.schema.json -->\n", "<!-- end -->\n"


def reference():
    """Every key, its values, what each asserts, and every operation."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    instruction = schema["$defs"]["instruction"]
    lines = ["### The file", "", *_table(schema["properties"], schema["required"]), ""]
    lines += ["### An instruction", "", *_table(instruction["properties"], instruction["required"])]
    lines += ["", "### Operations", "", "| operation | what happens |", "| --- | --- |"]
    lines += [
        f"| `{one['const']}` | {one['description']} |"
        for one in schema["$defs"]["operation"]["oneOf"]
    ]
    return "\n".join(lines) + "\n"


def _table(properties, required):
    yield "| key | value | what it asserts |"
    yield "| --- | --- | --- |"
    for key, found in properties.items():
        if "$ref" in found:
            what = "What it does: an operation, `in-order: […]` or `any-order: […]`, nested as you like."
            yield f"| `{key}` | a body | {what} |"
            continue
        needed = " (needed)" if key in required else ""
        yield f"| `{key}` | {_values(found)}{needed} | {found['description']} |"
        for one in found.get("oneOf", ()):
            default = " (default)" if found.get("default") == one["const"] else ""
            yield f"| | `{one['const']}`{default} | {one['description']} |"
        for inner, each in found.get("properties", {}).items():
            yield f"| | `{inner}` | {each['description']} |"


def _values(found):
    if "oneOf" in found:
        return "one of"
    if found["type"] == "boolean":
        return "true, false (default)"
    return {"string": "a text", "array": "a list", "object": "a mapping"}[found["type"]]


def written(page):
    """The page with the reference in its place."""
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    return head + BEGIN + "\n" + reference() + "\n" + END + tail


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
