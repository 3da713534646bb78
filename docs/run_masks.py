"""Compares maps of the same voxels in small masks with those in the whole one.

  python docs/run_masks.py WORKDIR …

Finished workdirs of simulated heads give the networks, each of which sees heads
that it was not trained on: with the whole brain in the mask, and with
white matter alone, one slice, half of the head, a small ball and a shell of fat
and bone around the brain. The table goes into docs/worlds.md.
"""

import dataclasses
import json
import pathlib
import sys

import jax
import ml_collections
import numpy as np
from scipy import ndimage

_ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(_ROOT))

import mrf_jax  # noqa: E402
from mrf_jax.dataset.subject import Subject  # noqa: E402
from mrf_jax.evaluation.markdown import markdown_table  # noqa: E402
from mrf_jax.evaluation.tissues import tissue_masks  # noqa: E402
from mrf_jax.inference.model import Model  # noqa: E402
from mrf_jax.io.atomic import write_text  # noqa: E402
from mrf_jax.maps import MAP_NAMES, Maps  # noqa: E402
from mrf_jax.networks import NETWORKS  # noqa: E402
from mrf_jax.timing.machine import device_name  # noqa: E402
from mrf_jax.workdir.environment import git_commit  # noqa: E402
from mrf_jax.workdir.workdir import Workdir  # noqa: E402

_BEGIN, _END = "<!-- masks -->", "<!-- /masks -->"
_BALL_VOXELS = 4.0
# Shell around the brain: its width in voxels, and T1, T2 (ms) and PD of the
# fat in every second voxel of it; others have no signal.
_SHELL_VOXELS, _FAT = 4, (300.0, 70.0, 0.9)


def small_masks(subject: Subject, white: np.ndarray) -> dict[str, np.ndarray]:
  """Masks inside of the brain, [slice, y, x], by their names."""
  mask = subject.mask
  of_white = np.zeros_like(mask)
  of_white[mask] = white
  slices, y, x = np.indices(mask.shape)
  middle = mask.shape[0] // 2
  centre = np.argwhere(of_white[middle]).mean(0)
  ball = np.hypot(y - centre[0], x - centre[1]) < _BALL_VOXELS
  return {
    "white matter alone": of_white,
    "one slice": mask & (slices == middle),
    "half of the head": mask & (x < np.median(x[mask])),
    "a ball of 8 voxels, as a lesion": mask & ball & (abs(slices - middle) < 2),
  }


def part_of(subject: Subject, mask: np.ndarray) -> Subject:
  """The scan with a mask inside of its own."""
  own = mask[subject.mask]
  signals, truth = subject.signals, subject.truth
  assert signals is not None and truth is not None
  return dataclasses.replace(
    _bare(subject),
    mask=mask,
    signals=signals[own],
    b1=None if subject.b1 is None else subject.b1[own],
    truth=Maps.unstack(truth.stack()[own]),
  )


def with_shell(subject: Subject) -> Subject:
  """The scan with fat and bone around the brain in its mask."""
  plane = np.zeros((3, 3, 3), bool)
  plane[1] = True
  mask = subject.mask
  grown = ndimage.binary_dilation(mask, plane, iterations=_SHELL_VOXELS)
  shell = grown & ~mask
  *times, pd = _FAT
  echoes = pd * mrf_jax.simulate_fingerprints(
    subject.sequence, *([time] for time in times)
  )
  fat = mrf_jax.sliding_window(
    echoes.astype(np.complex64), window=subject.window, stride=subject.stride
  )
  rng = np.random.default_rng(0)
  count = int(shell.sum())
  is_fat = rng.random(count) < 0.5
  assert subject.signals is not None and subject.noise_sd is not None
  # Of frames, as in a scan: windows overlap.
  noise = mrf_jax.sliding_window(
    rng.standard_normal((count, 2 * echoes.shape[1]), np.float32).view(
      np.complex64
    ),
    window=subject.window,
    stride=subject.stride,
  )
  noise *= np.median(subject.noise_sd) / noise.real.std()
  values = is_fat[:, None] * fat + noise
  signals = np.zeros((*mask.shape, subject.n_windows), np.complex64)
  signals[mask], signals[shell] = subject.signals, values
  b1 = None
  if subject.b1 is not None:
    b1 = np.ones(mask.shape, np.float32)
    b1[mask] = subject.b1
    b1 = b1[grown]
  return dataclasses.replace(
    _bare(subject), mask=grown, signals=signals[grown], b1=b1, truth=None
  )


