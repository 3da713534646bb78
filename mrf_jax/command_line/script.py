"""Entry point of the command `mrf-jax`."""

import signal


def run() -> None:
  """Runs the command line of this process, and ends it."""
  # As in launch.py: before anything else is imported.
  signal.signal(signal.SIGINT, signal.SIG_DFL)

  from absl import app

  from mrf_jax.command_line import flags
  from mrf_jax.command_line.main import main

  app.run(main, flags_parser=flags.parse)
