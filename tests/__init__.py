"""Tests of snapplan; a package, so that its parts can import `tests.support`."""
