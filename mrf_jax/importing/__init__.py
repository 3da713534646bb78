"""Scans of other people, as subject files."""
