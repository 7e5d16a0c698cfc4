"""Draws `docs/way-of-the-data.svg` from a real plan and its run on the simulated VM.

    python docs/_extensions/picture.py FILE

The request and the facts are `specs/examples/uefi-guest`; graph, steps and proof are the plan's, the
manifest's parts are what a run of that plan recorded.  Nothing in it depends on the day or the machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from html import escape
from pathlib import Path
from typing import Any

import networkx as nx
import yaml

from planner.compile.graph import build_graph, canonical_order
from planner.compile.plan import Plan
from planner.compile.plan_text import read_plan
from planner.program.resolution import operations_of

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "specs/examples/uefi-guest"
SNAPPLAN = [sys.executable, "-m", "snapplan"]
WIDTH, HEIGHT, GAP, TOP = 300, 250, 34, 34
LINE = 16
_STYLE = """
  .box { fill: #ffffff; stroke: #3b5b7a; stroke-width: 1.5 }
  .head { font: bold 15px sans-serif; fill: #1d3d5c }
  .what { font: 11px sans-serif; fill: #5a6b7b }
  .code { font: 11px monospace; fill: #1b1b1b; white-space: pre }
  .arrow { stroke: #3b5b7a; stroke-width: 2; fill: none; marker-end: url(#tip) }
"""


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory(prefix="sp-") as folder:
        plan_file = Path(folder) / "plan.json"
        _run("plan", f"{EXAMPLE}.yaml", "--facts", f"{EXAMPLE}.facts.json",
             "--design", "transactional", "-o", plan_file)  # fmt: skip
        parts = _parts_of_a_run(plan_file, Path(folder))
        picture = drawn(read_plan(plan_file.read_text()), parts)
    Path(sys.argv[1]).write_text(picture)


def drawn(plan: Plan, parts: list[dict[str, Any]]) -> str:
    """The whole picture: two rows of three boxes, in the order of the way."""
    steps = plan.program.steps
    request = yaml.safe_load(Path(f"{EXAMPLE}.yaml").read_text())
    boxes = [
        ("1  Request", "what you ask for", _request_lines(request)),
        ("2  Graph", "what must come before what", _graph_lines(plan)),
        ("3  Steps", "QMP commands, each with its undo", _step_lines(plan)),
        ("4  Proof", "judged by code that made none of it", _proof_lines(plan)),
        ("5  Run", "a journal first; else all is undone",
         [f"{number}/{len(steps)}  {step.execute:<15} done" for number, step in enumerate(steps, 1)]
         + ["     every part is there", "     guest runs as before"]),
        ("6  Manifest", "the record that ties the parts", _part_lines(request["tag"], parts)),
    ]  # fmt: skip
    width, height = 3 * WIDTH + 2 * GAP + 20, 2 * HEIGHT + TOP + 20
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img">'
        ),
        (
            "<title>The way from a request to a snapshot: request, graph, steps, proof, run, "
            "manifest</title>"
        ),
        f"<style>{_STYLE}</style>",
        (
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#3b5b7a"/></marker></defs>'
        ),
        f'<rect width="{width}" height="{height}" fill="#f4f7fa"/>',
    ]
    for number, box in enumerate(boxes):
        lines += _box(*box, *_place(number))
    for number in range(len(boxes) - 1):
        lines.append(_arrow(_place(number), _place(number + 1)))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _place(number: int) -> tuple[int, int]:
    row, column = divmod(number, 3)
    return 10 + column * (WIDTH + GAP), 10 + row * (HEIGHT + TOP)


def _box(head: str, what: str, lines: list[str], x: int, y: int) -> list[str]:
    room = (HEIGHT - 50) // LINE
    if len(lines) > room:
        raise ValueError(f"{head}: {len(lines)} lines do not fit, {room} do")
    return [
        f'<rect class="box" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        f'<text class="head" x="{x + 12}" y="{y + 22}">{escape(head)}</text>',
        f'<text class="what" x="{x + 12}" y="{y + 38}">{escape(what)}</text>',
        *(
            f'<text class="code" xml:space="preserve" x="{x + 12}" y="{y + 60 + number * LINE}">'
            f"{escape(line)}</text>"
            for number, line in enumerate(lines)
        ),
    ]


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x, y), (to_x, to_y) = start, end
    if y == to_y:
        return f'<path class="arrow" d="M{x + WIDTH} {y + HEIGHT // 2} H{to_x - 2}"/>'
    down = y + HEIGHT + TOP // 2
    from_x, into_x = x + WIDTH // 2, to_x + WIDTH // 2
    return f'<path class="arrow" d="M{from_x} {y + HEIGHT} V{down} H{into_x} V{to_y - 2}"/>'


def _request_lines(request: dict[str, Any]) -> list[str]:
    return [
        f"tag: {request['tag']}",
        f"machine-state: {{internal: {request['machine-state']['internal']}}}",
        "disks:",
        *(f"  {disk}: {wish}" for disk, wish in request["disks"].items()),
    ]


def _graph_lines(plan: Plan) -> list[str]:
    graph = build_graph(operations_of(plan.program.resolution))
    needed = nx.transitive_reduction(graph)
    lines = []
    for operation in canonical_order(graph):
        after = sorted(str(each) for each in needed.predecessors(operation))
        lines += [f"{operation}"] + [f"   after {each}" for each in after]
    return [line.replace("()", "") for line in lines]


def _step_lines(plan: Plan) -> list[str]:
    lines = []
    for step in plan.program.steps:
        lines.append(step.execute)
        undo = [f"{each.kind.value} {each.disk}".strip() for each in step.undo]
        lines.append(f"   undo: {', '.join(undo) or 'nothing undoes this'}")
    return lines


def _proof_lines(plan: Plan) -> list[str]:
    graph = build_graph(operations_of(plan.program.resolution))
    ordering = {rule for *_, rules in graph.edges(data="rules") for rule in rules}
    others = ("complete", "nothing-else", "undo-complete", "covers-truth")
    return [f"holds  {rule}" for rule in (*sorted(map(str, ordering)), *others)]


def _part_lines(tag: str, parts: list[dict[str, Any]]) -> list[str]:
    instants = {part["vm-clock-ns"] for part in parts}
    if len(instants) != 1:
        raise ValueError(f"parts of several instants: {instants}")
    lines = [tag]
    for part in parts:
        memory = " + memory" if int(part["vm-state-size"]) else ""
        lines.append(f"  {part['disk']}  snapshot {part['id']}{memory}")
    return [*lines, f"one vm-clock: {int(instants.pop()) / 1e9:.3f} s"]


def _parts_of_a_run(plan: Path, folder: Path) -> list[dict[str, Any]]:
    socket = folder / "qmp.sock"
    vm = subprocess.Popen(
        [*SNAPPLAN, "simulate", "--facts", f"{EXAMPLE}.facts.json", "--socket", str(socket)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not socket.exists():
            if vm.poll() is not None:
                raise RuntimeError(f"the simulated VM ended: {vm.returncode}")
            time.sleep(0.02)
        said = _run("apply", plan, "--vm", socket, "--store", folder / "store", "--json")
        parts: list[dict[str, Any]] = json.loads(said)["parts"]
        return parts
    finally:
        vm.terminate()
        vm.wait()


def _run(*words: str | Path) -> str:
    command = [*SNAPPLAN, *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
