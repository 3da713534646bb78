"""Stages: one file for each --mode, with the name of the mode.

A stage that runs a configuration is a function with the name of the mode, such
as `crossval(config, workdir)`. A stage that reads and writes files gets the
values of all flags by name, such as `reconstruct_files(options)`.
"""
