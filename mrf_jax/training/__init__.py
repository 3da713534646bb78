"""Training of networks: options, steps, folds on devices and checkpoints."""
