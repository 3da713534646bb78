"""Subjects of a workdir: simulates missing ones, and draws their signals."""

import dataclasses

import ml_collections
import numpy as np

from mrf_jax.dataset.subject import load_subject, save_subject
from mrf_jax.errors import UserError
from mrf_jax.evaluation.orientation import upright
from mrf_jax.experiment.generated_heads import (
  generated_count,
  phantom_and_noise,
)
from mrf_jax.experiment.settings import (
  acquisition_of,
  imperfections_of,
  phantom_options,
  schedule_in_words,
  simulated_acquisition,
)
from mrf_jax.kspace.spiral import make_spiral
from mrf_jax.methods import METHODS
from mrf_jax.runtime import processes
from mrf_jax.runtime.progress import counted
from mrf_jax.sequence.files import save_sequence
from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.subject import simulate_subject
from mrf_jax.workdir.workdir import Workdir


def simulate_missing(
  config: ml_collections.ConfigDict, workdir: Workdir
) -> None:
  """Simulates the subjects that are missing in the workdir.

  Several processes share the work, and wait until all subjects exist.

  Raises:
    UserError: a subject is missing that is not to be simulated: a file that the
      configuration names, or one of another workdir.
  """
  data = config.data
  missing = [
    k
    for k in range(data.n_subjects)
    if not workdir.subject(k).exists()
    or (data.keep_raw and not data.files and not workdir.raw_data(k).exists())
  ]
  if missing and data.files:
    raise UserError(f"data.files: there is no file {data.files[missing[0]]}")
  if missing and config.subjects_from is not None:
    raise UserError(
      f"subjects_from: there is no file {workdir.subject(missing[0])}; "
      "simulate the subjects of that workdir first"
    )
  is_own = not data.files and config.subjects_from is None
  if data.keep_raw and is_own and processes.is_first():
    schedule = workdir.raw_data(0).with_name("train.txt")
    schedule.parent.mkdir(exist_ok=True)
    if not schedule.exists():
      save_sequence(simulated_acquisition(config).sequence, schedule)
  # No process makes a subject before all have listed those that are missing.
  processes.barrier("subjects found")
  missing = processes.own_share(missing)
  if missing:
    _simulate(config, workdir, missing)
  _simulate_generated(config, workdir)
  processes.barrier("subjects")
  if is_own:
    for k in processes.own_share(range(data.n_subjects)):
      _draw_signals(config, workdir, k)


def _simulate(config, workdir: Workdir, missing: list[int]) -> None:
  """Simulates subjects, each from the seed and its own number alone."""
  data = config.data
  processes.say(f"Simulating {counted(len(missing), 'subject')} ...")
  for sentence in schedule_in_words(config.sequence):
    processes.say(f"- {sentence}")
  grid = SliceGrid(**data.grid)
  acquisition = simulated_acquisition(config)
  scan = config.scan
  spiral = make_spiral(matrix=grid.matrix, **scan.spiral)
  for k in missing:
    subject = simulate_subject(
      f"simulated-{k:02d}",
      np.random.default_rng([config.seed, k]),
      grid=grid,
      acquisition=acquisition,
      spiral=spiral,
      phantom=phantom_options(data, k),
      n_coils=scan.n_coils,
      noise_level=scan.noise_level,
      subspace_tolerance=scan.subspace_tolerance,
      reference=config.reference.to_dict(),
      imperfections=imperfections_of(config),
      raw_path=workdir.raw_data(k) if data.keep_raw else None,
    )
    save_subject(subject, workdir.subject(k))


def _simulate_generated(
  config: ml_collections.ConfigDict, workdir: Workdir
) -> None:
  """Simulates the generated heads that are missing, if networks are trained.

  They are at rest: motion between the scans would tell a network that regions
  of unlike values have each other's signals.
  """
  trains = any(METHODS[method].train is not None for method in config.methods)
  if config.models_from is not None or not trains:
    return
  missing = processes.own_share(
    [
      k
      for k in range(generated_count(config))
      if not workdir.generated_head(k).exists()
    ]
  )
  if not missing:
    return
  processes.say(f"Simulating {counted(len(missing), 'generated head')} ...")
  grid = SliceGrid(**config.data.grid)
  spiral = make_spiral(matrix=grid.matrix, **config.scan.spiral)
  for k in missing:
    # Other random numbers than those of the subjects.
    rng = np.random.default_rng([config.seed, k, 1])
    phantom, noise_level = phantom_and_noise(config, grid, rng)
    subject = simulate_subject(
      f"generated-{k:02d}",
      rng,
      grid=grid,
      acquisition=simulated_acquisition(config),
      spiral=spiral,
      phantom=phantom,
      n_coils=config.scan.n_coils,
      noise_level=noise_level,
      subspace_tolerance=config.scan.subspace_tolerance,
      reference=config.reference.to_dict(),
      imperfections=dataclasses.replace(imperfections_of(config), motion=None),
    )
    save_subject(subject, workdir.generated_head(k))


def _draw_signals(config, workdir: Workdir, k: int) -> None:
  """Draws the middle slice in the window from frame 300, or the middle one."""
  acquisition = acquisition_of(config)
  number = min(300 // acquisition.stride, acquisition.n_windows // 2)
  frame = number * acquisition.stride
  path = workdir.figure(f"subject-{k:02d}_frame-{frame}.png")
  if path.exists():
    return
  from mrf_jax.evaluation.figures import signal_figure

  subject = load_subject(workdir.subject(k))
  assert subject.signals is not None
  volume = np.zeros(subject.mask.shape, np.complex64)
  volume[subject.mask] = subject.signals[:, number]
  middle = len(volume) // 2
  turned = upright(subject.affine)
  signal_figure(
    path,
    turned(volume[middle]),
    title=f"simulated subject {k}, window from frame {frame}, "
    f"slice {middle + 1} of {len(volume)}",
    sides=turned.sides,
  )
