"""The wheel: one top-level name, which works beside folders `planner` and `backends` of a tool."""

import os
import re
import runpy
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import attrs
import pytest
import snapplan

from planner.cli.main import cli

PROGRAM = Path("tests/data/user_program.py").absolute()
EXAMPLE = Path("specs/examples/one-disk").absolute()
HOSTILE = 'raise ImportError("a folder of the tool was imported in place of snapplan\'s")\n'


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built as pip builds it, without a network.

    Where pip isolates a build, it takes the folders of editable installations out of ``sys.path``.
    """
    out = tmp_path_factory.mktemp("wheel")
    isolating = tmp_path_factory.mktemp("isolating")
    (isolating / "sitecustomize.py").write_text(
        f"import sys\nsys.path[:] = [each for each in sys.path if each != {str(Path.cwd())!r}]\n"
    )
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command = [
        *pip,
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
        "--wheel-dir",
        str(out),
        ".",
    ]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(isolating)})
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def python_with_it(wheel, tmp_path_factory):
    """A Python of its own in which the wheel is installed; what it needs is that of the tests."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = environment / "lib" / version / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "of_the_tests.pth").write_text(f"{Path(attrs.__file__).parent.parent}\n")
    return environment / "bin" / "python"


@pytest.fixture(scope="module")
def in_a_tool(wheel, tmp_path_factory):
    """Runs Python in the folder of a tool, where snapplan is installed from the wheel."""
    site, tool = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("tool")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for room in ("planner", "backends"):
        (tool / room).mkdir()
        (tool / room / "__init__.py").write_text(HOSTILE)

    def run(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(site)}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tool,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_one_top_level_name_is_installed(wheel):
    """Whatever else lies on the path, nothing of it can be taken for snapplan's."""
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        assert "snapplan/py.typed" in archive.namelist()
        assert "snapplan/schemas/error.schema.json" in archive.namelist()
    beside = (".dist-info", ".data")
    assert {top for top in tops if not top.endswith(beside)} == {"snapplan"}


def test_manual_pages_are_where_pip_puts_data_files(wheel):
    """snapplan(1), a page for each command, snapplan-request(5); every option stands in its page."""
    with zipfile.ZipFile(wheel) as archive:
        pages = {
            name.partition(".data/data/share/man/")[2]: archive.read(name).decode()
            for name in archive.namelist()
            if ".data/data/share/man/" in name
        }
    commands = cli.list_commands(None)
    wanted = {"man1/snapplan.1", "man5/snapplan-request.5"}
    assert set(pages) == wanted | {f"man1/snapplan-{name}.1" for name in commands}
    for name in commands:
        shown = pages[f"man1/snapplan-{name}.1"].replace("\\-", "-")
        for parameter in cli.get_command(None, name).params:
            missing = [
                each for each in parameter.opts if each.startswith("-") and each not in shown
            ]
            assert missing == [], name
    assert "freeze\\-filesystems" in pages["man5/snapplan-request.5"]


def test_the_wheel_says_nothing_that_leads_nowhere(wheel):
    """On a package index there is no checkout beside the README: no link into it, no picture of it."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("/METADATA"))
        said = archive.read(name).decode()
    assert "Five commands on your VM" in said
    assert re.findall(r"\]\((?!https?:|#)[^)]*\)", said) == []
    checked = [sys.executable, "-m", "twine", "check", "--strict", str(wheel)]
    done = subprocess.run(checked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_links_of_the_index_lead_to_the_source_where_one_is_named():
    """With an address of the checkout, links and pictures are that address's."""
    hook = runpy.run_path("script/index_readme.py")
    text = "![a](docs/a.svg) [b](docs/b.md#c) [d](https://e.example) [f](#g)"
    assert hook["text_for_an_index"](text, "https://s.example/") == (
        "![a](https://s.example/docs/a.svg) [b](https://s.example/docs/b.md#c) "
        "[d](https://e.example) [f](#g)"
    )
    assert hook["text_for_an_index"](text, "") == " b [d](https://e.example) [f](#g)"


def test_every_module_imports_beside_folders_of_these_names(in_a_tool):
    """Each module of the wheel is imported; not one leaves `snapplan` for a folder of the tool."""
    program = """
import importlib, pkgutil, snapplan
for module in pkgutil.walk_packages(snapplan.__path__, "snapplan."):
    if not module.name.endswith(("__main__", "replay")):
        importlib.import_module(module.name)
print(snapplan.__file__)
"""
    done = in_a_tool("-c", program)
    assert done.returncode == 0, done.stderr
    assert "site" in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["--version"],
        ["schema", "error"],
        ["schema", "--json"],
        ["help"],
        ["help", "on-your-vm"],
        ["help", "fact", "21"],
        ["help", "disk-busy"],
        ["completion", "bash"],
        ["plan", f"{EXAMPLE}.yaml", "--facts", f"{EXAMPLE}.facts.json"],
        [
            *("explore", f"{EXAMPLE}.yaml", "--facts", f"{EXAMPLE}.facts.json"),
            *("--design", "transactional", "--faults", "none"),
        ],
    ],
)
def test_the_command_line_works_there(in_a_tool, command):
    """With what it reads from its own folders: designs, the schemas of QEMU."""
    done = in_a_tool("-m", "snapplan", *command)
    assert done.returncode == 0, done.stderr


def test_backends_are_found_under_installed_names(in_a_tool):
    """A command that needs a VM gets as far as connecting to it."""
    done = in_a_tool("-m", "snapplan", "inspect", "--vm", "/nobody/listens/here.sock")
    assert done.returncode == 12, done.stderr


def test_a_program_of_a_user_passes_mypy_strict(python_with_it, tmp_path):
    """It uses every public name; types of the wheel are taken as they are in it (`py.typed`)."""
    program = PROGRAM.read_text()
    missing = [name for name in snapplan.__all__ if not re.search(rf"\b{name}\b", program)]
    assert missing == []
    where = python_with_it.parent.parent
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull),
            *("--python-executable", str(python_with_it), "--cache-dir", str(tmp_path / "cache")),
            *("--warn-unreachable", "--verbose", str(PROGRAM)),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"{where}/lib" in done.stderr, "it was another snapplan"
