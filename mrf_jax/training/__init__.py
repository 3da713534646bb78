"""Folds, steps, checkpoints and the loop over epochs."""
