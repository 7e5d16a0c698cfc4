"""The end of a run: what is there, as the properties look at it.

Rules: it sees the whole VM, not only what QMP shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from planner.explore.layers import Layers, own_parts
from planner.explore.state import ClientPhase, Setting, State, StreamPlace
from planner.semantics import LayerSnapshot, Qcow2Image

__all__ = ["End"]


@frozen
class End:
    """The end of a run.

    Attributes:
        setting: What was explored.
        state: The last state.
        images: The disks' images, the active layers.
        bases: By disk, the image below a new overlay; only where there is one.
    """

    setting: Setting
    state: State
    images: tuple[Qcow2Image, ...]
    bases: Mapping[int, Qcow2Image] = field(factory=dict, hash=False)

    @classmethod
    def of(cls, setting: Setting, state: State, layers: Layers) -> End:
        """The end that a state is."""
        bases = {d: layers[n] for d, n in enumerate(state.outside.frozen) if n >= 0}
        return cls(setting, state, tuple(layers[number] for number in state.layers), bases)

    @property
    def done(self) -> bool:
        """Whether the client says that the snapshot is there."""
        return self.state.phase == ClientPhase.DONE

    @property
    def abandoned(self) -> bool:
        """Whether the client died, and nobody came after it."""
        return self.state.phase == ClientPhase.ABANDONED

    @property
    def whole(self) -> bool:
        """Whether every part is there, once."""
        inside = all(len(own_parts(self.images[disk])) == 1 for disk in self.internal())
        outside = all(disk in self.bases for disk in self.external())
        copied = self.setting.copies == sum(1 << disk for disk in self.copied())
        return (
            inside and outside and copied and not (self.setting.capture and self.streamed is None)
        )

    @property
    def done_alone(self) -> bool:
        """Whether everything of a run that lost its client is done all the same."""
        as_wanted = self.state.running is self.setting.runs_after or bool(self.state.dead)
        return self.abandoned and self.whole and as_wanted

    def internal(self) -> list[int]:
        """The disks whose parts are internal."""
        elsewhere = self.setting.overlays | self.setting.copies
        return [d for d in range(len(self.images)) if not elsewhere >> d & 1]

    def external(self) -> list[int]:
        """The disks whose parts are images below new overlays."""
        return [d for d in range(len(self.images)) if self.setting.overlays >> d & 1]

    def copied(self) -> dict[int, int]:
        """By disk, the instant of its copy's content; of those that are whole."""
        copy = self.state.copy
        return {d: content for d, content in enumerate(copy.of) if copy.whole >> d & 1}

    @property
    def streamed(self) -> int | None:
        """The instant of the machine state in the stream's file, where that is complete."""
        outside = self.state.outside
        return outside.streamed if outside.stream == StreamPlace.COMPLETE else None

    def left(self, number: int) -> bool:
        """Whether undo reports something as left."""
        return bool(self.state.left >> number & 1)

    def parts(self) -> list[tuple[int, LayerSnapshot]]:
        """What the run made, by disk."""
        return [(d, part) for d, image in enumerate(self.images) for part in own_parts(image)]

    def name(self, disk: int) -> str:
        """A disk's name."""
        return self.setting.disks[disk]

    def names(self, disks: Iterable[int]) -> str:
        """Disks' names in a row."""
        return ", ".join(self.name(disk) for disk in disks)

    def current_until(self, disk: int, content: int) -> int:
        """The instant at which a disk's content was written over; far off where it never was."""
        for version in range(content + 1, self.state.version + 1):
            if (disk, version) not in self.state.skipped:
                return version
        return self.state.version + 1

    def one_instant(self, machine: int | None, contents: Iterable[tuple[int, int]]) -> bool:
        """Whether contents, and perhaps machine state, were there together at some instant."""
        starts, ends = [0], [self.state.version + 1]
        for disk, content in contents:
            starts.append(content)
            ends.append(self.current_until(disk, content))
        if machine is not None:
            starts.append(machine)
            ends.append(machine + 1)
        return max(starts) < min(ends)
