"""Subject files, pre-processing and patches."""
