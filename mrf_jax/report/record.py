"""Record of a study: tables, times and machine from all its workdirs."""

import csv
import json
import os
import pathlib
from collections.abc import Sequence

import ml_collections

from mrf_jax.errors import UserError
from mrf_jax.evaluation.table import Row, read_csv
from mrf_jax.experiment.variants import Variant, variants
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
  """Reads tables, times and machine of a study and of its variants.

  Args:
    root: workdir of a finished cross-validation, with the variants that a
      sweep has run in folders below it.
    earlier: a record written before. It supplies what the workdir does not
      have, such as a part of the study that ran elsewhere. A record of another
      configuration or commit is ignored.
    results: from `load_results`, of the same workdir.

  Returns:
    A dictionary for JSON, from which `results_page` writes the page.

  Raises:
    UserError: the cross-validation is not finished, a variant's workdir has
      another configuration than the study says, or several commits of the code
      made the workdirs.
  """
  main = Workdir.existing(root)
  config = ml_collections.ConfigDict(main.config)
  environment = _environment(main.root)
  if earlier and not _same_study(earlier, main.config, environment):
    earlier = None
  earlier_variants = {
    (variant["question"], variant["name"], variant["changes"]): variant
    for variant in (earlier["ways"] if earlier else ())
  }
  record: dict
  if earlier and not (main.root / "table1.csv").exists():
    record = {**earlier, "config": main.config}
  else:
    record = _tables(main, config, environment)
    record["agreement"] = [vars(row) for row in agreements(results)]
    if earlier and not results:
      record["agreement"] = earlier.get("agreement", [])
  record["ways"], record["missing"] = [], []
  for variant in variants(config):
    path = main.variant(variant.question, variant.name)
    key = variant.question, variant.name, variant.changes
    variant_record = earlier_variants.get(key)
    if (path / "table1.csv").exists():
      variant_record = _variant_record(variant, path, environment)
      if variant.config.models_from is not None:
        _add_borrowed_training(variant_record, record)
    if variant_record:
      record["ways"].append(variant_record)
    else:
      record["missing"].append(f"{variant.question}/{variant.name}")
  return record


def _same_study(earlier: dict, config: dict, environment: dict) -> bool:
  """Whether a record has a workdir's configuration and commit."""
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
    "differences": _lines(main.root / "differences.csv"),
    "calibration": _lines(main.root / "calibration.csv"),
    "times": _times(main.root),
    "steps": _steps(config, main.root),
    "n_folds": _n_folds(config),
    "multiply_adds": _multiply_adds(config),
  }


def _multiply_adds(config: ml_collections.ConfigDict) -> dict[str, int]:
  """Multiply-adds of each network; empty if files of the scans are missing."""
  if not all(map(os.path.exists, config.data.get("files", ()))):
    return {}
  return multiply_adds(config)


def _variant_record(
  variant: Variant, path: pathlib.Path, environment: dict
) -> dict:
  """Results of one variant."""
  stored = Workdir.existing(path).config
  different = config_differences(stored, variant.config.to_dict())
  if different:
    raise UserError(
      f"{path}: has another configuration than the study: "
      + ", ".join(different[:3])
    )
  commits = _environment(path)["git_commits"]
  if commits != environment["git_commits"]:
    raise UserError(
      f"{path}: was made by commit {commits[0]}, the study by "
      f"{environment['git_commits'][0]}; one table needs one commit"
    )
  return {
    "question": variant.question,
    "name": variant.name,
    "changes": variant.changes,
    "errors": _nested(read_csv(path / "table1.csv")),
    "true_errors": _nested(rows_of(_truth_table(path))),
    "times": _times(path),
    "steps": _steps(variant.config, path),
    "multiply_adds": _multiply_adds(variant.config),
    "n_folds": _n_folds(variant.config),
  }


def _add_borrowed_training(variant_record: dict, record: dict) -> None:
  """Adds steps and training time of the study's networks to a variant."""
  for method, steps in record["steps"].items():
    if method in variant_record["errors"]:
      seconds = record["times"][method]["train"]
      seconds *= variant_record["n_folds"] / record["n_folds"]
      variant_record["steps"].setdefault(method, steps)
      times = variant_record["times"].setdefault(method, {})
      times.setdefault("train", seconds)


def _environment(root: pathlib.Path) -> dict:
  """Machine and commit of a workdir; several commits are an error."""
  path = root / "environment.json"
  try:
    environment = json.loads(path.read_text())
    commits = environment["git_commits"]
  except (OSError, ValueError, KeyError) as error:
    raise UserError(f"{path}: cannot read the environment ({error})") from error
  if len(commits) > 1:
    raise UserError(
      f"{root}: several commits wrote to it: {', '.join(map(str, commits))}; "
      "one table needs one commit"
    )
  return environment


def _table(path: pathlib.Path) -> list[list]:
  """Rows of a table of errors, each as a list."""
  return [list(vars(row).values()) for row in read_csv(path)]


def _truth_table(root: pathlib.Path) -> list[list]:
  """Errors against the true parameters; empty if subjects are not simulated."""
  path = root / "truth_table.csv"
  return _table(path) if path.exists() else []


def rows_of(lists: list[list]) -> list[Row]:
  """Rows of a table from their lists in a record."""
  return [Row(*values) for values in lists]


def _nested(rows: list[Row]) -> dict:
  """Method, tissue and map to MAE and RMSE."""
  nested: dict = {}
  for row in rows:
    tissues = nested.setdefault(row.method, {})
    tissues.setdefault(row.tissue, {})[row.map] = [row.mae_mean, row.rmse_mean]
  return nested


def _lines(path: pathlib.Path) -> list[dict]:
  """Lines of a CSV file; empty if the file does not exist."""
  if not path.exists():
    return []
  with open(path, newline="", encoding="utf-8") as file:
    return list(csv.DictReader(file))


def _times(root: pathlib.Path) -> dict:
  """Seconds by method and stage."""
  times: dict = {}
  for line in _lines(root / "timing.csv"):
    if line["source"] == "crossval":
      stages = times.setdefault(line["method"], {})
      stages[line["stage"]] = float(line["seconds"])
  return times


def _n_folds(config: ml_collections.ConfigDict) -> int:
  return len(config.folds or range(config.data.n_subjects))


def _steps(config: ml_collections.ConfigDict, root: pathlib.Path) -> dict:
  """Training steps of each network in one fold, approximately."""
  steps = {}
  n_folds = _n_folds(config)
  for line in _lines(root / "timing.csv"):
    if line["stage"] == "train" and line["source"] == "crossval":
      options = {**config.training, **config[line["method"]].training}
      tile = options["tile"] if options["sampling"] == "tiles" else 1
      estimates = options["batch"] * tile**2 * n_folds
      steps[line["method"]] = round(int(line["voxels"]) / estimates)
  return steps
