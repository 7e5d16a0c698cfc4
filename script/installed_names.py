"""How the installed names are made: the wheel holds one top-level package, `snapplan`, and nothing else.

In the checkout the code lives in `planner/` and `backends/`.  A tool may have
folders of these names, and an import takes whichever comes first; so a wheel that installed them would
break, or be broken by, whoever has them (`specs/decisions/0012`).  When a wheel is built, this hook of
hatchling puts

    planner/library/X   at   snapplan/X              what a user imports
    planner/X           at   snapplan/planner/X
    backends/qemu_facts/X   at   snapplan/qemu_facts/X   what a QEMU is tried with
    backends/X          at   snapplan/backends/X
    specs/qemu-facts.md at   snapplan/qemu_facts/qemu-facts.md
    specs/designs       at   snapplan/planner/explore/designs
    specs/schemas       at   snapplan/schemas
    docs, specs (*.md)  at   snapplan/help/…           what `snapplan help` shows
    manual pages        at   share/man                 by docs/_extensions/manual_pages.py, from click

and rewrites the names in import statements, and in nothing else: `planner.model` becomes
`snapplan.planner.model`.  An import that would still leave `snapplan` for one of these folders ends the
build.  In an editable install the code is imported from where it stands, and `snapplan` is a module of
three lines that is `planner.library`.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_ROOMS = ("planner", "backends")
_FACTS = "backends.qemu_facts"
_PUBLIC = "planner.library"
_IMPORT = re.compile(
    r"^(\s*(?:from|import)\s+)(planner\.library|planner|backends\.qemu_facts|backends)\b",
    re.MULTILINE,
)
_ALIAS = '''"""snapplan in a checkout: what stands in `planner/library`, under its installed name."""

import sys

import planner.library

sys.modules[__name__] = planner.library
'''


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]  # ty: the config is not used
    """Lays the rewritten tree out before the wheel is packed, and takes it away afterwards."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the files of the wheel together; hatchling calls it before it builds one."""
        self._laid_out = Path(tempfile.mkdtemp(prefix="snapplan-wheel-"))
        root = Path(self.root)
        if version == "editable":
            alias = self._laid_out / "snapplan.py"
            alias.write_text(_ALIAS)
            build_data["force_include_editable"][str(alias)] = "snapplan/__init__.py"
            return
        package = self._laid_out / "snapplan"
        for room in _ROOMS:
            elsewhere = "library" if room == "planner" else "qemu_facts"
            ignored = shutil.ignore_patterns("__pycache__", elsewhere)
            shutil.copytree(root / room, package / room, ignore=ignored)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / "planner/library", package, dirs_exist_ok=True, ignore=ignored)
        shutil.copytree(root / "backends/qemu_facts", package / "qemu_facts", ignore=ignored)
        shutil.copytree(root / "specs/designs", package / "planner/explore/designs")
        shutil.copytree(root / "specs/schemas", package / "schemas")
        shutil.copy(root / "specs/qemu-facts.md", package / "qemu_facts")
        _lay_out_pages(root, package / "help")
        for file in sorted(package.rglob("*.py")):
            file.write_text(renamed(file.read_text(), str(file.relative_to(self._laid_out))))
        build_data["force_include"][str(package)] = "snapplan"
        manual = self._laid_out / "man"
        _make_manual(root, manual)
        for page in sorted(manual.rglob("*.?")):
            build_data["shared_data"][str(page)] = f"share/man/{page.relative_to(manual)}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Take the tree away."""
        del version, build_data, artifact_path
        shutil.rmtree(self._laid_out)


def _lay_out_pages(root: Path, to: Path) -> None:
    """Copy the documentation's pages, in the folders that they stand in."""
    for page in sorted((*(root / "docs").rglob("*.md"), *(root / "specs").rglob("*.md"))):
        copy = to / page.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page, copy)


def _make_manual(root: Path, to: Path) -> None:
    """Have the manual pages made, by a Python of its own that imports the checkout's commands.

    They are found by the folder that it runs in (``-m``): where pip builds in isolation with a Python in
    which the checkout is installed as editable, it takes the checkout out of `PYTHONPATH`'s folders.
    """
    places = (str(root / "docs/_extensions"), str(root), os.environ.get("PYTHONPATH", ""))
    found = os.pathsep.join(filter(None, places))
    subprocess.run(
        [sys.executable, "-m", "manual_pages", str(to)],
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": found, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def renamed(source: str, where: str) -> str:
    """A module's text with the installed names in its import statements.

    Raises:
        ValueError: Something in it would still import one of the folders by its name.
    """
    text = _IMPORT.sub(lambda found: found[1] + _installed(found[2]), source)
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        if any(name.split(".")[0] in _ROOMS for name in names):
            raise ValueError(f"{where}:{getattr(node, 'lineno', 0)} imports {', '.join(names)}")
    return text


def _installed(name: str) -> str:
    if name == _FACTS:
        return "snapplan.qemu_facts"
    return "snapplan" if name == _PUBLIC else f"snapplan.{name}"
