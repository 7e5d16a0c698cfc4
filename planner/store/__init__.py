"""What snapplan remembers between its runs, and who may work on which VM."""
