"""snapplan: plans, proves and runs snapshots of QEMU virtual machines."""
