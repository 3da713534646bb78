"""Dictionary matching."""

# Matching of all windows (Ma 2013), of temporal components (McGivney 2014), and
# between the atoms. Here, because flags are checked before JAX starts.
FIT = "dictionary_fit"
DICTIONARIES = ("dictionary", "dictionary_svd", FIT)
# What a fit does with B1: it is 1, is fitted, or is given by a map.
B1_CHOICES = ("none", "free", "map")
