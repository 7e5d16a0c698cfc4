"""The tests that `snapplan design page` makes, on a real QEMU: it leaves what the model says.

They import `iotests`, which is `tests/support/iotests_shim` here; long tests take QEMU's own, and its
parser for QAPI, from Debian's source package.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from planner.present.proposal_iotest import iotest_text
from planner.verbs.design_files import find_design
from tests.model.test_design_page import COPYING, EXAMPLE, design_of, tried
from tests.support.binaries import qemu_binary
from tests.support.forked import run_snapplan

pytestmark = pytest.mark.real_qemu

SHIM = Path(__file__).parents[1] / "support/iotests_shim"
EXISTING = ["monolithic", "transactional", "savevm", "load-today", "delete-today", *COPYING]
"""Designs that QEMU has."""


def run(folder, design, *tests, text=None, path=SHIM, more=None):
    """Run the test of a design; gives the status and what it said."""
    file = folder / "made.py"
    file.write_text(text or iotest_text(find_design(design_of(design)), tried(design)))
    sockets = folder / "s"
    sockets.mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(path),
        "TEST_DIR": str(folder),
        "SOCK_DIR": str(sockets),
        "QEMU_PROG": qemu_binary(),
        "QEMU_IMG_PROG": shutil.which("qemu-img"),
        "QEMU_IO_PROG": shutil.which("qemu-io"),
        **(more or {}),
    }
    (name,) = re.findall(r"^class (\w+)", file.read_text(), re.MULTILINE)
    words = [f"{name}.test_{each}" for each in tests]
    done = subprocess.run(
        [sys.executable, str(file), *words],
        capture_output=True, text=True, check=False, env=environment, cwd=folder,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("design", ["transactional", "copies-grouped"])
def test_the_happy_path_of_a_design_that_qemu_has(tmp_path, design):
    """Each disk has its part, of one instant; machine state loads, a copy reads as its disk."""
    status, said = run(tmp_path, design, "nothing_strikes")
    assert status == 0, said
    assert "Ran 1 test" in said


def test_what_qemu_has_not_is_skipped_truthfully(tmp_path):
    status, said = run(tmp_path, "include-vmstate", "nothing_strikes")
    assert status == 0, said
    assert "skipped 'this QEMU has no transaction action include-vmstate'" in said


@pytest.mark.long
@pytest.mark.parametrize("design", EXISTING)
def test_every_run_of_a_design_that_qemu_has(tmp_path, design):
    """What strikes is brought about, and what QEMU leaves is what the model says that it leaves."""
    status, said = run(tmp_path, design)
    assert status == 0, said
    assert f"Ran {len(tried(design).runs)} tests" in said
    assert "skipped" not in said


@pytest.mark.long
def test_a_design_that_promises_more_than_qemu_keeps_fails(tmp_path):
    """`snapshot-load` that takes everything back: the test finds that QEMU does not."""
    text = Path("specs/designs/load-today.yaml").read_text()
    lying = tmp_path / "lying.yaml"
    lying.write_text(
        text.replace("on-failure: what-was-done", "on-failure: nothing\n    stops-guest: true")
    )
    made = iotest_text(find_design(str(lying)), tried(str(lying)))
    name = "fails_1_snapshot_load_ReadVmstate_system"
    status, said = run(tmp_path, "", name, text=made)
    assert status == 1, said
    assert "FAIL" in said
    status, said = run(tmp_path, "load-today", name)
    assert status == 0, said


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """QEMU's source as Debian has it: its iotests, its Python and its QAPI."""
    place = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    mirrors = [each for each in listed.stdout.split() if each.rstrip("/").endswith("/debian")]
    if not mirrors:
        pytest.skip("apt has no mirror of Debian")
    (place / "s.list").write_text(f"deb-src {mirrors[0]} bookworm main\n")
    for folder in ("lists/partial", "cache/archives/partial"):
        (place / folder).mkdir(parents=True)
    apt = ["apt-get", "-qq", "-o", f"Dir::Etc::sourcelist={place}/s.list"]
    apt += ["-o", "Dir::Etc::sourceparts=-", "-o", f"Dir::State::Lists={place}/lists"]
    apt += ["-o", f"Dir::Cache={place}/cache"]
    for words in (["update"], ["source", "--download-only", "qemu"]):
        done = subprocess.run(
            [*apt, *words], capture_output=True, text=True, check=False, cwd=place
        )
        if done.returncode:
            pytest.skip(f"QEMU's source is not to be had: {done.stderr[-300:]}")
    (archive,) = place.glob("qemu_*.orig.tar.xz")
    wanted = ["*/python/*", "*/tests/qemu-iotests/*.py", "*/scripts/qapi*"]
    subprocess.run(["tar", "xf", archive, "--wildcards", *wanted], check=True, cwd=place)
    return next(each for each in place.iterdir() if each.name.startswith("qemu-"))


@pytest.mark.long
@pytest.mark.parametrize("design", ["transactional", "load-today", "include-vmstate"])
def test_with_the_iotests_of_qemu(source, tmp_path, design):
    """QEMU's own `iotests.py` runs it as it runs its own tests."""
    more = {
        "PYTHONPATH": f"{source}/tests/qemu-iotests:{source}/python",
        "CACHEMODE": "writeback",
        "AIOMODE": "threads",
        "QEMU_DEFAULT_MACHINE": "pc",
        "SAMPLE_IMG_DIR": str(tmp_path),
        "IMGFMT": "qcow2",
        "IMGPROTO": "file",
        "QEMU_IO_OPTIONS": "--cache writeback --aio threads -f qcow2",
        "QEMU_OPTIONS": "-nodefaults -display none -accel tcg",
    }
    status, said = run(tmp_path, design, more=more)
    assert status == 0, said
    assert f"Ran {len(tried(design).runs)} tests" in said


@pytest.mark.long
@pytest.mark.parametrize(
    "design", ["include-vmstate", "post-copy", "machine-snapshot", "load-transaction"]
)
def test_the_fragment_is_qapi(source, tmp_path, design):
    """QEMU's own parser takes it, with a comment wanted for everything."""
    words = ["design", "page", design, f"{EXAMPLE}.yaml", "--facts", f"{EXAMPLE}.facts.json"]
    done = run_snapplan(*words, "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    fragment = (tmp_path / "out/qapi-fragment.json").read_text()
    schema = tmp_path / "schema.json"
    schema.write_text("{ 'pragma': { 'doc-required': true } }\n" + fragment)
    words = [sys.executable, source / "scripts/qapi-gen.py", "-o", tmp_path / "made", "-p", "x"]
    done = subprocess.run([*words, schema], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "made").glob("*qapi-commands*"))
