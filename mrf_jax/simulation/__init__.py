"""Simulated heads, scans and reference maps, since no data are public."""
