"""The machine and the process: JAX start-up, threads, memory, precision."""
