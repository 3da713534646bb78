"""Measures `--mode=train` for a schedule of the type of Jiang 2015.

  python docs/run_train.py

500 frames at 96² × 6 slices. Its errors on the head that is kept out stand
beside those of the same network that learns acquired reference maps of the same
heads, all against the truth. The table goes into docs/worlds.md.
"""

import pathlib
import resource
import subprocess
import sys
import time

import jax
import numpy as np

_ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(_ROOT))

import mrf_jax  # noqa: E402
from mrf_jax.evaluation.markdown import markdown_table  # noqa: E402
from mrf_jax.io.atomic import write_text  # noqa: E402
from mrf_jax.maps import MAP_NAMES  # noqa: E402
from mrf_jax.report.results import load_results  # noqa: E402
from mrf_jax.sequence.files import save_sequence  # noqa: E402
from mrf_jax.timing.machine import device_name  # noqa: E402
from mrf_jax.workdir.environment import git_commit  # noqa: E402

_WORK = _ROOT / "runs/jiang"
_FRAMES, _WINDOW, _STRIDE = 500, 48, 8
_BEGIN, _END = "<!-- train -->", "<!-- /train -->"


def launch(*flags: str) -> float:
  """Runs a command of the program; its duration, s."""
  begin = time.monotonic()
  subprocess.run([sys.executable, "launch.py", *flags], cwd=_ROOT, check=True)
  return time.monotonic() - begin


def errors_of(root: pathlib.Path) -> list[float]:
  """RMSE of PD, T1 and T2 of the left-out head against the truth."""
  (own,) = load_results(root)
  maps, truth = own.estimates["spatiotemporal_plus"], own.subject.truth
  return [
    float(np.sqrt(np.mean((getattr(maps, n) - getattr(truth, n)) ** 2)))
    for n in MAP_NAMES
  ]


def main() -> None:
  """Runs both trainings, and writes the table."""
  _WORK.mkdir(parents=True, exist_ok=True)
  schedule, bundle = _WORK / "train.txt", _WORK / "model"
  save_sequence(mrf_jax.jiang_type(_FRAMES), schedule)
  seconds = launch(
    "--mode=train",
    f"--schedule={schedule}",
    f"--window={_WINDOW}",
    f"--stride={_STRIDE}",
    f"--output={bundle}",
  )
  used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
  acquired = _WORK / "acquired"
  launch(
    "--mode=crossval",
    "--config=train",
    "--config.data.acquired_maps=True",
    "--config.spatiotemporal_plus.training.pd_unit=references",
    "--config.methods=('spatiotemporal_plus',)",
    f"--config.sequence.path={schedule}",
    f"--config.sequence.n_frames={_FRAMES}",
    f"--workdir={acquired}",
  )
  by_training = {
    "`--mode=train`, true maps": errors_of(_WORK / "model.training"),
    "the same heads, acquired maps": errors_of(acquired),
  }
  table = markdown_table(
    ["learned from", "RMSE of PD", "of T1 (ms)", "of T2 (ms)"],
    [
      [name, f"{pd:.3f}", f"{t1:.0f}", f"{t2:.1f}"]
      for name, (pd, t1, t2) in by_training.items()
    ],
  )
  minutes, rest = divmod(round(seconds), 60)
  origin = (
    f"Training {minutes} min {rest} s, {used:.2f} GiB; commit "
    f"{git_commit()[:7]}, jax {jax.__version__}, {device_name()}."
  )
  page = _ROOT / "docs/worlds.md"
  before, other = page.read_text().split(_BEGIN)
  _, after = other.split(_END)
  text = f"{before}{_BEGIN}\n{table}\n\n{origin}\n{_END}{after}"
  write_text(text, page)
  print(table, origin, sep="\n\n")


if __name__ == "__main__":
  main()
