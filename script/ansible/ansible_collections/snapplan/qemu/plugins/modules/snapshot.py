#!/usr/bin/python
"""Take, load, verify or delete a consistent snapshot of one running QEMU VM."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: snapshot
short_description: Take, load, verify or delete a snapshot of a running QEMU VM
version_added: 0.1.0
description:
  - A snapshot is all disks and the machine state of one instant, or what a request asks for.
    It is planned and proved before anything is sent, and undone where it fails.
  - Check mode makes the plan and proves it; the VM is asked questions only. With C(--diff) the steps are shown.
  - A failed task says in RV(ignore:error) what went wrong, with a stable code and a remedy.
  - After exit codes 21 (undo incomplete) and 22 (outcome unknown) every further task on this VM fails,
    until M(snapplan.qemu.recover) has ended the run. So C(retries) cannot make it worse.
  - Several VMs that talk to each other are saved with M(snapplan.qemu.group), in one task on one host.
options:
  vm:
    description:
      - Where the VM is, on the host of the task. The path of a QMP socket, C(host:port), or a domain of libvirt as
        C(qemu:///system#DOMAIN).
    type: str
    required: true
  state:
    description:
      - V(present) takes the snapshot unless it is there. One that is there is what is asked for where the digest of
        its request is the same. Where it is another, the task fails, unless it is to be replaced.
      - V(absent) deletes it if it is there.
      - V(loaded) goes back to it. It always changes the VM, whose guest ran on since.
      - V(verified) compares it with its record and fails where something is wrong. It changes nothing.
    type: str
    choices: [present, absent, loaded, verified]
    default: present
  tag:
    description:
      - The snapshot's name. It may be left out where the request has it.
      - With O(state=present) and without a request it means everything that the VM has.
    type: str
  request:
    description:
      - With O(state=present), what is to be taken, with the keys of a request file.
    type: dict
  request_file:
    description:
      - The same in a file on the host of the task.
    type: path
  design:
    description:
      - With O(state=present), how it is done. C(auto) takes the first design that can do it.
    type: str
    default: auto
  replace:
    description:
      - With O(state=present), whether a snapshot of this tag that another request made is replaced.
        C(existing-tag=replace) in the request says the same.
      - The old one is deleted just before the new one is taken, so if that fails, it is gone.
      - A snapshot with parts that the new request leaves out is not replaced; delete it first.
    type: bool
    default: false
  partial:
    description:
      - With O(state=present) and without a request, whether what cannot be saved may be left out.
    type: bool
    default: false
  pause_budget_ms:
    description:
      - With O(state=present), the longest that the guest may stand still, in milliseconds; a run that takes longer is undone.
    type: float
  deadline_s:
    description:
      - How long a step, or a load, may take, in seconds.
    type: float
  overlays:
    description:
      - With O(state=absent), what becomes of overlays. V(commit) merges them into the frozen images, V(keep) leaves them.
    type: str
    choices: [commit, keep]
  run_state_after:
    description:
      - With O(state=loaded), what the VM does when it is loaded.
    type: str
    choices: [as-before, running, paused]
    default: as-before
  keep_current:
    description:
      - With O(state=loaded), a tag under which what is there now is saved first. Without it, that is lost.
    type: str
  accept_changed:
    description:
      - With O(state=loaded), disks that were left out of the snapshot and may have changed since.
    type: list
    elements: str
    default: []
  accept_cpu:
    description:
      - With O(state=loaded), whether the processor may be another one.
    type: bool
    default: false
  reset:
    description:
      - With O(state=loaded), whether the VM may be reset first, where QEMU lets no guest run else.
    type: bool
    default: false
  alone:
    description:
      - Whether a snapshot that is a group's may be loaded or deleted without the other members.
    type: bool
    default: false
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
- name: Everything of the VM, memory and all disks
  snapplan.qemu.snapshot:
    vm: /run/vm/web.sock
    tag: before-upgrade

- name: What a request says
  snapplan.qemu.snapshot:
    vm: qemu:///system#web
    request:
      tag: before-upgrade
      machine-state: {internal: vda}
      disks:
        vda: internal
        scratch: exclude

- name: Go back
  snapplan.qemu.snapshot:
    vm: /run/vm/web.sock
    tag: before-upgrade
    state: loaded

- name: It is not needed any more
  snapplan.qemu.snapshot:
    vm: /run/vm/web.sock
    tag: before-upgrade
    state: absent
    overlays: commit
"""

