"""The report stage: pages and tables of finished results."""

import pathlib
from typing import Any

from mrf_jax.errors import UserError
from mrf_jax.io.atomic import replacing, writing_to
from mrf_jax.report.write import write_report
from mrf_jax.runtime import processes
from mrf_jax.timing.tables import compare_benchmarks


def report_files(options: dict[str, Any]) -> None:
  """Runs the report stage.

  Args:
    options: values of the flags by name; `compare`, `workdir` and `output` are
      used.

  Raises:
    UserError: see `report`.
  """
  report(options["compare"], options["workdir"], options["output"])


def report(compare: list[str], root, output=None) -> None:
  """Tables from results that stand: a study's, or machines beside each other.

  Args:
    compare: `benchmark.json` files of `--mode=benchmark`; none is a study.
    root: workdir of the study, or where `comparison.md` goes; None prints the
      latter only.
    output: folder of the study's report; None is the workdir itself.
  """
  if not compare:
    if root is None:
      raise UserError(
        "--workdir is missing: a study's, or --compare: benchmark.json files"
      )
    folder = pathlib.Path(output or root)
    write_report(root, folder)
    processes.say(
      f"Report: {folder / 'report.html'}, results.md, results.json, results/"
    )
    return
  text = compare_benchmarks(compare)
  print(text)
  if root:
    with (
      writing_to(root) as folder,
      replacing(folder / "comparison.md") as path,
    ):
      path.write_text(text)
