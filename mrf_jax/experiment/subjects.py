"""The subjects of a workdir: simulated where they are missing, and read."""

import ml_collections
import numpy as np

from mrf_jax.dataset.subject import Subject, load_subject, save_subject
from mrf_jax.errors import UserError
from mrf_jax.evaluation import figures
from mrf_jax.experiment.settings import (
  acquisition_of,
  phantom_options,
  sequence_of,
  simulated_acquisition,
)
from mrf_jax.kspace.spiral import make_spiral
from mrf_jax.runtime import processes
from mrf_jax.sequence.files import save_sequence
from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.subject import simulate_subject
from mrf_jax.workdir.workdir import Workdir


def simulate_missing(
  config: ml_collections.ConfigDict, workdir: Workdir
) -> None:
  """Makes the subjects that the workdir does not hold yet.

  Of several processes each makes its share; all wait for all.

  Args:
    config: the experiment's configuration.
    workdir: where they stand.

  Raises:
    UserError: they should stand in another workdir and do not.
  """
  data = config.data
  missing = [
    k
    for k in range(data.n_subjects)
    if not workdir.subject(k).exists()
    or (data.keep_raw and not data.files and not workdir.raw_data(k).exists())
  ]
  if missing and data.files:
    raise UserError(f"data.files: {data.files[missing[0]]}: is not there")
  if missing and config.subjects_from is not None:
    raise UserError(
      f"{workdir.subject(missing[0])}: is not there; subjects_from wants a "
      "workdir whose subjects are simulated"
    )
  own = not data.files and config.subjects_from is None
  if data.keep_raw and own and processes.is_first():
    schedule = workdir.raw_data(0).with_name("train.txt")
    schedule.parent.mkdir(exist_ok=True)
    if not schedule.exists():
      save_sequence(sequence_of(config.sequence), schedule)
  # Before the first new one can stand, all must have looked.
  processes.barrier("subjects found")
  missing = processes.own_share(missing)
  if missing:
    _simulate(config, workdir, missing)
  processes.barrier("subjects")
  if own:
    for k in processes.own_share(range(data.n_subjects)):
      _picture_of_signals(config, workdir, k)


def _simulate(config, workdir: Workdir, missing: list[int]) -> None:
  data = config.data
  processes.say(f"Simulating {len(missing)} subjects ...")
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
      phantom=phantom_options(data),
      n_coils=scan.n_coils,
      noise_level=scan.noise_level,
      subspace_tolerance=scan.subspace_tolerance,
      reference=config.reference.to_dict(),
      raw_path=workdir.raw_data(k) if data.keep_raw else None,
    )
    save_subject(subject, workdir.subject(k))


def _picture_of_signals(config, workdir: Workdir, k: int) -> None:
  """The middle slice in the window that begins at frame 300, or half-way."""
  acquisition = acquisition_of(config)
  column = min(300 // acquisition.stride, acquisition.n_windows // 2)
  frame = column * acquisition.stride
  path = workdir.figure(f"subject-{k:02d}_frame-{frame}.png")
  if path.exists():
    return
  subject = load_numbered(workdir, k)
  assert subject.signals is not None
  volume = np.zeros(subject.mask.shape, np.complex64)
  volume[subject.mask] = subject.signals[:, column]
  figures.signal_figure(
    path,
    volume[len(volume) // 2],
    title=f"simulated subject {k}, window from frame {frame}",
  )


def load_numbered(
  workdir: Workdir, number: int, *, with_signals: bool = True
) -> Subject:
  """A subject of the workdir; see `load_subject`."""
  return load_subject(workdir.subject(number), with_signals=with_signals)
