"""A request and facts into a program: resolve, graph, lower, verify.  One direction, no way back."""
