"""Subjects of a workdir: simulates missing ones, and draws their signals."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import ml_collections
import numpy as np

from mrf_jax.dataset.subject import Subject, load_subject, save_subject
from mrf_jax.errors import UserError
from mrf_jax.evaluation.orientation import upright
from mrf_jax.experiment.generated_heads import (
  generated_count,
  phantom_and_noise,
)
from mrf_jax.experiment.settings import (
  acquisition_of,
  field_options,
  imperfections_of,
  networks_of,
  phantom_options,
  schedule_in_words,
  simulated_acquisition,
)
from mrf_jax.kspace.spiral import make_spiral
from mrf_jax.methods.network_options import trains_on_generated
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
  generated = enumerate(generated_files(config, workdir))
  missing_generated = [k for k, file in generated if not file.exists()]
  # No process makes a subject before all have listed those that are missing.
  processes.barrier("subjects found")
  missing = processes.own_share(missing)
  if missing:
    _simulate(config, workdir, missing)
  missing_generated = processes.own_share(missing_generated)
  if missing_generated:
    _simulate_generated(config, workdir, missing_generated)
  processes.barrier("subjects")
  if is_own:
    for k in processes.own_share(range(data.n_subjects)):
      _draw_signals(config, workdir, k)


def _scanner(config: ml_collections.ConfigDict) -> Callable[..., Subject]:
  """`simulate_subject` with all that heads of a configuration share."""
  grid, scan = SliceGrid(**config.data.grid), config.scan
  return functools.partial(
    simulate_subject,
    grid=grid,
    acquisition=simulated_acquisition(config),
    spiral=make_spiral(matrix=grid.matrix, **scan.spiral),
    n_coils=scan.n_coils,
    subspace_tolerance=scan.subspace_tolerance,
  )


def _reference_scans(config: ml_collections.ConfigDict) -> dict | None:
  """Arguments of `acquire_reference`; None where the true maps stand for them.

  Configurations of before had no choice.
  """
  if not config.data.get("acquired_maps", True):
    return None
  return config.reference.to_dict()


def _simulate(config, workdir: Workdir, missing: list[int]) -> None:
  """Simulates subjects, each from the seed and its own number alone."""
  data = config.data
  processes.say(f"Simulating {counted(len(missing), 'subject')} ...")
  for sentence in schedule_in_words(config.sequence):
    processes.say(f"- {sentence}")
  scanned = _scanner(config)
  for k in missing:
    subject = scanned(
      f"simulated-{k:02d}",
      np.random.default_rng([config.seed, k]),
      phantom=phantom_options(data, k),
      noise_level=config.scan.noise_level,
      reference=_reference_scans(config),
      imperfections=imperfections_of(config),
      raw_path=workdir.raw_data(k) if data.keep_raw else None,
    )
    save_subject(subject, workdir.subject(k))


def generated_files(
  config: ml_collections.ConfigDict, workdir: Workdir
) -> list[pathlib.Path]:
  """Files of the generated heads; none where no network is trained.

  They are those of the workdir that has the subjects, if it has made the same.
  """
  wide = [m for m in networks_of(config) if trains_on_generated(config, m)]
  if config.models_from is not None or not wide:
    return []
  numbers = range(generated_count(config))
  lender = workdir.with_subjects
  if lender is not workdir and _generates(lender.config) == _generates(
    workdir.config
  ):
    lent = [lender.generated_head(k) for k in numbers]
    if all(file.exists() for file in lent):
      return lent
  return [workdir.generated_head(k) for k in numbers]


def _generates(config: dict) -> list:
  """What generated heads depend on besides what all subjects depend on."""
  ranges = config.get("dictionary", {})
  return [
    config.get("generated_heads"),
    ranges.get("t1_ms"),
    ranges.get("t2_ms"),
  ]


def _simulate_generated(config, workdir: Workdir, missing: list[int]) -> None:
  """Simulates generated heads.

  They are at rest, and their true maps are what networks learn of them:
  acquired ones tell nothing of T2 beyond the echoes of a head's, and motion
  between the scans would give regions of unlike values each other's signals.
  """
  processes.say(f"Simulating {counted(len(missing), 'generated head')} ...")
  scanned = _scanner(config)
  at_rest = dataclasses.replace(imperfections_of(config), motion=None)
  for k in missing:
    # Other random numbers than those of the subjects.
    rng = np.random.default_rng([config.seed, k, 1])
    phantom, noise_level = phantom_and_noise(config, rng)
    subject = scanned(
      f"generated-{k:02d}",
      rng,
      phantom={**field_options(config.data), **phantom},
      noise_level=noise_level,
      reference=None,
      imperfections=at_rest,
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
