"""The folder of an experiment: paths, configuration, manifest and lock."""
