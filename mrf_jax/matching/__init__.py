"""Dictionary matching."""

# Matching of all windows (Ma 2013), and of temporal components (McGivney 2014).
# Here, because flags are checked before JAX starts.
DICTIONARIES = ("dictionary", "dictionary_svd")
