"""Dictionary matching."""
