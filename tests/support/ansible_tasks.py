"""Runs modules of the Ansible collection as a target does, in this process and without a play."""

import contextlib
import importlib
import io
import json
import signal
import sys
from pathlib import Path

from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

COLLECTIONS = Path(__file__).parents[2] / "script/ansible"
COLLECTION = COLLECTIONS / "ansible_collections/snapplan/qemu"
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def module(name):
    """A module of the collection."""
    if str(COLLECTIONS) not in sys.path:
        sys.path.append(str(COLLECTIONS))
    return importlib.import_module(f"ansible_collections.snapplan.qemu.plugins.modules.{name}")


def task(name, /, *, check=False, diff=False, **options):
    """What a task of a module returns."""
    arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
    before = {each: signal.getsignal(each) for each in _SIGNALS}
    said = io.StringIO()
    try:
        ended = contextlib.suppress(SystemExit)
        with patch_module_args(arguments), contextlib.redirect_stdout(said), ended:
            module(name).main()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    return {"failed": False, **json.loads(said.getvalue())}


def argument_spec(name, monkeypatch):
    """What a module says to Ansible of its options."""
    found = {}

    class Said(Exception):
        pass

    def keep(**given):
        found.update(given)
        raise Said

    loaded = module(name)
    monkeypatch.setattr(loaded, "AnsibleModule", keep)
    with contextlib.suppress(Said):
        loaded.main()
    assert basic.AnsibleModule is not keep
    return found["argument_spec"]
