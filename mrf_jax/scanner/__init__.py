"""Heads to images: what the scanner plays and measures."""
