"""Writes how a dictionary scatters in white matter, by noise level.

python docs/run_scatter.py

Simulates one head of the demo's size, of another seed than the demo's, at some
noise levels, matches it with the demo's dictionary, and writes the table into
docs/simulation.md.
"""

import pathlib
import sys
import tempfile

import numpy as np

_ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(_ROOT))

from configs import demo  # noqa: E402
from mrf_jax import load_subject  # noqa: E402
from mrf_jax.experiment.subjects import simulate_missing  # noqa: E402
from mrf_jax.experiment.workdirs import open_workdir  # noqa: E402
from mrf_jax.io.atomic import replacing  # noqa: E402
from mrf_jax.methods.dictionary import make_matcher  # noqa: E402
from mrf_jax.simulation.tissue import BRAIN_AT_1_5T  # noqa: E402
from mrf_jax.timing.machine import device_name  # noqa: E402
from mrf_jax.workdir.environment import git_commit  # noqa: E402

_DOCUMENT = _ROOT / "docs/simulation.md"
_BEGIN, _END = "<!-- scatter -->", "<!-- /scatter -->"
_LEVELS = (0.0, 0.03, 0.1, 0.2)
# True T1 and T2 of white matter, up to this share.
_PURE = 0.15


def _row(level: float, folder: pathlib.Path) -> str:
  """The line of the table of a noise level."""
  config = demo.get_config()
  config.seed = 1
  config.data.n_subjects = 1
  config.scan.noise_level = level
  workdir = open_workdir(config, folder)
  simulate_missing(config, workdir)
  subject = load_subject(workdir.subject(0))
  t1_ms, t2_ms, _ = BRAIN_AT_1_5T["wm"]
  truth = subject.truth
  pure = (np.abs(truth.t1_ms / t1_ms - 1) < _PURE) & (
    np.abs(truth.t2_ms / t2_ms - 1) < _PURE
  )
  cells = [f"{level:g}"]
  for ideal in (False, True):
    config.dictionary.ideal_slice = ideal
    matched, _ = make_matcher(config, "dictionary", subject.acquisition)
    maps = matched(subject.signals[pure])
    for name in ("t1_ms", "t2_ms"):
      found, true = getattr(maps, name), getattr(truth, name)[pure]
      own = 100 * np.std(true) / np.mean(true)
      scatter = 100 * np.std(found) / np.mean(found)
      bias = 100 * (np.mean(found) / np.mean(true) - 1)
      cells.append(
        f"{bias:+.0f} %"
        if ideal
        else f"{scatter:.1f} % ({own:.1f}), {bias:+.0f} %"
      )
  return f"| {' | '.join(cells)} |"


def main() -> None:
  """Runs all levels and writes the table."""
  lines = [
    "| noise level | T1 | T2 | T1, ideal slice assumed | T2, ideal slice "
    "assumed |",
    "|--:|--:|--:|--:|--:|",
  ]
  for level in _LEVELS:
    with tempfile.TemporaryDirectory() as folder:
      lines.append(_row(level, pathlib.Path(folder)))
  origin = f"Commit {(git_commit() or 'unknown')[:7]}, {device_name()}."
  text = _DOCUMENT.read_text()
  before, _, rest = text.partition(_BEGIN)
  _, _, after = rest.partition(_END)
  table = "\n".join(["", *lines, "", origin, ""])
  with replacing(_DOCUMENT) as temporary:
    temporary.write_text(f"{before}{_BEGIN}{table}{_END}{after}")
  print(table)


if __name__ == "__main__":
  main()
