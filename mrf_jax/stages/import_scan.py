"""The import stage: files of a scan in, a subject file out."""

import pathlib
from typing import Any

from mrf_jax.dataset.subject import is_subject_file, save_subject
from mrf_jax.dataset.summary import describe
from mrf_jax.errors import UserError
from mrf_jax.importing.from_flags import (
  ImportOptions,
  read_acquisition,
  read_scan,
)


def import_files(options: dict[str, Any]) -> pathlib.Path:
  """Imports a scan and says what was assumed.

  Args:
    options: values of the flags of `--mode=import` by name, None where not
      given; see `flags.py`.

  Returns:
    The subject file.

  Raises:
    UserError: something is missing, damaged, does not fit or cannot be right;
      nothing is written then.
  """
  for name in ("scan", "output"):
    if not options[name]:
      raise UserError(f"--{name} is missing")
  given = ImportOptions.from_flags(options)
  output = pathlib.Path(options["output"])
  _check_output(output, given)
  acquisition, assumptions = read_acquisition(given)
  imported = read_scan(given, acquisition, assumptions=assumptions)
  save_subject(imported.subject, output)
  for sentence in imported.assumptions:
    print(f"- {sentence}")
  print(describe(imported.subject))
  print(f"Subject      {output}")
  return output


def _check_output(output: pathlib.Path, given: ImportOptions) -> None:
  """Raises `UserError` unless a subject file can and may be written there."""
  if output.suffix != ".h5":
    raise UserError(f"--output: {output} is no name of a subject file (….h5)")
  if not output.parent.is_dir():
    raise UserError(f"--output: there is no folder {output.parent}")
  given.check_output(output)
  if output.exists() and not is_subject_file(output):
    raise UserError(
      f"--output: {output} is there already, and is no subject file"
    )
