"""Groups: snapshots of several VMs at one instant, made by all of them or by none."""
