"""The README as a package index shows it: there, links into the checkout would lead nowhere.

With `Source` in `[project.urls]` they become links to that place; without it a picture goes, and of a
link its words stay.  `snapplan help` has the same pages wherever the package is installed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?P<picture>!?)\[(?P<words>[^\]]*)\]\((?P<to>(?!https?:|#)[^)]+)\)")


class CustomMetadataHook(MetadataHookInterface):
    """Gives the distribution its long description."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the description; hatchling calls it with what `pyproject.toml` says."""
        source = metadata.get("urls", {}).get("Source", "")
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": text_for_an_index(text, source),
        }


def text_for_an_index(text: str, source: str) -> str:
    """The README with links that work elsewhere; ``source`` is empty, or an address of the checkout."""

    def replaced(link: re.Match[str]) -> str:
        if source:
            return f"{link['picture']}[{link['words']}]({source.rstrip('/')}/{link['to']})"
        return "" if link["picture"] else link["words"]

    return _LINK.sub(replaced, text)
