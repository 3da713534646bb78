"""Learning curves of a training, as JSON lines and TensorBoard events."""

import json
import pathlib

import numpy as np
from tensorboardX import SummaryWriter

from mrf_jax.errors import UserError
from mrf_jax.io.atomic import replacing
from mrf_jax.maps import MAP_NAMES

_PLACE = ("method", "fold", "epoch")


class EpochLog:
  """Writes each epoch's losses and watched errors.

  An epoch that stands is not written again: after a restart from a checkpoint
  some are trained a second time.
  """

  def __init__(self, folder: pathlib.Path, method: str, *, process: int = 0):
    """Opens the log of one method.

    Args:
      folder: of `metrics.jsonl` and of the events.
      method: name of the method.
      process: each process has a file of its own until `join_logs`.
    """
    self._method = method
    path = log_file(folder, process)
    # A killed process may have left half a line.
    records = read_records(path)
    if path.exists():
      _write_records(path, records)
    self._standing = {_place(record) for record in records}
    self._lines = open(path, "a")
    events = folder / method
    # Not left to the writer, which minds if another process is faster.
    events.mkdir(parents=True, exist_ok=True)
    # Their names hold a whole second and the host: not enough for processes.
    self._events = SummaryWriter(
      str(events), filename_suffix=f".process-{process}"
    )

  def __enter__(self) -> "EpochLog":
    return self

  def __exit__(self, *error) -> None:
    self._lines.close()
    self._events.close()

  def __call__(self, epoch: int, metrics: dict[str, np.ndarray]) -> None:
    """Takes what `train_folds` reports of an epoch."""
    for place, fold in enumerate(map(int, metrics["fold"])):
      if (self._method, fold, epoch) in self._standing:
        continue
      values = {"training_loss": float(metrics["loss"][place])}
      for whose, errors in zip(
        ("training", "left_out"),
        metrics["watched_mae"][place] if "watched_mae" in metrics else (),
        strict=False,
      ):
        for name, error in zip(MAP_NAMES, errors, strict=True):
          values[f"{whose}_mae_{name}"] = float(error)
      record = {"method": self._method, "fold": fold, "epoch": epoch, **values}
      self._lines.write(json.dumps(record) + "\n")
      for name, value in values.items():
        self._events.add_scalar(f"{name}/fold-{fold}", value, epoch)
    self._lines.flush()
    self._events.flush()


def log_file(folder: pathlib.Path, process: int = 0) -> pathlib.Path:
  """The JSON lines of one process."""
  return folder / (f"metrics-{process}.jsonl" if process else "metrics.jsonl")


def read_records(path: pathlib.Path) -> list[dict]:
  """The whole lines of a file; none if it is not there.

  Args:
    path: JSON lines.

  Raises:
    UserError: it is a folder.
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
    if isinstance(record, dict) and record.keys() >= {*_PLACE}:
      records.append(record)
  return records


def join_logs(folder: pathlib.Path) -> None:
  """Moves the lines of all processes into `metrics.jsonl`, each once.

  Args:
    folder: of the files.
  """
  others = sorted(folder.glob("metrics-*.jsonl"))
  if not others:
    return
  records = {
    _place(record): record
    for path in (*others, log_file(folder))
    for record in read_records(path)
  }
  _write_records(log_file(folder), list(records.values()))
  for path in others:
    path.unlink()


def _place(record: dict) -> tuple:
  """Whose epoch it is."""
  return tuple(record[name] for name in _PLACE)


def _write_records(path: pathlib.Path, records: list[dict]) -> None:
  with replacing(path) as temporary:
    temporary.write_text("".join(json.dumps(r) + "\n" for r in records))
