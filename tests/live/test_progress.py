"""Progress of long steps on a real QEMU: bytes that grow, as values and as JSON lines."""

import asyncio
import itertools

import pytest
import snapplan

from planner.run import watching
from tests.live.runs import as_json
from tests.live.runs import snapplan as command_line
from tests.support.contract import progress_lines
from tests.support.qemu import qemu_version
from tests.support.writer import start_writer

pytestmark = pytest.mark.real_qemu

WRITTEN_MIB = 448  # and 64 MiB beside: a guest of 512 MiB
RATE = 100 * 2**20


@pytest.fixture(scope="module")
def vm():
    """A guest of 512 MiB that has written to all of its memory, and goes on."""
    with start_writer(WRITTEN_MIB, mib_per_s=4) as started:
        yield started


def grow(amounts):
    """The bytes, each no fewer than those before, and never more than there are in all."""
    assert all(one["bytes-done"] <= two["bytes-done"] for one, two in itertools.pairwise(amounts))
    assert all(each["bytes-done"] <= each["bytes-total"] for each in amounts)
    return sorted({each["bytes-done"] for each in amounts})


def of_kind(lines, kind, text):
    return [each for each in lines if (each["kind"], each["text"]) == (kind, text)]


def test_a_snapshot_job_is_metered_while_qemu_is_silent(vm, tmp_path, monkeypatch):
    """Saved and loaded by the library: phase, step and growing bytes, up to about the memory."""
    monkeypatch.setattr(watching, "_EVERY_S", 0.01)
    told = []

    async def work():
        async with snapplan.attach(vm.qmp_path, store=tmp_path) as attached:
            saved = await attached.save("a", design="monolithic", on_progress=told.append)
            await saved.load(on_progress=told.append)
            await saved.delete(on_progress=told.append)

    asyncio.run(work())
    for step in ("snapshot-save", "snapshot-load"):
        words = [each for each in told if each.text == step]
        assert words[0].kind == "step"
        bytes_done = [each.bytes_done for each in words[1:]]
        assert len(set(bytes_done)) >= 3, words
        assert bytes_done == sorted(bytes_done)
        assert bytes_done[-1] > WRITTEN_MIB * 2**20 / 2
        assert all(each.bytes_done <= each.bytes_total for each in words[1:])
        assert {each.phase for each in words} == {"stepping"}
    phases = [each.text for each in told if each.kind == "phase"]
    assert phases == ["stepping", "confirming", "done", "stepping", "done", "stepping", "done"]


CAPTURES = ["live", "stopped"] + (["background"] if qemu_version() >= (10,) else [])


@pytest.mark.sample(1)
@pytest.mark.parametrize("capture", CAPTURES)
def test_a_stream_is_told_line_by_line(vm, tmp_path, capture):
    """`apply --progress json`: several lines with growing bytes; `verify --deep` tells what it reads."""
    stream = vm.directory / f"{capture}.stream"
    request = tmp_path / "request.yaml"
    state = f"{{external: {stream}, capture: {capture}, max-bandwidth: {RATE}}}"
    request.write_text(f"tag: {capture}\nmachine-state: {state}\ndisks: {{}}\nothers: exclude\n")
    where = ("--vm", vm.qmp_path, "--store", tmp_path / "store", "--progress", "json", "--json")
    done = command_line("apply", request, *where)
    assert done.returncode == 0, done.stderr
    lines = progress_lines(done.stderr)
    told = [each for each in lines if each["kind"] == "bytes" and each["steps"]]
    assert len(grow(told)) >= 3, told
    assert told[-1]["bytes-done"] == told[-1]["bytes-total"] > WRITTEN_MIB * 2**20 / 2
    assert [each["text"] for each in lines if each["kind"] == "phase"][:1] == ["stepping"]
    seconds = [each["seconds"] for each in lines]
    assert seconds == sorted(seconds)
    deep = progress_lines(command_line("verify", capture, *where, "--deep").stderr)
    assert {each["phase"] for each in deep} == {"verifying"}
    assert len(grow(deep)) >= 3


def test_a_merge_is_told_and_none_is_silent(vm, tmp_path):
    """`delete --overlays commit`; with `--progress none`, and without a terminal, nothing is said."""
    overlay, request = vm.directory / "over.qcow2", tmp_path / "request.yaml"
    request.write_text(
        f"tag: o\nmachine-state: none\ndisks: {{disk1: {{external: {overlay}}}}}\nothers: exclude\n"
    )
    where = ("--vm", vm.qmp_path, "--store", tmp_path / "store", "--json")
    applied = command_line("apply", request, *where, "--progress", "none")
    assert applied.stderr == ""
    overlay_node = as_json(applied)["frozen"][0]["overlay"]
    blocks = vm.execute("query-block")
    [qdev] = [b["qdev"] for b in blocks if b.get("inserted", {}).get("node-name") == overlay_node]
    write = f'qemu-io -d {qdev} "write -P 7 0 4M"'
    assert vm.execute("human-monitor-command", **{"command-line": write}) == ""
    deleted = command_line(
        "delete", "o", *where, "--overlays", "commit", "--yes", "--progress", "json"
    )
    assert deleted.returncode == 0, deleted.stderr
    lines = progress_lines(deleted.stderr)
    [step] = of_kind(lines, "step", "merge on disk1")
    merged = of_kind(lines, "bytes", "merge on disk1")
    assert merged[-1]["bytes-done"] == merged[-1]["bytes-total"] >= 4 * 2**20
    assert (step["step"], step["steps"]) == (1, 1)


def test_a_callback_that_raises_over_bytes_stops_nothing(vm, tmp_path, monkeypatch):
    """The snapshot is there, and the guest runs."""
    monkeypatch.setattr(watching, "_EVERY_S", 0.01)
    raised = []

    def callback(progress):
        if progress.kind == "bytes":
            raised.append(progress)
            raise RuntimeError("a bug of the tool")

    with snapplan.sync.attach(vm.qmp_path, store=tmp_path) as attached:
        attached.save("b", design="monolithic", on_progress=callback).delete()
    assert len(raised) == 1
    assert vm.status() == "running"
