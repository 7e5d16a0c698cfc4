"""The verbs: what can be done with a VM's snapshots, each a function that a tool can call.

Every verb that changes a VM keeps one order: the VM is asked what it is, its locks are taken, what an
earlier run left undone refuses, the VM is asked again, it is decided (and a person is asked, where
something would be lost), the journal is begun, it is done, and what has to last is written.  The command
line and the library (`planner.library`) are its users; no check of safety lives in either.
"""
