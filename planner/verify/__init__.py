"""Proves a program right, independent of who wrote it."""
