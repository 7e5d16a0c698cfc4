#!/usr/bin/python
"""Take, load, verify or delete a snapshot of several VMs at one instant."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: group
short_description: Take, load, verify or delete a snapshot of several QEMU VMs at one instant
version_added: 0.1.0
description:
  - VMs that talk to each other are saved at one instant, by all of them or by none. No guest goes on before every one stands.
  - All members are given to one task on one host that reaches all of them. A group is never spread over hosts or plays;
    each host would save its own VM at an instant of its own.
  - Check mode plans all members and proves that they are one instant.
options:
  name:
    description:
      - The group's name. It is the tag of each member's snapshot that has no request.
    type: str
    required: true
  members:
    description:
      - The VMs, by the names that the group has for them.
      - Each has C(vm), where it is, and perhaps C(request) or C(request_file), as in M(snapplan.qemu.snapshot).
    type: dict
    required: true
  state:
    description:
      - V(present) saves the group unless it is there, made by the same requests. One that was made by others fails.
      - V(absent) deletes the snapshot of every member.
      - V(loaded) takes all of them back. No guest goes on until all are loaded.
      - V(verified) fails where a member's snapshot is not whole.
    type: str
    choices: [present, absent, loaded, verified]
    default: present
  partial:
    description:
      - With O(state=present), whether what cannot be saved may be left out of members that have no request.
    type: bool
    default: false
  pause_budget_ms:
    description:
      - With O(state=present), the longest that the guests may stand still, in milliseconds.
    type: float
  deadline_s:
    description:
      - How long a step, or the load of a member, may take, in seconds.
    type: float
  run_state_after:
    description:
      - With O(state=loaded), what the VMs do when they are loaded.
    type: str
    choices: [as-before, running, paused]
    default: as-before
extends_documentation_fragment:
  - snapplan.qemu.vm
attributes:
  check_mode:
    support: full
    description: The plan is made and proved, and nothing is changed.
  diff_mode:
    support: full
    description: The steps of the plan.
"""

EXAMPLES = r"""
- name: A database and its web server at one instant
  snapplan.qemu.group:
    name: before-upgrade
    members:
      db: {vm: /run/vm/db.sock}
      web: {vm: /run/vm/web.sock}
"""

RETURN = r"""
group:
  description: The group's name.
  returned: success
  type: str
members:
  description: The snapshot of each member, by its name.
  returned: where the group is there
  type: dict
plan:
  description: What is done, or would be in check mode, in words.
  returned: where something is to be done
  type: str
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
  description: Whether M(snapplan.qemu.recover) has to run before anything is tried again.
  returned: failure
  type: bool
"""

import contextlib
from collections.abc import Iterator

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.snapplan.qemu.plugins.module_utils import library

try:
    import snapplan
except ImportError:  # told by `library.failures_told`
    snapplan = None

MEMBER_KEYS = {"vm", "request", "request_file"}
REMEDY = "take another name, or delete the group first (state: absent)"


class Task(library.StateTask):
    """One task on one group."""

    def __init__(
        self, module: AnsibleModule, members: dict[str, object], given: dict[str, dict[str, object]]
    ) -> None:
        self.members, self.name = members, module.params["name"]
        requests = {each: library.request_of(options, "") for each, options in given.items()}
        self.requests = {each: asked for each, asked in requests.items() if asked is not None}
        super().__init__(module, group=self.name)

    def attached(self) -> Iterator[tuple[str, object]]:
        """The members' VMs."""
        return ((f"{member}: ", vm) for member, vm in self.members.items())

    def _found(self) -> object:
        try:
            return snapplan.sync.find_group(self.members, self.name)
        except snapplan.BadInput as error:
            if error.code != "group-unknown":
                raise
            return None

    def _there(self) -> object:
        return snapplan.sync.find_group(self.members, self.name)

    def _show_each(self, said: dict[str, str]) -> None:
        self.show("".join(f"{member}: {what}\n" for member, what in said.items()))

    def _present(self) -> None:
        group = self._found()
        wish = {"requests": self.requests, "partial": self.options["partial"]}
        if group is None:
            plan = snapplan.sync.plan_group(self.members, self.name, **wish)
            self.show(snapplan.plan_text(plan))
            if self.module.check_mode:
                return
            group = snapplan.sync.save_group(
                self.members,
                self.name,
                **wish,
                pause_budget_ms=self.options["pause_budget_ms"],
                deadline_s=self.options["deadline_s"],
            )
        else:
            self._refuse_others(group)
        self._tell_members(group)

    def _refuse_others(self, group: object) -> None:
        """Refuse a group that is there and is not what is asked for."""
        verdict = group.verify()
        findings = tuple(each for one in verdict.verdicts.values() for each in one.findings)
        if not verdict.whole:
            why = f"a group of this name is there, and it is not whole ({group.standing})"
            raise library.refused("group-taken", self.name, why, REMEDY, findings)
        partial = self.options["partial"]
        for member, one in verdict.verdicts.items():
            if not library.as_asked(one.manifest, self.requests.get(member), partial=partial):
                why = f"a group of this name is there, and something else was asked for of {member}"
                raise library.refused("group-taken", self.name, why, REMEDY)

    def _tell_members(self, group: object) -> None:
        tags = {member: one.manifest.tag for member, one in group.verify().verdicts.items()}
        self.result["members"] = {
            member: library.snapshot_of(self.members[member].snapshot(tag))
            for member, tag in tags.items()
        }

    def _absent(self) -> None:
        group = self._found()
        if group is None:
            return
        self._show_each(group.check_delete())
        if not self.module.check_mode:
            group.delete()

    def _loaded(self) -> None:
        group, after = self._there(), self.options["run_state_after"]
        self._show_each(group.check_load(run_state_after=after))
        if not self.module.check_mode:
            group.load(run_state_after=after, deadline_s=self.options["deadline_s"])
        self._tell_members(group)

    def _verified(self) -> None:
        group = self._there()
        verdict = group.verify()
        if not verdict.whole:
            found = tuple(each for one in verdict.verdicts.values() for each in one.findings)
            message = f"group {self.name!r} is not whole ({group.standing})"
            code = found[0].code if found else "part-missing"
            raise snapplan.Violation(message, problems=found, code=code)
        self._tell_members(group)


def _member(given: object) -> dict[str, object]:
    """The options of a member; Ansible does not look into a mapping by name."""
    if not isinstance(given, dict) or "vm" not in given or set(given) - MEMBER_KEYS:
        raise snapplan.BadInput(
            "a member is a mapping with vm, and perhaps request or request_file",
            code="request-shape",
        )
    return {"request": None, "request_file": None, **given}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "members": {"type": "dict", "required": True},
            **library.STATE,
            "partial": {"type": "bool", "default": False},
            "pause_budget_ms": {"type": "float"},
            "deadline_s": {"type": "float"},
            **library.RUN_STATE_AFTER,
            **library.STORE,
        },
        supports_check_mode=True,
    )
    with library.failures_told(module), contextlib.ExitStack() as stack:
        options = module.params
        given = {each: _member(member) for each, member in options["members"].items()}
        members = {
            each: stack.enter_context(snapplan.sync.attach(member["vm"], store=options["store"]))
            for each, member in given.items()
        }
        result = Task(module, members, given).run()
    module.exit_json(**result)


if __name__ == "__main__":
    main()
