"""Writes the files of a report: page, record and pictures."""

import json
import os
import pathlib
import shutil

import ml_collections

from mrf_jax.errors import UserError
from mrf_jax.evaluation.panels import save
from mrf_jax.evaluation.table import write_rows
from mrf_jax.experiment.variants import variants
from mrf_jax.io.atomic import replacing, write_text, writing_to
from mrf_jax.report.answers import CURVES
from mrf_jax.report.curves import draw_curves
from mrf_jax.report.html import report_html
from mrf_jax.report.page import results_page
from mrf_jax.report.paired import paired_file, paired_tables
from mrf_jax.report.record import study_record
from mrf_jax.report.results import load_results
from mrf_jax.workdir.environment import environment
from mrf_jax.workdir.manifest import record_files

_PICTURES = ("figure3.png", "errors.png", "learning_curves.png")
NOTES = "results_notes.md"
RECORD = "results.json"


def write_report(root: str | os.PathLike, output: str | os.PathLike) -> str:
  """Writes `results.md`, `results.json`, `report.html` and folder `results`.

  The folder has pictures, and a table for each question with pairs.

  Args:
    root: workdir of a finished cross-validation.
    output: folder. If it has a `results_notes.md`, the text under each of its
      headings goes into the section of that name. If it has a `results.json`
      of the same configuration and commit, this supplies what the workdir
      does not have.

  Returns:
    The page in Markdown.

  Raises:
    UserError: see `study_record`, or the folder cannot be written.
  """
  output = pathlib.Path(output)
  results = load_results(root)
  record = study_record(
    root, earlier=_read_record(output / RECORD), results=results
  )
  # The page is written from the record as it is read back from its file.
  record = json.loads(json.dumps(record, sort_keys=True))
  page = results_page(record, read_notes(output / NOTES))
  if output.resolve() == pathlib.Path(root).resolve():
    record_files(root, environment(record["config"]))
  with writing_to(output):
    (output / "results").mkdir(exist_ok=True)
    for name in _PICTURES:
      source = pathlib.Path(root) / name
      if source.exists():
        with replacing(output / "results" / name) as path:
          shutil.copyfile(source, path)
    _draw_curves(record, output / "results")
    for question, rows in paired_tables(record).items():
      write_rows(rows, output / paired_file(question))
    text = json.dumps(record, indent=0, sort_keys=True) + "\n"
    write_text(text, output / RECORD)
    write_text(page, output / "results.md")
    text = report_html(
      page,
      results,
      pictures=output,
      timing=pathlib.Path(root) / "timing.csv",
      config=record["config"],
      environment=record["environment"],
    )
    write_text(text, output / "report.html")
  return page


def _read_record(path: pathlib.Path) -> dict | None:
  """Reads an earlier record, if the file exists."""
  if not path.exists():
    return None
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise UserError(
      f"{path}: not JSON ({error}); remove it to write a new one"
    ) from error


def read_notes(path: pathlib.Path) -> dict[str, str]:
  """Reads the text under each heading `## NAME`; none without the file."""
  if not path.exists():
    return {}
  _, *parts = ("\n" + path.read_text()).split("\n## ")
  pairs = (part.partition("\n") for part in parts)
  return {name.strip(): text.strip() for name, _, text in pairs}


def _draw_curves(record: dict, folder: pathlib.Path) -> None:
  """Draws the curves of the questions in `CURVES`."""
  config = ml_collections.ConfigDict(record["config"])
  levels = {
    (variant.question, variant.name): variant.config.scan.noise_level
    for variant in variants(config)
  }
  for question, label in CURVES.items():
    points = []
    for variant in record["ways"]:
      if variant["question"] != question:
        continue
      level = levels[question, variant["name"]]
      for method, errors in variant["errors"].items():
        x = variant["steps"].get(method) if question == "steps" else level
        if method != "truth" and x is not None:
          points.append((method, float(x), errors))
    if points:
      title = f"Errors against the acquired maps, simulated: {question}"
      figure = draw_curves(points, label=label, title=title)
      save(figure, folder / f"{question}.png")
