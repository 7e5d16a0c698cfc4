"""Goes on with runs whose snapplan died."""
