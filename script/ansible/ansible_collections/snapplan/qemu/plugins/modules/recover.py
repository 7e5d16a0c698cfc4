#!/usr/bin/python
"""Finish or undo what an interrupted snapplan run left on a VM."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: recover
short_description: Finish or undo what an interrupted snapshot run left on a QEMU VM
version_added: 0.1.0
description:
  - A run of M(snapplan.qemu.snapshot) or M(snapplan.qemu.group) that was killed, or ended with exit code 21 or 22, left
    something on its VM. This finishes it where all its steps had been done, and undoes it else.
  - Where the QEMU of the run is gone, it works in the VM's images.
  - A run of a group is ended for all its members alike.
  - Check mode lists the runs that are pending.
options:
  vm:
    description:
      - Where the VM is, or was, as in M(snapplan.qemu.snapshot).
    type: str
    required: true
  key_files:
    description:
      - Files on the host of the task that hold the keys of encrypted images, by the id that QEMU has for each.
        The keys themselves are never given to the module.
    type: dict
    default: {}
extends_documentation_fragment:
  - snapplan.qemu.vm
attributes:
  check_mode:
    support: full
    description: Says what is pending, and changes nothing.
  diff_mode:
    support: none
    description: What will become of a run depends on what the VM shows.
"""

EXAMPLES = r"""
- name: End what a killed run left
  snapplan.qemu.recover:
    vm: /run/vm/web.sock
"""

RETURN = r"""
runs:
  description: The runs that were pending.
  returned: success
  type: list
  elements: dict
  contains:
    journal: {description: The journal of the run., type: str, returned: in check mode}
    tag: {description: The snapshot's name., type: str, returned: where it is done}
    phase: {description: How it has ended., type: str, returned: where it is done}
    run_state: {description: The VM's run state., type: str, returned: where it is done}
    undone: {description: What was undone., type: list, elements: str, returned: where it is done}
error:
  description: As M(snapplan.qemu.snapshot) returns it.
  returned: failure
  type: dict
remedies:
  description: What can be done about it.
  returned: failure
  type: list
  elements: str
recover_first:
  description: Whether this module has to run again, when its remedies are done.
  returned: failure
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.snapplan.qemu.plugins.module_utils import library

try:
    import snapplan
except ImportError:  # told by `library.failures_told`
    snapplan = None


def pending(vm: str, store: str | None) -> list[dict[str, object]]:
    """The runs that are pending on a VM, also where it cannot be asked."""
    try:
        with snapplan.sync.attach(vm, store=store) as attached:
            runs = attached.pending()
    except snapplan.CannotConnect:
        runs = snapplan.pending(store, address=vm)
        if not runs:
            raise
    return [{"journal": str(each.path)} for each in runs]


def recover(options: dict[str, object]) -> list[dict[str, object]]:
    """Recover, and say what became of each run."""
    ended = snapplan.sync.recover(
        options["vm"], store=options["store"], secrets=options["key_files"] or None
    )
    return [
        {
            "tag": each.replayed.run.tag,
            "phase": str(each.outcome.phase),
            "run_state": each.outcome.run_state,
            "undone": list(each.outcome.undone),
        }
        for each in ended
    ]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "vm": {"type": "str", "required": True},
            "key_files": {"type": "dict", "default": {}, "no_log": False},  # paths, no keys
            **library.STORE,
        },
        supports_check_mode=True,
    )
    with library.failures_told(module):
        options = module.params
        runs = pending(options["vm"], options["store"]) if module.check_mode else recover(options)
    module.exit_json(changed=bool(runs), runs=runs)


if __name__ == "__main__":
    main()
