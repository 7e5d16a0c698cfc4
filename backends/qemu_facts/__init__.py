"""What QEMU really does: each fact of `qemu-facts.md` as an experiment that runs by itself.

    python3 -m snapplan.qemu_facts.fact_072 --qemu /path/to/qemu-system-x86_64    # one fact, by hand
    python3 -m snapplan.qemu_facts --qemu BINARY                                  # all of them: a report

Nothing here needs more than Python's standard library and the QEMU.  `snapplan conformance` is the
same report among snapplan's commands, and the tests run the same experiments, on the simulator too.

- `fact_NNN`: a fact's experiments; its text is in `qemu-facts.md`.
- `steps`: what several facts do alike.
- `lab`: how a VM is started, asked and ended; what an experiment is, and what comes of it.
- `report`: all facts, each in a process of its own, which is ended when its time is up.
"""
