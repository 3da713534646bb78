"""One file for each --mode, of the mode's name.

A mode that works on a configuration is a function of its name,
`crossval(config, workdir)`; one that works on files takes the values of the
flags, `reconstruct_files(options)`.
"""
