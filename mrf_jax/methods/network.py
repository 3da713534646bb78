"""A network trained on the other subjects."""

import dataclasses
import json
import pathlib
import time

import flax.linen as nn
import jax
import ml_collections
import numpy as np
from tensorboardX import SummaryWriter

from mrf_jax.dataset.normalise import normalise_signals
from mrf_jax.inference import Model, reconstruct
from mrf_jax.maps import MAP_NAMES
from mrf_jax.methods.study import Estimates, Study, reconstruct_all
from mrf_jax.models import NETWORKS
from mrf_jax.timing import StageTime
from mrf_jax.training.checkpoint import load_model, save_model
from mrf_jax.training.loop import train_folds
from mrf_jax.workdir import Workdir


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
        voxels=voxels
        * (n_folds - 1)
        * training_options(study.config, method)["epochs"],
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
  maps, seconds = reconstruct_all(
    method, study, lambda k, subject: reconstruct(models[k], subject)
  )
  return maps, [*times, seconds]


def make_network(
  config: ml_collections.ConfigDict, method: str
) -> tuple[nn.Module, int]:
  """The Flax module that the configuration describes, and its reach."""
  network_type, reach = NETWORKS[method]
  return network_type(**config[method].network), reach


def check_network(
  config: ml_collections.ConfigDict, method: str, *, n_windows: int
) -> None:
  """Refuses a network that cannot take the configuration's fingerprints.

  Args:
    config: the experiment's configuration.
    method: name of the network.
    n_windows: T.

  Raises:
    UserError: the fingerprints or the options do not suit it.
  """
  module, reach = make_network(config, method)
  size = 2 * reach + 1
  patch = jax.ShapeDtypeStruct((1, size, size, 2 * n_windows), np.float32)
  jax.eval_shape(
    lambda x: module.init(jax.random.key(0), x, train=False), patch
  )


def training_options(config: ml_collections.ConfigDict, method: str) -> dict:
  """Those of all networks, and what this one has of its own."""
  return {**config.training, **config[method].training}


def _train(method: str, study: Study) -> list[Model]:
  """One model for each left-out subject."""
  config = study.config
  per = config.preprocessing.normalise_signals_per
  module, reach = make_network(config, method)
  with _EpochLog(study.workdir, method) as log:
    trained = train_folds(
      module,
      _signal_table(study, per),
      [subject.mask for subject in study.subjects],
      study.references,
      reach=reach,
      seed=config.seed,
      on_epoch=log,
      **training_options(config, method),
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


class _EpochLog:
  """Writes each epoch's losses and watched errors to `metrics/`."""

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

  def __call__(self, epoch: int, metrics: dict[str, np.ndarray]) -> None:
    for fold, loss in enumerate(metrics["loss"]):
      values = {"training_loss": float(loss)}
      for whose, errors in zip(
        ("training", "left_out"),
        metrics["watched_mae"][fold] if "watched_mae" in metrics else (),
        strict=False,
      ):
        for name, error in zip(MAP_NAMES, errors, strict=True):
          values[f"{whose}_mae_{name}"] = float(error)
      record = {"method": self._method, "fold": fold, "epoch": epoch, **values}
      self._lines.write(json.dumps(record) + "\n")
      for name, value in values.items():
        self._events.add_scalar(f"{name}/fold-{fold}", value, epoch)
    self._lines.flush()
