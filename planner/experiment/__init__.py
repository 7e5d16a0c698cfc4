"""Experiments: many runs from one file, their statistics, and a page (`docs/experiments.md`)."""
