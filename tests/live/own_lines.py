"""VMs on command lines of the test's own, and snapplan's commands on them."""

from functools import partial

from backends.qemu_facts.lab import own_lines
from tests.live.runs import as_json, snapplan

__all__ = ["Folder", "codes", "folder"]


class Folder(own_lines.Folder):
    """A folder with images, a store and a QEMU at a time."""

    def run(self, *words, text="", vm=True):
        """A command of snapplan on the VM, or without it."""
        at = ("--vm", self.path / "tool") if vm else ()
        return snapplan(*words, *at, "--store", self.path / "store", text=text)

    def offline(self, *words):
        """The same on the files of a VM that is gone."""
        return self.run(*words, "--offline", vm=False)


folder = partial(own_lines.folder, Folder)
"""A folder that goes with everything in it."""


def codes(done):
    """The codes of a refusal's problems, each with its subject."""
    return {(each["code"], each["subject"]) for each in as_json(done)["error"]["problems"]}
