"""What each mode imports before it does anything: what is slow comes later."""

import pytest

from mrf_jax.command_line.modes import MODES
from tests.launcher import run_python

# Libraries whose import takes long. They are imported in the functions that
# use them.
SLOW = (
  "cmcrameri",
  "finufft",
  "ismrmrd",
  "matplotlib",
  "mrinufft",
  "nilearn",
  "optax",
  "orbax",
  "pandas",
  "PIL",
  "pypulseq",
  "scipy.io",
  "scipy.ndimage",
  "scipy.optimize",
  "scipy.signal",
  "scipy.spatial",
  "scipy.stats",
  "sklearn",
  "tensorboardX",
)
# Modes that can do without networks.
WITHOUT_NETWORKS = ("import", "report", "verify")
# What `main` imports for a mode.
START = """
import importlib, sys
from mrf_jax.runtime import processes
importlib.import_module(f"mrf_jax.stages.{sys.argv[1]}")
print([name for name in sys.argv[2:] if name in sys.modules])
"""
# Runs a command, and tells at its end what it has imported.
RUN = """
import atexit, sys
from mrf_jax.command_line.script import run
slow, sys.argv = sys.argv[1].split(","), ["mrf-jax", *sys.argv[2:]]
atexit.register(lambda: print([n for n in slow if n in sys.modules]))
run()
"""


@pytest.mark.parametrize("mode", MODES)
def test_start_imports_nothing_slow(mode):
  later = (*SLOW, "flax") if mode in WITHOUT_NETWORKS else SLOW
  stage = "import_scan" if mode == "import" else mode
  done = run_python(START, stage, *later)
  assert done.stdout == "[]\n", done.stderr


def test_reconstruction_imports_what_it_uses(smoke, tmp_path):
  """What smooths and draws, and pandas for errors against reference maps."""
  done = run_python(
    RUN,
    ",".join(SLOW),
    "reconstruct",
    f"--model={smoke / 'models/spatiotemporal/fold-0'}",
    f"--scan={smoke / 'data/subject-00.h5'}",
    f"--output={tmp_path / 'maps'}",
  )
  assert done.returncode == 0, done.stderr
  used = done.stdout.splitlines()[-1]
  assert used == "['cmcrameri', 'matplotlib', 'pandas', 'PIL', 'scipy.ndimage']"
