"""Runs one stage of mrf_jax from the command line, as `mrf-jax` does.

python launch.py --config=configs/demo.py --workdir=runs/demo
"""

import signal

if __name__ == "__main__":
  # Ctrl-C ends the process without an exception until `stop_at_once` in `main`:
  # in the middle of an import, an exception would leave half a module behind.
  signal.signal(signal.SIGINT, signal.SIG_DFL)

from absl import app

from mrf_jax.command_line import flags
from mrf_jax.command_line.main import main

if __name__ == "__main__":
  app.run(main, flags_parser=flags.parse)
