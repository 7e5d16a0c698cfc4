"""What is asked of this machine: files, locks, processes, clocks.  It knows of no run."""
