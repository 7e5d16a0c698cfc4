"""Makes a snapshot: the machine of `snapplan apply`, its undo, and the manifest at its end."""
