"""What every verb is given: the VM, the store, who is told, and who is asked."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from attrs import evolve, frozen

from planner.inspect.offline import OfflineImages
from planner.parts.manifest import Manifest
from planner.run.ports import Agent, Backend, Host, Images, Reporter
from planner.run.stopping import to_its_end
from planner.store.store import Store
from planner.verbs.keyring import NO_KEYRING, KeyRing

if TYPE_CHECKING:
    from planner.load.starting import Launch

__all__ = [
    "Agents",
    "Awaiting",
    "Consent",
    "Context",
    "ImageFiles",
    "Offline",
    "Question",
    "agreed",
]

_Result = TypeVar("_Result")


@frozen
class Question:
    """What would be lost for good, and is lost only with somebody's word for it.

    Attributes:
        subject: The tag that it is about.
        loss: What would be lost, in one sentence that has no question mark.
        question: The same as a question to a person.
        remedy: What to give where nobody can be asked.
    """

    subject: str
    loss: str
    question: str
    remedy: str


Consent = Callable[[Question], bool]
"""Asks, and says whether it had to: then it is decided again (`planner.run.consent`).

It raises where the answer is no, or where nobody can be asked.
"""

Agents = Callable[[str], Agent]
"""Makes the guest's agent of its socket's path."""


class Awaiting(Protocol):
    """How work that changes a VM is awaited: to its end, whatever stops us."""

    async def __call__(
        self, work: Coroutine[Any, Any, _Result], stop: Callable[[], None], /
    ) -> _Result:
        """Await the work; `stop` asks it to undo itself and end."""
        ...


def agreed(question: Question) -> bool:
    """The consent of a program: to call the verb is to want what it does."""
    del question
    return False


@frozen
class Context:
    """What a verb is done with.

    Attributes:
        backend: Connected to the VM.
        store: Where manifests and journals are kept.
        address: Where the VM is, as its backend spells it.
        agents: Makes a guest's agent; needed where file systems are to be frozen.
        reporter: Who is told of the progress; one that fails is not told anything more.
        consent: Who is asked before something is lost for good.
        awaiting: How work that changes the VM is awaited.
        keyring: What opens encrypted images that no VM has open.
    """

    backend: Backend
    store: Store
    address: str
    agents: Agents
    reporter: Reporter | None = None
    consent: Consent = agreed
    awaiting: Awaiting = to_its_end
    keyring: KeyRing = NO_KEYRING


class ImageFiles(OfflineImages, Images, Protocol):
    """Image files that no VM has open: looked into, checked, reverted and repaired."""


@frozen
class Offline:
    """What a verb is done with where no VM is.

    Attributes:
        store: Where manifests and journals are kept.
        images: The images of the VM.
        host: The machine that they are files of.
        reporter: Who is told of the progress.
        consent: Who is asked before something is lost for good.
        awaiting: How work that changes the images is awaited.
        vm_name: The name or UUID of the VM that tags are of; empty: the only one that has the tag.
        launch: Starts a fresh QEMU; needed for a restore only.
        keyring: What opens encrypted images.
    """

    store: Store
    images: ImageFiles
    host: Host
    reporter: Reporter | None = None
    consent: Consent = agreed
    awaiting: Awaiting = to_its_end
    vm_name: str = ""
    launch: Launch | None = None
    keyring: KeyRing = NO_KEYRING

    def unlocked(self, manifest: Manifest) -> Offline:
        """The same with the keys of a snapshot's images, where they were named."""
        keys, ring = self.keyring.keys(manifest), self.keyring
        if not keys or ring.images is None or ring.host is None:
            return self
        return evolve(self, images=ring.images(keys), host=ring.host(keys))