def _bare(subject: Subject) -> Subject:
  """The scan without what only its own voxels have."""
  return dataclasses.replace(
    subject,
    maps=None,
    true_b1=None,
    true_b0_hz=None,
    noise_sd=None,
    lesion=None,
  )


def on_grid(maps: Maps, mask: np.ndarray) -> np.ndarray:
  """Maps in a mask as volumes, [slice, y, x, map]."""
  volumes = np.full((*mask.shape, len(MAP_NAMES)), np.nan)
  volumes[mask] = maps.stack()
  return volumes


def ratios(model: Model, subject: Subject, white) -> dict[str, np.ndarray]:
  """RMSE of the same voxels in each mask over that in the whole one, [map]."""
  assert subject.truth is not None
  truth = on_grid(subject.truth, subject.mask)
  whole = on_grid(mrf_jax.reconstruct(model, subject), subject.mask)

  def rmse(volumes, mask):
    return np.sqrt(np.mean((volumes - truth)[mask] ** 2, 0))

  found = {}
  for name, mask in small_masks(subject, white).items():
    part = on_grid(mrf_jax.reconstruct(model, part_of(subject, mask)), mask)
    found[name] = rmse(part, mask) / rmse(whole, mask)
  shell = with_shell(subject)
  volumes = on_grid(mrf_jax.reconstruct(model, shell), shell.mask)
  found["brain, with fat and bone around it"] = rmse(
    volumes, subject.mask
  ) / rmse(whole, subject.mask)
  return found


def rows_of(root: pathlib.Path) -> dict[str, dict[str, str]]:
  """Ratios of each network of a workdir, by its name and that of the mask."""
  workdir = Workdir.existing(root)
  config = ml_collections.ConfigDict(workdir.config)
  thresholds = config.evaluation.thresholds_ms.to_dict()
  columns = {}
  for method in (m for m in config.methods if m in NETWORKS):
    by_mask: dict[str, list[np.ndarray]] = {}
    for number in config.folds or range(config.data.n_subjects):
      subject = mrf_jax.load_subject(workdir.subject(number))
      assert subject.maps is not None
      tissues = tissue_masks(subject.maps.t1_ms, thresholds_ms=thresholds)
      model = mrf_jax.load_model(workdir.model(method, number))
      for name, values in ratios(model, subject, tissues["wm"]).items():
        by_mask.setdefault(name, []).append(values)
    columns[method] = {
      name: ", ".join(f"{x:.2f}" for x in np.exp(np.mean(np.log(values), 0)))
      for name, values in by_mask.items()
    }
  return columns


def main(roots: list[pathlib.Path]) -> None:
  """Measures all networks of some workdirs, and writes the table."""
  columns = {}
  for root in roots:
    columns |= rows_of(root)
  names = next(iter(columns.values()))
  body = [[name, *(own[name] for own in columns.values())] for name in names]
  trained = ", ".join(dict.fromkeys(_commit_of(root)[:7] for root in roots))
  table = "\n\n".join(
    [
      markdown_table(["mask", *columns], body, n_left=1),
      f"Commit {git_commit()[:7]}, training of commit {trained}, jax "
      f"{jax.__version__}, {device_name()}.",
    ]
  )
  page = _ROOT / "docs/worlds.md"
  before, rest = page.read_text().split(_BEGIN)
  _, after = rest.split(_END)
  write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}", page)
  print(table)


def _commit_of(root: pathlib.Path) -> str:
  """Commit of the code that trained a workdir's networks."""
  return json.loads((root / "environment.json").read_text())["git_commit"]


if __name__ == "__main__":
  main([pathlib.Path(name) for name in sys.argv[1:]])
