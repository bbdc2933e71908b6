"""Graph of integers -> C99 that needs no runtime."""
