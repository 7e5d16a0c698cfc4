"""Runs something on a VM: a machine that knows no I/O, and a pump that drives a backend for it."""
