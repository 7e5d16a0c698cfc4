"""A QEMU that libvirt runs, through libvirt's own hand on it."""
