"""From estimated and reference maps to Table 1, Figure 3 and NIfTI files."""
