"""How an experiment's VM is started, asked and ended, and what an experiment is.

- `topology`: what VM an experiment wants, as data; the same on a real QEMU and on a simulated one.
- `qmp`: a small synchronous QMP client, written apart from the code under test on purpose.
- `vm`: what every VM offers, whatever is behind the socket.
- `guest`: the guest that checks itself, and what it said.
- `images`: disk images, made without qemu-img where that is possible, examined after the VM is gone.
- `binaries`, `arguments`, `qemu`: which QEMU, its command line, how it starts, how it surely ends.
- `outcome`: what an experiment says of what it sees.
- `experiment`: experiments, their cases, what they are given.
- `by_hand`: one fact's experiments, run from a command line.
"""
