"""Looks at a VM and all around it, and says what stands in the way of a snapshot.  Changes nothing."""
