"""Looks at a VM and at its snapshots.  Changes nothing."""
