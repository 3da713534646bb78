"""Maps of one scan, from files to files."""
