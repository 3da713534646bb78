"""The networks, one Flax module and its defaults a file."""
