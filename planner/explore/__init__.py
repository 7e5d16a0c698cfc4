"""Exhaustive search: every run of a design, with every order, every guest and every fault."""
