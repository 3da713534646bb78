"""Record of a study: the results in its workdirs, as JSON can store them."""

import csv
import json
import os
import pathlib
from collections.abc import Sequence

import ml_collections
import pandas as pd

from mrf_jax.errors import UserError, one_line
from mrf_jax.evaluation.table import COLUMNS, ERRORS, read_table
from mrf_jax.experiment.variants import Variant, comparisons, variants
from mrf_jax.report.agreement import agreements
from mrf_jax.report.arithmetic import multiply_adds
from mrf_jax.report.results import LeftOut
from mrf_jax.workdir.configuration import config_differences
from mrf_jax.workdir.workdir import Workdir


def study_record(
  root: str | os.PathLike,
  *,
  earlier: dict | None = None,
  results: Sequence[LeftOut] = (),
) -> dict:
  """Collects tables, times and machine of a study and of its questions.

  Args:
    root: workdir of a finished cross-validation; below it are those of the
      variants that a sweep has run.
    earlier: a record written before, for results that are not in the workdir,
      such as a part of the study that ran on another machine; ignored if its
      configuration or commit is another one.
    results: left-out subjects of the same workdir, see `load_results`.

  Returns:
    A record that JSON can store, from which the page is written.

  Raises:
    UserError: the study is not finished, or workdirs were made by
      configurations that do not belong together or by different commits.
  """
  main = Workdir.existing(root)
  config = ml_collections.ConfigDict(main.config)
  environment = _environment(main.root)
  if earlier and not _same_study(earlier, main.config, environment):
    earlier = None
  known = {
    (variant["question"], variant["name"], variant["changes"]): variant
    for variant in (earlier["ways"] if earlier else ())
  }
  record: dict
  if earlier and not (main.root / "table1.csv").exists():
    record = {**earlier, "config": main.config}
  elif not (main.root / "table1.csv").exists():
    raise UserError(
      f"{main.root}: has no table1.csv; launch.py without --mode, with the "
      "configuration of the workdir, makes it"
    )
  else:
    record = _tables(main, config, environment)
    record["agreement"] = agreements(results).to_dict("records")
    if earlier and not results:
      record["agreement"] = earlier.get("agreement", [])
  record["ways"], record["missing"] = [], []
  for variant in variants(config):
    path = main.variant(variant.question, variant.name)
    answer = known.get((variant.question, variant.name, variant.changes))
    if (path / "table1.csv").exists():
      answer = _answer(variant, path, environment)
      if comparisons(config.questions[variant.question]):
        answer["by_subject"] = _by_subject(path)
      if variant.config.models_from is not None:
        _add_training(answer, record)
    if answer:
      record["ways"].append(answer)
    else:
      record["missing"].append(f"{variant.question}/{variant.name}")
  return record


def _same_study(earlier: dict, config: dict, environment: dict) -> bool:
  """True if a record and a workdir belong together."""
  return (
    not config_differences(earlier["config"], config)
    and earlier["environment"]["git_commits"] == environment["git_commits"]
  )


def _tables(main: Workdir, config, environment: dict) -> dict:
  """Results of the cross-validation itself."""
  return {
    "config": main.config,
    "environment": environment,
    "table1": _table(main.root / "table1.csv"),
    "truth_table": _truth_table(main.root),
    "thresholds": {
      name: _table(main.root / f"table1_{name}.csv")
      for name in config.evaluation.other_thresholds_ms
    },
    "differences": csv_lines(main.root / "differences.csv"),
    "calibration": csv_lines(main.root / "calibration.csv"),
    "fit": csv_lines(main.root / "fit.csv"),
    "times": _times(main.root),
    "steps": _steps(config, main.root),
    "n_folds": _n_folds(config),
    "multiply_adds": _multiply_adds(config),
  }


def _multiply_adds(config: ml_collections.ConfigDict) -> dict[str, int]:
  """As `multiply_adds`; empty if the scan's files are gone."""
  if not all(map(os.path.exists, config.data.get("files", ()))):
    return {}
  return multiply_adds(config)


