"""One file for each --mode, of the mode's name."""
