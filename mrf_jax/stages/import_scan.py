"""The import stage: files of a scan in, a subject file out."""

import pathlib
from typing import Any

from mrf_jax.dataset.subject import is_subject_file, save_subject
from mrf_jax.errors import UserError
from mrf_jax.importing.from_flags import (
  describe,
  read_scan,
  read_schedule,
  spare_inputs,
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
  output = pathlib.Path(options["output"])
  if output.suffix != ".h5":
    raise UserError(f"--output: {output} is no name of a subject file (….h5)")
  if not output.parent.is_dir():
    raise UserError(f"--output: there is no folder {output.parent}")
  _spare(output, options)
  sequence, window, stride, said = read_schedule(options)
  done = read_scan(options, sequence, window=window, stride=stride, said=said)
  save_subject(done.subject, output)
  for sentence in done.said:
    print(f"- {sentence}")
  print(describe(done.subject))
  print(f"Subject      {output}")
  return output


def _spare(output: pathlib.Path, options: dict[str, Any]) -> None:
  """Refuses to write over what is read, or over what is no subject file."""
  spare_inputs(output, options)
  if output.exists() and not is_subject_file(output):
    raise UserError(
      f"--output: {output} is there already, and is no subject file"
    )
