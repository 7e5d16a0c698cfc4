"""The harness of the tests against a real QEMU: what they start, say and look at.

- `topology`: what VM a test wants, as data; the same on a real QEMU and on a simulated one.
- `qmp`: a small synchronous QMP client, written apart from the code under test on purpose.
- `vm`: what every VM offers a test, whatever is behind the socket.
- `guest`: the guest that checks itself, and what it said.
- `images`: disk images, made fast and examined after the VM is gone.
- `qemu`: the real QEMU: which binary, how it starts, how it surely ends.
- `fixtures`: the pytest side: targets, and tests that concern some versions only.
"""
