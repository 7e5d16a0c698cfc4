"""Captures in the background, whose stream is held back."""

import os


def migrate_stalled(vm):
    """Start a stream that gets stuck after some 100 kB, until `release` lets it go.

    Not by a low bandwidth, which is no proof on a busy machine. What waits is a shell.
    """
    os.mkfifo(vm.directory / "go", 0o600)
    mark = vm.qmp.mark()
    command = f"read go < {vm.directory}/go && cat > {vm.directory}/state"
    vm.execute("migrate", uri=f"exec:{command}")
    return mark


def release(vm):
    """Let the stream go that `migrate_stalled` started."""
    (vm.directory / "go").write_text("go\n")
