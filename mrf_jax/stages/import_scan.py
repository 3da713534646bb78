"""The import stage: writes a scan of another format as a subject file."""

import pathlib
from collections.abc import Mapping
from typing import Any

from mrf_jax.command_line.inputs import check_inputs
from mrf_jax.dataset.subject import is_subject_file, save_subject
from mrf_jax.dataset.summary import describe
from mrf_jax.errors import UserError
from mrf_jax.fit.check import check_scan
from mrf_jax.importing.from_flags import (
  ImportOptions,
  read_acquisition,
  read_scan,
)


def import_files(options: Mapping[str, Any]) -> pathlib.Path:
  """Writes a subject file, prints what was assumed, and returns its path.

  Raises:
    UserError: a flag or file is missing, damaged, implausible, or does not fit
      the others; nothing is written.
  """
  check_inputs("import", options)
  given = ImportOptions.from_flags(options)
  output = pathlib.Path(options["output"])
  if output.exists() and not is_subject_file(output):
    raise UserError(f"--output: {output} exists and is not a subject file")
  acquisition, assumptions = read_acquisition(given)
  imported = read_scan(given, acquisition, assumptions=assumptions)
  sentences = check_scan(
    imported.subject, path=given.scan, misfit=options["misfit"] or "refuse"
  )
  save_subject(imported.subject, output)
  for sentence in (*imported.assumptions, *sentences):
    print(f"- {sentence}")
  print(describe(imported.subject))
  print(f"Subject      {output}")
  return output
