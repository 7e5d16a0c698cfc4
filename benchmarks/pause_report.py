"""The report of `benchmarks.pause`: its tables and its plot."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median, quantiles
from typing import Any

from benchmarks.common import pyplot, table, verdict

PLAIN = "snapshot-save"
FIRST = "background, first"
MIB_PER_S = 200
TARGETS = {"background": 1 / 15, "live": 1 / 5}


def report(kept: dict[str, Any], ways: tuple[str, ...]) -> str:
    parts = []
    for key, one in sorted(kept.items(), key=by_version_and_memory):
        version, mib = key.split("/")
        parts.append(
            f"### QEMU {version}, {mib} MiB rewritten\n\n{one['machine']}, {one['accelerator']}, "
            f"{one['rounds']} rounds, load {one.get('load-before', 'unknown')} before them"
        )
        parts.append(
            table(
                (
                    "way",
                    "pause, ms",
                    "quartiles",
                    "least",
                    "most",
                    "of snapshot-save",
                    "in all, ms",
                ),
                list(rows(one, ways)),
            )
        )
    parts.append(table(("ratio of pauses", "measured", "target", ""), list(targets(kept, ways))))
    return "\n\n".join(parts)


def by_version_and_memory(item: tuple[str, Any]) -> tuple[float, int]:
    version, mib = item[0].split("/")
    return float(version), int(mib)


def rows(one: dict[str, Any], ways: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for way in (*ways, FIRST):
        if way not in one["ms"]:
            why = one["left-out"].get(way, "")
            if why:
                yield (way, why, "", "", "", "", "")
            continue
        pauses = [pause for pause, _ in one["ms"][way]]
        share = ratio(one, way)
        low, middle, high = quartiles(pauses)
        yield (
            way,
            f"{middle:.0f}",
            f"{low:.0f}..{high:.0f}",
            *(f"{value:.0f}" for value in (min(pauses), max(pauses))),
            f"{share:.3f} (1/{1 / share:.1f})",
            f"{median(total for _, total in one['ms'][way]):.0f}",
        )


def quartiles(values: list[float]) -> list[float]:
    """The lower quartile, the median and the upper one."""
    if len(values) == 1:
        return values * 3
    return quantiles(values, n=4, method="inclusive")


def ratio(one: dict[str, Any], way: str) -> float:
    """The median pause of a way, of that of `snapshot-save`."""
    medians = [median(pause for pause, _ in one["ms"][name]) for name in (way, PLAIN)]
    return float(medians[0] / medians[1])


def targets(kept: dict[str, Any], ways: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """What issue 5 asks for: the two short designs at the most memory, the others everywhere.

    Noise is what the very same command does: no longer is what no round of `snapshot-save` or of
    `monolithic`, which sends it and nothing else in the pause, was longer than.
    """
    for key, one in sorted(kept.items(), key=by_version_and_memory):
        most = key.endswith(f"/{max(int(key.split('/')[1]) for key in kept)}")
        for way in ways[1:]:
            if way not in one["ms"]:
                continue
            noise = longest_of_the_same(one)
            at_most = TARGETS.get(way, noise) if most else noise
            name, _, _, word = verdict(f"{key} MiB, {way}", ratio(one, way), at_most)
            yield name, f"{ratio(one, way):.3f}", f"<= {at_most:.3f}", word


def longest_of_the_same(one: dict[str, Any]) -> float:
    """The longest pause of `snapshot-save` and `monolithic`, of the median of the first."""
    plain = [pause for pause, _ in one["ms"][PLAIN]]
    same = [pause for pause, _ in one["ms"].get("monolithic", [])]
    return float(max(plain + same) / median(plain))


def draw(kept: dict[str, Any], ways: tuple[str, ...]) -> Any:
    versions = sorted({key.split("/")[0] for key in kept}, key=float)
    figure, axes = pyplot().subplots(
        1, len(versions), figsize=(4.6 * len(versions), 4.6), layout="constrained", sharey=True
    )
    for axis, version in zip([axes] if len(versions) == 1 else axes, versions, strict=True):
        sizes = sorted(int(key.split("/")[1]) for key in kept if key.startswith(f"{version}/"))
        for way in (*ways, FIRST):
            here = [mib for mib in sizes if way in kept[f"{version}/{mib}"]["ms"]]
            runs = [[pause for pause, _ in kept[f"{version}/{mib}"]["ms"][way]] for mib in here]
            if not here:
                continue
            middle = [median(pauses) for pauses in runs]
            spread = [
                [value - min(pauses) for value, pauses in zip(middle, runs, strict=True)],
                [max(pauses) - value for value, pauses in zip(middle, runs, strict=True)],
            ]
            style = {"linestyle": ":", "marker": "x"} if way == FIRST else {"marker": "o"}
            axis.errorbar(here, middle, yerr=spread, capsize=3, label=way, **style)
        axis.set(title=f"QEMU {version}", xlabel="memory rewritten, MiB", xscale="log")
        axis.set_yscale("log")
        axis.set_xticks(sizes, [str(mib) for mib in sizes])
        axis.minorticks_off()
        axis.grid(visible=True, axis="y", alpha=0.3)
    first = axes if len(versions) == 1 else axes[0]
    first.set_ylabel("guest's pause, ms (median; least to most)")
    last = axes if len(versions) == 1 else axes[-1]
    figure.legend(
        *last.get_legend_handles_labels(), loc="outside lower center", ncols=len(ways) + 1
    )
    figure.suptitle(f"How long the guest stands still; it rewrites its memory at {MIB_PER_S} MiB/s")
    return figure
