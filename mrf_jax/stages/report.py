"""The report stage: pages on the results of a study, or a timing comparison."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mrf_jax.command_line.inputs import check_inputs
from mrf_jax.io.atomic import write_text, writing_to
from mrf_jax.runtime import processes
from mrf_jax.timing.tables import compare_benchmarks


def report_files(options: Mapping[str, Any]) -> None:
  """Reports on a study, or compares the timing of several machines.

  Raises:
    UserError: the results are missing, damaged, or do not belong together.
  """
  check_inputs("report", options)
  workdir = options["workdir"]
  if options["compare"]:
    _compare(options["compare"], workdir)
    return
  from mrf_jax.report.write import write_report

  folder = pathlib.Path(options["output"] or workdir)
  write_report(workdir, folder)
  processes.say(
    f"Report: {folder / 'report.html'}, results.md, results.json, results/"
  )


def _compare(paths: Sequence[str], workdir: str | None) -> None:
  """Prints times of several machines, and writes them to the workdir."""
  text = compare_benchmarks(paths)
  print(text)
  if workdir:
    with writing_to(workdir) as folder:
      write_text(text, folder / "comparison.md")
