"""The documentation builds without a warning, every link leads somewhere, what is generated is true."""

import os
import re
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import snapplan

from planner.cli.main import cli

ROOT = Path.cwd()
OUTSIDE = ("http", "https", "mailto")


class Links(HTMLParser):
    """The links of a page, what it loads, and the anchors that it has."""

    def __init__(self):
        super().__init__()
        self.links, self.loaded, self.anchors = [], [], set()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if given.get("id"):
            self.anchors.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "link" and "stylesheet" in given.get("rel", ""):
            self.loaded.append(given["href"])
        if given.get("src"):
            self.loaded.append(given["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `script/docs` builds it; a warning ends it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(["script/docs", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """Each page with its links."""
    found = {}
    for path in site.rglob("*.html"):
        found[path.resolve()] = parser = Links()
        parser.feed(path.read_text())
    return found


def test_every_link_leads_somewhere(pages):
    """A page, a file beside it, or an anchor; what is in the text and what the generator made."""
    dead = []
    for page, parser in pages.items():
        for link in parser.links + parser.loaded:
            parts = urlsplit(link)
            if parts.scheme in OUTSIDE:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if not target.exists():
                dead.append(f"{page.name}: {link}")
            elif parts.fragment and target in pages:
                anchor = unquote(parts.fragment)
                if anchor not in pages[target].anchors:
                    dead.append(f"{page.name}: {link} (no such anchor)")
    assert dead == []
    assert sum(len(parser.links) for parser in pages.values()) > 1000


def test_every_page_is_in_the_index(site):
    """Each `docs/*.md`, by its heading or by a pattern; the README need not name it then."""
    shown = Links()
    shown.feed((site / "docs/index.html").read_text())
    reached = {link.partition("#")[0] for link in shown.links}
    written = {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")} - {"index.html"}
    assert written - reached == set()


def test_every_how_to_is_in_the_readme():
    """Whoever reads that alone finds each of them; the reference and the rest are one link away."""
    named = set(re.findall(r"\]\(docs/([\w-]+)\.md\)", (ROOT / "README.md").read_text()))
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"} - named == set()


def test_it_is_read_without_a_network(pages):
    """No style, script or picture comes from elsewhere."""
    loaded = [link for parser in pages.values() for link in parser.loaded]
    assert [link for link in loaded if urlsplit(link).netloc] == []
    assert loaded


def test_every_public_name_is_in_the_reference(site):
    """`snapplan.__all__` and the twins of `snapplan.sync`, each with an entry of its own."""
    raw = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    names = {line.split()[0] for line in zlib.decompress(raw).decode().splitlines()}
    wanted = {f"snapplan.{name}" for name in snapplan.__all__ if not name.startswith("__")}
    assert wanted - {"snapplan.sync"} - names == set()
    assert {f"snapplan.sync.{name}" for name in snapplan.sync.__all__} - names == set()


def test_every_command_is_in_the_reference(site):
    """Each command that click knows, those of groups too."""
    text = (site / "docs/reference/command-line.html").read_text()
    shown = re.sub(r"<[^>]+>", "", text)
    for name in cli.list_commands(None):
        command = cli.get_command(None, name)
        for below in getattr(command, "commands", {"": None}):
            assert f"snapplan {name} {below}".strip() + " [OPTIONS]" in shown


def test_every_schema_is_in_the_reference():
    """No file and no output is without a table of its keys."""
    text = "".join(
        (ROOT / f"docs/reference/{page}.md").read_text()
        for page in ("files-and-outputs", "request")
    )
    names = {path.name.split(".")[0] for path in (ROOT / "specs/schemas").iterdir()}
    assert set(re.findall(r"```\{schema\} ([\w-]+)", text)) == names


def test_the_picture_is_of_todays_plan():
    """`docs/way-of-the-data.svg` is what the project draws of a real plan and its run."""
    done = subprocess.run(
        ["script/picture", "--check"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert done.returncode == 0, done.stderr
