"""The simulated QEMU and a real one, side by side: the same commands, and what differs then.

Where to look: `drawing` and `drawing_copies` which commands; `sides` the two VMs; `shown` what of a VM
is compared; `comparing` the run.
"""
