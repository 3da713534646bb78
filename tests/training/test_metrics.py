"""The log of losses and watched errors."""

import json

import numpy as np

from mrf_jax.training.metrics import EpochLog, join_logs, read_records


def write_epoch(
  folder, method, *losses, loss="squared_error", watched=None, **options
):
  """The log of an epoch of folds with these losses."""
  errors = np.arange(1.0, 7.0).reshape(2, 3)
  metrics = {
    "fold": np.arange(len(losses)),
    "loss": np.array(losses),
    "watched_mae": np.stack([errors] * len(losses)),
  }
  if watched is not None:
    metrics["watched_loss"] = np.array(watched)
  with EpochLog(folder, method, loss=loss, **options) as log:
    log(1, metrics)


def test_names_of_losses_and_errors(tmp_path):
  write_epoch(tmp_path, "cohen", 0.5, 0.25)
  (first, second) = read_records(tmp_path / "metrics.jsonl")
  assert (first["fold"], first["epoch"], first["training_loss"]) == (0, 1, 0.5)
  assert second["training_loss"] == 0.25
  assert second["loss"] == "squared_error"
  assert second["training_mae_t2_ms"] == 3
  assert second["left_out_mae_pd"] == 4
  assert list((tmp_path / "cohen").glob("events*"))


def test_watched_likelihood_is_next_to_the_weighted_one(tmp_path):
  write_epoch(
    tmp_path,
    "spatiotemporal_plus",
    -0.01,
    loss="weighted_likelihood",
    watched=[[-2.5, -2.25]],
  )
  (record,) = read_records(tmp_path / "metrics.jsonl")
  assert record["training_loss"] == -0.01
  assert record["loss"] == "weighted_likelihood"
  assert record["training_likelihood"] == -2.5
  assert record["left_out_likelihood"] == -2.25


def test_epoch_is_written_once(tmp_path):
  for method in ("cohen", "cohen", "hoppe"):
    write_epoch(tmp_path, method, 0.5, 0.25)
  assert len(read_records(tmp_path / "metrics.jsonl")) == 4


def test_incomplete_line_is_dropped(tmp_path):
  write_epoch(tmp_path, "cohen", 0.5, 0.25)
  path = tmp_path / "metrics.jsonl"
  # A killed process has written half of the last line.
  path.write_text(path.read_text()[:-30])
  write_epoch(tmp_path, "cohen", 0.5, 0.25)
  lines = path.read_text().splitlines()
  assert [json.loads(line)["fold"] for line in lines] == [0, 1]


def test_logs_of_processes_are_merged(tmp_path):
  for process in (0, 1):
    write_epoch(tmp_path, "cohen", 0.5 + process, process=process)
  events = list((tmp_path / "cohen").glob("events*"))
  assert len(events) == 2
  join_logs(tmp_path)
  # Both have trained this epoch: one line stays.
  (record,) = read_records(tmp_path / "metrics.jsonl")
  assert record["training_loss"] == 0.5
  assert [p.name for p in tmp_path.glob("*.jsonl")] == ["metrics.jsonl"]