def _answer(variant: Variant, path: pathlib.Path, environment: dict) -> dict:
  """Results of one variant."""
  stored = Workdir.existing(path).config
  different = config_differences(stored, variant.config.to_dict())
  if different:
    raise UserError(
      f"{path}: has another configuration than the study: "
      + ", ".join(different[:3])
    )
  own = _environment(path)
  if own["git_commits"] != environment["git_commits"]:
    raise UserError(
      f"{path}: was made by commit {own['git_commits'][0]}, the study by "
      f"{environment['git_commits'][0]}; one table needs one commit"
    )
  return {
    "question": variant.question,
    "name": variant.name,
    "changes": variant.changes,
    "errors": _nested(read_table(path / "table1.csv")),
    "true_errors": _nested(rows_of(_truth_table(path))),
    "times": _times(path),
    "steps": _steps(variant.config, path),
    "multiply_adds": _multiply_adds(variant.config),
    "n_folds": _n_folds(variant.config),
  }


def _by_subject(path: pathlib.Path) -> list[list]:
  """Errors of each left-out subject of a variant, rows of `BY_SUBJECT`."""
  file = path / "errors_by_subject.csv"
  lines = csv_lines(file)
  try:
    if not lines:
      raise ValueError("no lines")
    return [
      [
        line["method"],
        int(line["subject"]),
        line["tissue"],
        line["map"],
        *(float(line[error]) for error in ERRORS),
      ]
      for line in lines
    ]
  except (KeyError, TypeError, ValueError) as error:
    raise UserError(
      f"{file}: missing or damaged ({one_line(error)}); --mode=sweep writes it "
      "again"
    ) from error


def _add_training(answer: dict, record: dict) -> None:
  """Adds steps and times of training where the study's models were used."""
  for method, number in record["steps"].items():
    if method in answer["errors"]:
      seconds = record["times"][method]["train"]
      seconds *= answer["n_folds"] / record["n_folds"]
      answer["steps"].setdefault(method, number)
      answer["times"].setdefault(method, {}).setdefault("train", seconds)


def _environment(root: pathlib.Path) -> dict:
  """Machine and commit of a workdir that was written by one commit only."""
  path = root / "environment.json"
  try:
    environment = json.loads(path.read_text())
    commits = environment["git_commits"]
  except (OSError, ValueError, KeyError) as error:
    raise UserError(
      f"{path}: cannot read which commit wrote the workdir ({error})"
    ) from error
  if len(commits) > 1:
    raise UserError(
      f"{root}: several commits wrote to it: {', '.join(map(str, commits))}; "
      "one table needs one commit"
    )
  return environment


def _table(path: pathlib.Path) -> list[list]:
  """Rows of a table of errors, each as a list."""
  return [list(row) for row in read_table(path).itertuples(index=False)]


def _truth_table(root: pathlib.Path) -> list[list]:
  """Rows of the table against true parameters; empty if there is none."""
  path = root / "truth_table.csv"
  return _table(path) if path.exists() else []


def rows_of(lists: list[list]) -> pd.DataFrame:
  """Table of errors from its rows in a record."""
  return pd.DataFrame(lists, columns=[*COLUMNS])


def _nested(rows: pd.DataFrame) -> dict:
  """Method, tissue and map to MAE and RMSE."""
  nested: dict = {}
  for row in rows.itertuples():
    tissues = nested.setdefault(row.method, {})
    tissues.setdefault(row.tissue, {})[row.map] = [row.mae_mean, row.rmse_mean]
  return nested


def csv_lines(path: pathlib.Path) -> list[dict]:
  """Lines of a CSV file as text; none if there is no such file."""
  if not path.exists():
    return []
  with open(path, newline="", encoding="utf-8") as file:
    return list(csv.DictReader(file))


def _times(root: pathlib.Path) -> dict:
  """Method and stage to seconds."""
  times: dict = {}
  for line in csv_lines(root / "timing.csv"):
    if line["source"] == "crossval":
      stages = times.setdefault(line["method"], {})
      stages[line["stage"]] = float(line["seconds"])
  return times


def _n_folds(config: ml_collections.ConfigDict) -> int:
  return len(config.folds or range(config.data.n_subjects))


def _steps(config: ml_collections.ConfigDict, root: pathlib.Path) -> dict:
  """Network to the approximate number of training steps of each fold."""
  steps = {}
  n_folds = _n_folds(config)
  for line in csv_lines(root / "timing.csv"):
    if line["stage"] == "train" and line["source"] == "crossval":
      options = {**config.training, **config[line["method"]].training}
      tile = options["tile"] if options["sampling"] == "tiles" else 1
      estimates = options["batch"] * tile**2 * n_folds
      steps[line["method"]] = round(int(line["voxels"]) / estimates)
  return steps
