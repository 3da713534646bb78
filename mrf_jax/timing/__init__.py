"""Timing comparison: every stage of every method on one scan."""
