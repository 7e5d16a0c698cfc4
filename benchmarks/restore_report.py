"""What `benchmarks.restore` measured, as tables and a plot."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

from benchmarks.common import pyplot, table, verdict

__all__ = ["draw", "report"]

READY, READ, LIFE = range(3)
LOAD = "snapshot-load"
MOST_CLONES = "16"
TO_RUNNING_MS, TO_256_MIB, TO_EMPTY, TO_LOAD, CLONES_MIB = 30, 1.5, 1.2, 1 / 50, 2048
LEAST_MIB, CLONE_MIB, MOST_MIB = "256", "1024", "4096"


def report(kept: dict[str, Any]) -> str:
    """All of it in Markdown."""
    parts = [summary(kept), clones_summary(kept)]
    for key, one in in_order(kept):
        version, mib = key.split("/")
        parts += [
            f"### QEMU {version}, {mib} MiB",
            f"{one['machine']}; load at the end {load_of(one['after'])}",
            f"{one['rounds']} rounds, and {one.get('more', 0)} more of what is quick",
            "Files: "
            + ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in one["bytes"].items()),
            table(
                (
                    "way",
                    "ready, ms",
                    "read, ms",
                    "life, ms",
                    "least",
                    "of snapshot-load",
                    "of empty",
                ),
                list(rows(one)),
            ),
            table(
                ("clones", "until all live, ms", "Pss, MiB", "a second later", "of their memory"),
                list(clone_rows(one, int(mib))),
            ),
        ]
    parts.append(table(("target", "measured", "at most", ""), list(targets(kept))))
    return "\n\n".join(parts)


def summary(kept: dict[str, Any]) -> str:
    """The guest's first sign of life, of that after `snapshot-load`, by the least of the rounds."""
    columns = in_order(kept)
    ways = dict.fromkeys(way for _, one in columns for way in one["ms"])
    lines = [("snapshot-load, ms", *(f"{least(one, LOAD, LIFE):.0f}" for _, one in columns))]
    for way in ways:
        if way != LOAD:
            cells = (
                f"1/{least(one, LOAD, LIFE) / least(one, way, LIFE):.0f}"
                if way in one["ms"]
                else ""
                for _, one in columns
            )
            lines.append((way, *cells))
    reads = (
        f"{least(one, 'template', READ):.0f}, {middle(one, 'template', READ):.0f}"
        for _, one in columns
    )
    lines.append(("template: read and running, ms (least, median)", *reads))
    wholes = (f"{whole(one, 'template') / whole(one, 'empty'):.2f}" for _, one in columns)
    lines.append(("template: start and read, of an empty QEMU's start", *wholes))
    return table(("", *(f"{key.replace('/', ', ')} MiB" for key, _ in columns)), lines)


def clones_summary(kept: dict[str, Any]) -> str:
    """What clones cost together."""
    columns = in_order(kept)
    lines = [
        (
            f"{count} clones, Pss before they run, MiB",
            *(f"{one['clones'][count]['pss-before']:.0f}" for _, one in columns),
        )
        for count in columns[0][1]["clones"]
    ]
    lines += [
        (
            f"{count} clones, until all live, ms",
            *(f"{one['clones'][count]['life']:.0f}" for _, one in columns),
        )
        for count in columns[0][1]["clones"]
    ]
    return table(("", *(f"{key.replace('/', ', ')} MiB" for key, _ in columns)), lines)


def in_order(kept: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(kept.items(), key=lambda item: tuple(map(float, item[0].split("/"))))


def load_of(machine: str) -> str:
    """Its load averages."""
    return machine.partition("load ")[2].partition(",")[0]


def middle(one: dict[str, Any], way: str, what: int) -> float | None:
    found = [run[what] for run in one["ms"][way] if run[what] is not None]
    return median(found) if found else None


def least(one: dict[str, Any], way: str, what: int) -> float:
    return float(min(run[what] for run in one["ms"][way]))


def whole(one: dict[str, Any], way: str) -> float:
    """From the start of the process until the guest runs."""
    return float(median(run[READY] + run[READ] for run in one["ms"][way]))


def rows(one: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    load, empty = middle(one, "snapshot-load", LIFE) or 1, middle(one, "empty", LIFE) or 1
    for way in one["ms"]:
        life = middle(one, way, LIFE) or 0
        yield (
            way,
            *("" if at is None else f"{at:.0f}" for at in (middle(one, way, w) for w in range(3))),
            f"{least(one, way, LIFE):.0f}",
            f"{life / load:.4f}",
            f"{life / empty:.2f}",
        )


def clone_rows(one: dict[str, Any], mib: int) -> Iterator[tuple[str, ...]]:
    for count, found in one["clones"].items():
        yield (
            count,
            *(f"{found[what]:.0f}" for what in ("life", "pss-before", "pss-after")),
            f"{found['pss-after'] / (int(count) * mib):.3f}",
        )


def targets(kept: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """What issue 14 asks for, by the least of the rounds: the rest is what others did meanwhile."""
    for version in dict.fromkeys(key.split("/")[0] for key, _ in in_order(kept)):
        most, first = kept.get(f"{version}/{MOST_MIB}"), kept.get(f"{version}/{LEAST_MIB}")
        middle_one = kept.get(f"{version}/{CLONE_MIB}")
        if most is not None:
            yield verdict(
                f"{version}: template read and running at 4 GiB, ms",
                least(most, "template", READ),
                TO_RUNNING_MS,
            )
            ratio = least(most, "spare", LIFE) / least(most, "snapshot-load", LIFE)
            name, _, _, word = verdict(
                f"{version}: spare of snapshot-load at 4 GiB", ratio, TO_LOAD
            )
            yield name, f"1/{1 / ratio:.0f}", "1/50", word
            yield verdict(
                f"{version}: whole restore of an empty QEMU's start at 4 GiB",
                whole(most, "template") / whole(most, "empty"),
                TO_EMPTY,
            )
        if most is not None and first is not None:
            ratio = least(most, "template", READ) / least(first, "template", READ)
            yield verdict(f"{version}: that, of 256 MiB", ratio, TO_256_MIB)
        if middle_one is not None:
            pss = middle_one["clones"][MOST_CLONES]["pss-before"]
            yield verdict(f"{version}: 16 clones of 1 GiB, MiB", pss, CLONES_MIB)


def draw(kept: dict[str, Any]) -> Any:
    """Life by memory, a line a way."""
    versions = list(dict.fromkeys(key.split("/")[0] for key, _ in in_order(kept)))
    figure, axes = pyplot().subplots(
        1, len(versions), figsize=(4.6 * len(versions), 4.4), squeeze=False, sharey=True,
        layout="constrained",
    )  # fmt: skip
    for axis, version in zip(axes[0], versions, strict=True):
        of = [
            (int(key.split("/")[1]), one) for key, one in in_order(kept) if key.startswith(version)
        ]
        for way in dict.fromkeys(way for _, one in of for way in one["ms"]):
            here = [(mib, one) for mib, one in of if way in one["ms"]]
            sizes = [mib for mib, _ in here]
            axis.plot(sizes, [least(one, way, LIFE) for _, one in here], marker="o", label=way)
        axis.set(title=f"QEMU {version}", xlabel="memory, MiB", xscale="log", yscale="log")
        axis.set_xticks([mib for mib, _ in of], [str(mib) for mib, _ in of])
        axis.minorticks_off()
        axis.grid(visible=True, axis="y", alpha=0.3)
    axes[0][0].set_ylabel("until the guest lives, ms (least of the rounds)")
    figure.legend(*axes[0][-1].get_legend_handles_labels(), loc="outside lower center", ncols=7)
    return figure
