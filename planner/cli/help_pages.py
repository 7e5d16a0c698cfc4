"""The documentation's pages as files, in a wheel and in a clone, and what one looks up in them."""

from __future__ import annotations

import re
from pathlib import Path

from planner.errors import BadInput, InternalError, Problem

__all__ = ["error_code_text", "fact_text", "page_text", "pages", "title_of", "unknown_topic"]

_ROOM = Path(__file__).resolve().parent.parent
_PLACES = (_ROOM.parent / "help", _ROOM.parent)
"""In an installed package a folder of their own; in a clone where people read them."""
_FOLDERS = (
    "docs",
    "docs/tutorial",
    "docs/reference",
    "docs/explanation",
    "specs",
    "specs/decisions",
)
_GENERATED = re.compile(r"^```\{eval-rst\}\n.*?^```\n", re.MULTILINE | re.DOTALL)
_MODULE = re.compile(r"automodule:: ([\w.]+)")
_SCHEMA = re.compile(r"^```\{schema\} ([\w-]+)\n```$", re.MULTILINE)
_FACT = r"^{number}\. .*?(?=^\d+\. |^#|\Z)"


def pages() -> dict[str, Path]:
    """The pages by their names, in the order in which a reader should meet them."""
    for place in _PLACES:
        if (place / "docs/index.md").is_file():
            found = [path for folder in _FOLDERS for path in sorted((place / folder).glob("*.md"))]
            return {path.stem: path for path in found if path.stem != "index"}
    raise InternalError(f"the documentation is missing: in neither of {_PLACES}")


def title_of(page: Path) -> str:
    """The first heading."""
    with page.open(encoding="utf-8") as lines:
        return next((line[2:].strip() for line in lines if line.startswith("# ")), page.stem)


def page_text(page: Path) -> str:
    """A page to be read in a terminal: what only the site can show is named in one line."""
    text = page.read_text(encoding="utf-8")
    text = _SCHEMA.sub(r"    (every key: snapplan schema \1)", text)
    return _GENERATED.sub(_told_elsewhere, text)


def _told_elsewhere(generated: re.Match[str]) -> str:
    module = _MODULE.search(generated[0])
    where = f"python3 -m pydoc {module[1]}" if module else "snapplan COMMAND --help"
    return f"    (on the site; in the terminal: {where})\n"


def fact_text(number: str) -> str:
    """One fact about QEMU, by its number.

    Raises:
        BadInput: There is none of this number.
    """
    text = pages()["qemu-facts"].read_text(encoding="utf-8")
    found = re.search(_FACT.format(number=re.escape(number)), text, re.MULTILINE | re.DOTALL)
    if not found:
        raise _unknown(f"fact {number}", "no fact has this number")
    return found[0].rstrip() + "\n"


def error_code_text(code: str) -> str:
    """What the tables of error codes say of a code, and what to do; nothing where it is none."""
    lines = pages()["exit-codes"].read_text(encoding="utf-8").splitlines()
    section, found = "", []
    for line in lines:
        if line.startswith("## "):
            section = line[3:]
        cells = line.split("|")
        if len(cells) > 3 and f"`{code}`" in cells[1]:
            found.append(
                f"{section}\n  {code}: {cells[2].strip()}\n  What to do: {cells[3].strip()}\n"
            )
    return "".join(dict.fromkeys(found))


def _unknown(subject: str, message: str) -> BadInput:
    problem = Problem("topic-unknown", subject, message, "`snapplan help` lists what there is")
    return BadInput(problem.words, problems=(problem,), code=problem.code)


def unknown_topic(words: str) -> BadInput:
    """The error for words that are no command, no page and no code."""
    return _unknown(words, "no command, page, fact or error code is called so")