RETURN = r"""
tag:
  description: The snapshot's name.
  returned: always
  type: str
snapshot:
  description: The snapshot as it is now.
  returned: where there is one
  type: dict
  contains:
    tag: {description: Its name., type: str, returned: always}
    standing: {description: "V(complete), V(incomplete), V(differs) or V(foreign).", type: str, returned: always}
    description: {description: What its user says of it., type: str, returned: always}
    parent: {description: The tag of the snapshot that it was taken after., type: str, returned: always}
    current: {description: Whether the VM was last loaded from it or saved as it., type: bool, returned: always}
    taken_at: {description: When it was taken (UTC)., type: str, returned: always}
    has_machine_state: {description: Whether the guest goes on from it where it was., type: bool, returned: always}
    request_digest: {description: SHA-256 of what was asked for., type: str, returned: always}
    disks: {description: The disks that are parts of it., type: list, elements: str, returned: always}
plan:
  description: What is done, or would be in check mode, in words.
  returned: where something is to be done
  type: str
steps:
  description: The steps, each with its QMP command and the operations that it covers.
  returned: O(state=present), where it is to be taken
  type: list
  elements: dict
findings:
  description: What is wrong with it; a remedy where one is known. The task fails where there is one.
  returned: O(state=verified)
  type: list
  elements: dict
unchecked:
  description: What could not be looked at.
  returned: O(state=verified)
  type: list
  elements: str
error:
  description:
    - What went wrong, with snapplan's stable code, its exit code, the state that the VM is in, and each problem.
  returned: failure
  type: dict
  contains:
    code: {description: The stable code., type: str, returned: always}
    exit_code: {description: What C(snapplan) would have exited with., type: int, returned: always}
    message: {description: What happened., type: str, returned: always}
    vm_state: {description: The state that the VM is in now., type: str, returned: always}
    problems: {description: "Each with C(code), C(subject), C(message) and C(remedy).", type: list, elements: dict, returned: always}
    undone: {description: What was undone., type: list, elements: str, returned: always}
    left: {description: "What is still there, as problems.", type: list, elements: dict, returned: always}
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

from collections.abc import Iterator

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.snapplan.qemu.plugins.module_utils import library

try:
    import snapplan
    from attrs import evolve
except ImportError:  # told by `library.failures_told`
    snapplan = None

REMEDY = "take another tag, delete it first (state: absent), or have it replaced (replace: true)"


class Task(library.StateTask):
    """One task on one VM."""

    def __init__(self, module: AnsibleModule, vm: object) -> None:
        self.vm = vm
        self.request = library.request_of(module.params, module.params["tag"] or "")
        self.tag = self.request.tag if self.request is not None else module.params["tag"]
        super().__init__(module, tag=self.tag)

    def attached(self) -> Iterator[tuple[str, object]]:
        """The VM."""
        yield "", self.vm

    def _found(self) -> object:
        return next((each for each in self.vm.snapshots() if each.tag == self.tag), None)

    def _present(self) -> None:
        found = self._found()
        if found is not None and self._is_as_asked(found):
            self.result["snapshot"] = library.snapshot_of(found)
            return
        what = self.tag if self.request is None else self.request
        if found is not None:
            what = evolve(self.request, existing_tag=snapplan.ExistingTag.REPLACE)
        partial = self.options["partial"]
        plan = self.vm.plan(what, design=self.options["design"], partial=partial)
        self.show(snapplan.plan_text(plan))
        self.result["steps"] = library.steps_of(plan)
        budget = self.options["pause_budget_ms"]
        if self.module.check_mode:
            self.vm.check_save(plan, pause_budget_ms=budget)
            return
        saved = self.vm.save(plan, deadline_s=self.options["deadline_s"], pause_budget_ms=budget)
        self.result["snapshot"] = library.snapshot_of(saved)

    def _is_as_asked(self, found: object) -> bool:
        """Whether nothing is to be done; False: it is to be replaced."""
        whole = found.standing is snapplan.Standing.COMPLETE
        partial, manifest = self.options["partial"], found.manifest
        if whole and library.as_asked(manifest, self.request, partial=partial):
            return True
        replacing = self.options["replace"] or (
            self.request is not None and self.request.existing_tag is snapplan.ExistingTag.REPLACE
        )
        if replacing:
            return False
        if manifest is None:
            why = "a snapshot of this tag is there, and another tool made it"
        elif not whole:
            why = f"a snapshot of this tag is there, and it is not whole ({found.standing})"
        elif not manifest.request_digest and self.request is not None:
            why = "a snapshot of this tag is there, and nothing says what was asked for"
        else:
            why = "a snapshot of this tag is there, and something else was asked for"
        raise library.refused("tag-taken", self.tag, why, REMEDY, tuple(found.findings))

    def _absent(self) -> None:
        found = self._found()
        if found is None:
            return
        wish = {"overlays": self.options["overlays"], "alone": self.options["alone"]}
        self.show(found.check_delete(**wish))
        if not self.module.check_mode:
            found.delete(**wish)

    def _loaded(self) -> None:
        wish = {
            "run_state_after": self.options["run_state_after"],
            "keep_current": self.options["keep_current"] or "",
            "accept_changed": self.options["accept_changed"],
            "accept_cpu": self.options["accept_cpu"],
            "reset": self.options["reset"],
            "alone": self.options["alone"],
        }
        found = self.vm.snapshot(self.tag)
        self.show(found.check_load(**wish))
        if not self.module.check_mode:
            found.load(**wish, deadline_s=self.options["deadline_s"])
            found = self.vm.snapshot(self.tag)
        self.result["snapshot"] = library.snapshot_of(found)

    def _verified(self) -> None:
        found = self.vm.snapshot(self.tag)
        verdict = found.verify()
        if verdict.findings:
            message = f"snapshot {self.tag!r} is not whole"
            code = verdict.findings[0].code
            raise snapplan.Violation(message, problems=verdict.findings, code=code)
        self.result |= {
            "snapshot": library.snapshot_of(found),
            "findings": [],
            "unchecked": list(verdict.unchecked),
        }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "vm": {"type": "str", "required": True},
            **library.STATE,
            "tag": {"type": "str"},
            **library.REQUEST,
            "design": {"type": "str", "default": "auto"},
            "replace": {"type": "bool", "default": False},
            "partial": {"type": "bool", "default": False},
            "pause_budget_ms": {"type": "float"},
            "deadline_s": {"type": "float"},
            "overlays": {"type": "str", "choices": ["commit", "keep"]},
            **library.RUN_STATE_AFTER,
            "keep_current": {"type": "str"},
            "accept_changed": {"type": "list", "elements": "str", "default": []},
            "accept_cpu": {"type": "bool", "default": False},
            "reset": {"type": "bool", "default": False},
            "alone": {"type": "bool", "default": False},
            **library.STORE,
        },
        mutually_exclusive=[("request", "request_file")],
        required_one_of=[("tag", "request", "request_file")],
        required_if=[("replace", True, ("request", "request_file"), True)],
        supports_check_mode=True,
    )
    with library.failures_told(module):
        options = module.params
        with snapplan.sync.attach(options["vm"], store=options["store"]) as vm:
            result = Task(module, vm).run()
    module.exit_json(**result)


if __name__ == "__main__":
    main()
