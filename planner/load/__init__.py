"""Goes back to a snapshot: on the running VM, offline, or in a fresh QEMU."""
