"""The command line: modes, flags, help, and checks before JAX starts."""
