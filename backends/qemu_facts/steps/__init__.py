"""What the experiments of several facts do alike, a file a topic."""
