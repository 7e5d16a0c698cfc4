"""The simulated QEMU and a real one, side by side: the same commands, and what differs then.

Where to look: `drawing`, `drawing_copies` and `drawing_images` which commands; `sides` the two VMs;
`shown` what of a VM is compared; `comparing` the run.
"""
