"""What a snapshot consists of, and whether each part is still what was saved: pure, no I/O."""
