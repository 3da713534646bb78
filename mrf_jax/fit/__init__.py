"""Goodness of fit: a scan beside its sequence, and maps beside their scan."""

# What is done with a scan that does not fit: nothing is written; a sentence
# says so; nothing is compared. Here, because flags are checked before JAX
# starts.
MISFITS = ("refuse", "accept", "ignore")
