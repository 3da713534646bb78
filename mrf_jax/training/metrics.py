"""Learning curves of a training, as JSON lines and TensorBoard events."""

import json
import pathlib

import numpy as np

from mrf_jax.errors import UserError
from mrf_jax.io.atomic import write_text
from mrf_jax.maps import MAP_NAMES
from mrf_jax.training.losses import watched_loss

# Identify a record.
_KEY = ("method", "fold", "epoch")
# Subjects in whose voxels errors are watched, in their order.
_WATCHED = ("training", "left_out")


class EpochLog:
  """Log of the losses and watched errors of each epoch.

  After a restart from a checkpoint some epochs are trained a second time; an
  epoch that is in the log already is not written again.
  """

  def __init__(
    self, folder: pathlib.Path, method: str, *, loss: str, process: int = 0
  ):
    """Opens the log of a method, one for each process until `join_logs`.

    Args:
      folder: folder of all logs.
      method: the method that is trained.
      loss: name of the loss that is minimised, one of `LOSSES`.
      process: number of this process.
    """
    from tensorboardX import SummaryWriter

    self._method, self._loss = method, loss
    path = log_file(folder, process)
    # A killed process may have left an incomplete last line.
    records = read_records(path)
    if path.exists():
      _write_records(path, records)
    self._written = {_key(record) for record in records}
    self._lines = open(path, "a")
    events = folder / method
    # `SummaryWriter` raises if another process makes the folder first.
    events.mkdir(parents=True, exist_ok=True)
    # The default file name has the second and the host, which two processes may
    # share.
    self._events = SummaryWriter(
      str(events), filename_suffix=f".process-{process}"
    )

  def __enter__(self) -> "EpochLog":
    return self

  def __exit__(self, *error) -> None:
    self._lines.close()
    self._events.close()

  def __call__(self, epoch: int, metrics: dict[str, np.ndarray]) -> None:
    """Writes an epoch, from 1, of all folds, as `train_folds` reports it."""
    for index, fold in enumerate(map(int, metrics["fold"])):
      if (self._method, fold, epoch) in self._written:
        continue
      values = {"training_loss": float(metrics["loss"][index])}
      if "watched_loss" in metrics:
        losses = metrics["watched_loss"][index]
        for whose, loss in zip(_WATCHED, losses, strict=True):
          values[f"{whose}_{watched_loss(self._loss)}"] = float(loss)
      for whose, errors in zip(
        _WATCHED,
        metrics["watched_mae"][index] if "watched_mae" in metrics else (),
        strict=False,
      ):
        for name, error in zip(MAP_NAMES, errors, strict=True):
          values[f"{whose}_mae_{name}"] = float(error)
      record = {"method": self._method, "fold": fold, "epoch": epoch, **values}
      record["loss"] = self._loss
      self._lines.write(json.dumps(record) + "\n")
      for name, value in values.items():
        self._events.add_scalar(f"{name}/fold-{fold}", value, epoch)
    self._lines.flush()
    self._events.flush()


def log_file(folder: pathlib.Path, process: int = 0) -> pathlib.Path:
  """Path of the JSON lines of one process."""
  return folder / (f"metrics-{process}.jsonl" if process else "metrics.jsonl")


def read_records(path: pathlib.Path) -> list[dict]:
  """Records of a log, without incomplete lines; none if there is no file.

  Raises:
    UserError: the path is a folder.
  """
  if path.is_dir():
    raise UserError(
      f"{path}: is a folder; remove {path}, and the same command goes on"
    )
  lines = path.read_text(errors="replace").splitlines() if path.exists() else ()
  records = []
  for line in lines:
    try:
      record = json.loads(line)
    except ValueError:
      continue
    if isinstance(record, dict) and record.keys() >= {*_KEY}:
      records.append(record)
  return records


def join_logs(folder: pathlib.Path) -> None:
  """Merges the logs of all processes into `metrics.jsonl`."""
  others = sorted(folder.glob("metrics-*.jsonl"))
  if not others:
    return
  records = {
    _key(record): record
    for path in (*others, log_file(folder))
    for record in read_records(path)
  }
  _write_records(log_file(folder), list(records.values()))
  for path in others:
    path.unlink()


def _key(record: dict) -> tuple:
  """Method, fold and epoch of a record."""
  return tuple(record[name] for name in _KEY)


def _write_records(path: pathlib.Path, records: list[dict]) -> None:
  write_text("".join(json.dumps(r) + "\n" for r in records), path)
