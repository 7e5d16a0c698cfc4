"""What tests use beside the code under test.

- `qmp`, `vm`, `topology`, `images`, `guest`, `qemu` and others: the laboratory of `qemu_facts`, which
  the wheel holds, under the names that tests know.
- `fixtures`: the pytest side: targets, and tests that concern some versions only.
"""

import importlib
import sys

LABORATORY = (
    *("outcome", "topology", "qmp", "vm", "guest", "images", "binaries", "arguments", "qemu"),
    *("migration", "ended", "outside", "templates", "balloon", "user", "changing", "writer"),
    *("internal_error", "libvirt"),
)

for _name in LABORATORY:
    _module = importlib.import_module(f"backends.qemu_facts.lab.{_name}")
    sys.modules[f"{__name__}.{_name}"] = _module
    setattr(sys.modules[__name__], _name, _module)
