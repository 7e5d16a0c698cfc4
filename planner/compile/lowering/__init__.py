"""The designs that QEMU has today, a file each: which commands cover which operations."""
