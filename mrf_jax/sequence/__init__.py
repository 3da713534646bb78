"""Pulse sequences: what the scanner plays."""
