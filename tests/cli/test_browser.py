"""A page in a real browser: it is shown, runs no script of a stranger's, and needs no network."""

import shutil
import subprocess

import pytest

from tests.unit.test_pages import HOSTILE, hostile_page

pytestmark = pytest.mark.long


def browse(*arguments):
    browser = shutil.which("chromium")
    assert browser, "Debian's chromium is needed"
    command = [
        *(browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", *arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)


def test_a_stranger_s_tag_is_text_in_a_real_browser(tmp_path):
    """The title is what it was, the tag is there to be read, and a picture of it can be taken."""
    file = tmp_path / "page.html"
    file.write_text(hostile_page())
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    dom = browse(profile, "--dump-dom", file.as_uri()).stdout
    assert "<script>" not in dom
    assert "<img" not in dom
    assert "&lt;script&gt;document.title" in dom
    assert HOSTILE.startswith("</style>")
    browse(profile, f"--screenshot={tmp_path / 'shot.png'}", file.as_uri())
    assert (tmp_path / "shot.png").stat().st_size > 10_000
