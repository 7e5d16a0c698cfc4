"""What the compiler makes and all others read: the resolution, the program, its settings."""
