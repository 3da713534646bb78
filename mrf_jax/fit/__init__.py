"""Goodness of fit: a scan beside its sequence, and maps beside their scan."""
