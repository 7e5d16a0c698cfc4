"""Snapshots made ready for instant restore, and what is started from them."""
