"""Files that QEMU is given as descriptors."""

import json

from backends.qemu_facts.lab.outcome import holds

SET = 1 << 30


def add_fd(vm, descriptor, number=SET):
    """Put a descriptor into a set of this number."""
    arguments = {"fdset-id": number, "opaque": "ours"}
    command = {"execute": "add-fd", "arguments": arguments, "id": f"add-{number}-{descriptor}"}
    vm.qmp.send_line(json.dumps(command).encode(), descriptor)
    reply = vm.qmp.reply_to(command["id"])
    holds(reply["fdset-id"] == number, reply)
