"""Import of scans that were acquired elsewhere, as subject files."""
