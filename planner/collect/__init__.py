"""Finds what no snapshot needs, and removes it."""
