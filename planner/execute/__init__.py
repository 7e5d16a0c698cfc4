"""Runs programs: a machine that knows no I/O, and a pump that drives a backend for it."""
