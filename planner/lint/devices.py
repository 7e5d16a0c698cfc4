"""What a sequence has plugged and unplugged, and what of it each of its snapshots has the state of."""

from __future__ import annotations

from attrs import define, field

__all__ = ["Devices"]


@define
class Devices:
    """The devices of a sequence.

    Attributes:
        added: The line of each that it plugged and that is there, by its id.
        gone: The line of each that was there before and that it unplugged.
        asked: The line of each that it asked the guest to let go, and that may be there still.
        saved: For each tag what was plugged and what was gone when the sequence saved it.
    """

    added: dict[str, int] = field(factory=dict)
    gone: dict[str, int] = field(factory=dict)
    asked: dict[str, int] = field(factory=dict)
    saved: dict[str, tuple[frozenset[str], frozenset[str]]] = field(factory=dict)

    def remove(self, name: str, line: int) -> None:
        """It is not there any more."""
        self.asked.pop(name, None)
        if self.added.pop(name, 0) == 0:
            self.gone[name] = line

    def save(self, tag: str) -> None:
        """A snapshot has the state of all that is there now."""
        self.saved[tag] = (frozenset(self.added), frozenset(self.gone))

    def later(self, tag: str) -> list[str]:
        """What is there and was not when the tag was saved."""
        if tag not in self.saved:
            return []
        added, gone = self.saved[tag]
        back = {name for name in gone if name not in self.gone}
        return sorted((self.added.keys() - added) | back)

    def missing(self, tag: str) -> list[str]:
        """What was there when the tag was saved, and is not."""
        if tag not in self.saved:
            return []
        added, gone = self.saved[tag]
        return sorted((added - self.added.keys()) | (self.gone.keys() - gone))
