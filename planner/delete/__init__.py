"""Deletes a snapshot's parts, and merges its overlays."""
