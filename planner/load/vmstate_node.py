"""The node that a load reads machine state from, where that has an image of its own.

    open - add-fd - add-fd - blockdev-add    before the guest is stopped
    blockdev-del - remove-fd - remove-fd     when the load has ended, well or not

`snapshot-load` reverts every node that it is given, and so writes to the one with the machine state too
(fact 91).  So QEMU gets the image for reading only, under a throw-away qcow2 layer that takes what is
written *to the image's own bytes*: qcow2 over qcow2, the inner one as the outer one's file.  An ordinary
overlay would not do, since it shows no snapshot of what lies under it.
"""

from __future__ import annotations

from planner.load.load_checks import LoadedImage
from planner.program.resolution import descriptor_set, temporary_path
from planner.run.actions import ErrorReply, Flow, HostDo, Returned, Send
from planner.run.run_context import RunContext

__all__ = ["add_node", "reading_node", "remove_node", "sets_of"]

_TIMEOUT_S = 300.0
_HOST_TIMEOUT_S = 120.0
_OPAQUE = "snapplan-vmstate"


def sets_of(file: str) -> tuple[int, int]:
    """The descriptor sets of an image and of the throw-away layer over it."""
    return descriptor_set(file), descriptor_set(f"{file}\0layer")


def reading_node(node: str, image: str, layer: str) -> dict[str, object]:
    """The arguments of the `blockdev-add` that makes the node.

    Args:
        node: Its name.
        image: The image, by the name that QEMU opens it by.
        layer: The throw-away layer, likewise.
    """
    return {
        "driver": "qcow2",
        "node-name": node,
        "file": {
            "driver": "qcow2",
            "file": {"driver": "file", "filename": layer},
            "backing": {"driver": "file", "filename": image, "read-only": True},
        },
    }


def add_node(context: RunContext, image: LoadedImage) -> Flow[None]:
    """Give QEMU the node; nothing of the guest's is touched.

    Raises:
        StepFailed: It cannot be made.
    """
    names = {"path": image.file, "temporary": temporary_path(image.file)}
    context.passed_descriptor = True
    told = yield HostDo("open-vmstate-image", names, _HOST_TIMEOUT_S)
    if isinstance(told, ErrorReply):
        raise context.failed(told.error_class, told.description)
    context.must_be_done(told)
    for number, name in zip(sets_of(image.file), names.values(), strict=True):
        arguments = {"fdset-id": number, "opaque": _OPAQUE}
        context.must_be_done((yield Send("add-fd", arguments, descriptor=name)))
    context.added.append(image.node)
    arguments = reading_node(image.node, *(f"/dev/fdset/{n}" for n in sets_of(image.file)))
    context.must_be_done((yield Send("blockdev-add", arguments, _TIMEOUT_S)))
    context.must_be_done((yield HostDo("close-vmstate-image", names, _HOST_TIMEOUT_S)))


def remove_node(context: RunContext, image: LoadedImage) -> Flow[str]:
    """Take the node out of QEMU, and the descriptors back; why that cannot be done, or nothing."""
    if not context.passed_descriptor:
        return ""
    context.passed_descriptor = False
    why = ""
    if image.node in context.added:
        response = yield from context.answer(
            Send("blockdev-del", {"node-name": image.node}, _TIMEOUT_S)
        )
        context.added.remove(image.node)
        if isinstance(response, ErrorReply) and "Failed to find node" not in response.description:
            why = response.description
        elif not isinstance(response, ErrorReply | Returned):
            why = "no answer"
    for number in sets_of(image.file):  # one that was never passed is an error, and no harm
        told = yield from context.answer(Send("remove-fd", {"fdset-id": number}))
        if isinstance(told, ErrorReply) and "not found" not in told.description:
            why = why or told.description
    return why
