"""A page in a real browser: it is shown, runs no script of a stranger's, and needs no network."""

import shutil
import subprocess

import pytest
from PIL import Image

from planner.experiment.experiment import Kind
from planner.experiment.page import results_page
from tests.unit.test_experiment_page import HOSTILE as HOSTILE_NAME
from tests.unit.test_experiment_page import about, measurements
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


def test_an_experiment_s_plots_are_shown_in_a_real_browser(tmp_path):
    """Hostile names and all: the plots are drawn, names are text, and no script runs."""
    results = measurements({HOSTILE_NAME: 10, "transactional": 30})
    file = tmp_path / "index.html"
    file.write_text(results_page(about(Kind.MEASURE, results, name=HOSTILE_NAME), results))
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    dom = browse(profile, "--dump-dom", file.as_uri()).stdout
    assert dom.count("<svg") == dom.count("</svg>") == 4
    assert "<script>" not in dom
    assert "<img" not in dom
    assert "&lt;script&gt;document.title" in dom
    shot = tmp_path / "shot.png"
    browse(profile, "--window-size=1300,2000", f"--screenshot={shot}", file.as_uri())
    with Image.open(shot) as picture:
        seen = {colour: count for count, colour in picture.convert("RGB").getcolors(2**24)}
    for plotted in ((0x1F, 0x77, 0xB4), (0xD9, 0x5F, 0x02), (0xD9, 0x88, 0x80)):
        assert seen[plotted] > 50  # the lines of two designs, and the pause of the timelines


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
