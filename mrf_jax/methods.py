"""The reconstruction methods, each a function of one study.

A method is one function and one line in `METHODS`: it gets a `Study` and
returns the estimated maps of every subject, each from a fold that left this
subject out, and the time its stages took.
"""

import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Callable, Sequence

import jax
import ml_collections
import numpy as np
from tensorboardX import SummaryWriter

from mrf_jax.dataset.normalise import normalise_signals
from mrf_jax.dataset.subject import Subject
from mrf_jax.inference import Model, reconstruct
from mrf_jax.maps import Maps
from mrf_jax.matching.dictionary import build_dictionary, grid_axis
from mrf_jax.matching.dot_product import match
from mrf_jax.models import NETWORKS
from mrf_jax.parallel import progress
from mrf_jax.timing import StageTime
from mrf_jax.training.checkpoint import load_model, save_model
from mrf_jax.training.loop import train_folds
from mrf_jax.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Study:
  """What a method may look at.

  Attributes:
    config: the experiment's configuration.
    workdir: where models go.
    subjects: subjects without their signals and without their truth.
    load: reads a subject with its signals.
    references: clipped reference maps of each subject.
  """

  config: ml_collections.ConfigDict
  workdir: Workdir
  subjects: Sequence[Subject]
  load: Callable[[int], Subject]
  references: Sequence[Maps]


Estimates = tuple[list[Maps], list[StageTime]]


def dictionary(study: Study) -> Estimates:
  """Standard dictionary matching (Ma 2013); it learns nothing."""
  options = study.config.dictionary
  scan = study.subjects[0]
  start = time.perf_counter()
  atoms = build_dictionary(
    scan.sequence,
    grid_axis(*options.t1_ms, step_percent=options.step_percent),
    grid_axis(*options.t2_ms, step_percent=options.step_percent),
    b1=options.b1,
    window=scan.window,
    stride=scan.stride,
    rank=options.rank,
    text="simulating the dictionary",
  )
  atoms = jax.device_put(atoms)
  built = StageTime(
    "dictionary",
    "simulate",
    time.perf_counter() - start,
    atoms=atoms.n_atoms,
  )
  maps, matched = _reconstruct_all(
    "dictionary", study, lambda k, subject: match(atoms, subject.signals)
  )
  return maps, [built, dataclasses.replace(matched, atoms=atoms.n_atoms)]


def network(method: str, study: Study) -> Estimates:
  """A network trained on the other subjects."""
  n_folds = len(study.subjects)
  bundles = [study.workdir.model(method, fold) for fold in range(n_folds)]
  times = []
  if not all((bundle / "model.json").exists() for bundle in bundles):
    start = time.perf_counter()
    models = _train(method, study)
    voxels = sum(subject.n_voxels for subject in study.subjects)
    times.append(
      StageTime(
        method,
        "train",
        time.perf_counter() - start,
        voxels=voxels * (n_folds - 1) * study.config.training.epochs,
      )
    )
    for model, bundle in zip(models, bundles, strict=True):
      bundle.parent.mkdir(parents=True, exist_ok=True)
      save_model(model, bundle, config=study.config.to_dict())
  models = []
  for bundle in bundles:
    model = load_model(bundle)
    variables = jax.device_put(model.variables)
    models.append(dataclasses.replace(model, variables=variables))
  maps, seconds = _reconstruct_all(
    method, study, lambda k, subject: reconstruct(models[k], subject)
  )
  return maps, [*times, seconds]


METHODS: dict[str, Callable[[Study], Estimates]] = {
  "spatiotemporal": functools.partial(network, "spatiotemporal"),
  "dictionary": dictionary,
}


def _train(method: str, study: Study) -> list[Model]:
  """One model for each left-out subject."""
  config = study.config
  per = config.preprocessing.normalise_signals_per
  network_type, reach = NETWORKS[method]
  module = network_type(**config[method])
  with _EpochLog(study.workdir, method) as log:
    trained = train_folds(
      module,
      _signal_table(study, per),
      [subject.mask for subject in study.subjects],
      study.references,
      reach=reach,
      seed=config.seed,
      on_epoch=log,
      **config.training,
    )
  scan = study.subjects[0]
  return [
    Model(
      method=method,
      network=module,
      reach=reach,
      variables=fold.variables,
      map_range=fold.map_range,
      normalise_signals_per=per,
      sequence=scan.sequence,
      window=scan.window,
      stride=scan.stride,
    )
    for fold in trained
  ]


def _signal_table(study: Study, per: str) -> np.ndarray:
  """Normalised signals of all subjects under a row of zeros, [row, 2T]."""
  table = None
  row = 1
  for number in range(len(study.subjects)):
    loaded = study.load(number).signals
    assert loaded is not None
    signals = normalise_signals(loaded, per=per)
    if table is None:
      voxels = sum(subject.n_voxels for subject in study.subjects)
      table = np.zeros((1 + voxels, signals.shape[1]), np.float32)
    table[row : row + len(signals)] = signals
    row += len(signals)
  assert table is not None
  return table


def _reconstruct_all(
  method: str, study: Study, estimate: Callable[[int, Subject], Maps]
) -> tuple[list[Maps], StageTime]:
  """Every subject's maps and the seconds of all of them together.

  The first subject is estimated twice, so that compilation is not counted.
  """
  maps, seconds, voxels = [], 0.0, 0
  numbers = range(len(study.subjects))
  for k in progress(numbers, total=len(numbers), text=f"{method} maps"):
    subject = study.load(k)
    if k == 0:
      estimate(k, subject)
    start = time.perf_counter()
    maps.append(estimate(k, subject))
    seconds += time.perf_counter() - start
    voxels += subject.n_voxels
  return maps, StageTime(method, "reconstruct", seconds, voxels=voxels)


class _EpochLog:
  """Writes each epoch's losses to `metrics/`."""

  def __init__(self, workdir: Workdir, method: str):
    folder = pathlib.Path(workdir.root) / "metrics"
    self._method = method
    self._lines = open(folder / "metrics.jsonl", "a")
    self._events = SummaryWriter(str(folder / method))

  def __enter__(self) -> "_EpochLog":
    return self

  def __exit__(self, *error) -> None:
    self._lines.close()
    self._events.close()

  def __call__(self, epoch: int, losses: np.ndarray) -> None:
    for fold, loss in enumerate(losses):
      record = {
        "method": self._method,
        "fold": fold,
        "epoch": epoch,
        "training_loss": float(loss),
      }
      self._lines.write(json.dumps(record) + "\n")
      self._events.add_scalar(f"training_loss/fold-{fold}", loss, epoch)
    self._lines.flush()
