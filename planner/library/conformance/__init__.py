"""What others can check with snapplan's own tests: a backend that they wrote."""
