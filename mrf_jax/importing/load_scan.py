"""Import of a scan from Python: what `--mode=import` does, as a function."""

import dataclasses
import os
import warnings
from typing import Any

from mrf_jax.checks import check_one_of
from mrf_jax.dataset.subject import Subject
from mrf_jax.fit.check import check_scan
from mrf_jax.fit.scan import EXPLAINS
from mrf_jax.importing.from_flags import (
  ImportOptions,
  read_acquisition,
  read_scan,
)

_PATHS = (str, os.PathLike)


def load_scan(
  scan: str | os.PathLike,
  *,
  schedule: str | os.PathLike,
  window: int = 1,
  stride: int = 1,
  misfit: str = "refuse",
  **options: Any,
) -> Subject:
  """Reads a scan from images or raw k-space, with its schedule, as a subject.

  Args:
    scan: a complex series of images (NIfTI, MATLAB, NumPy), or raw k-space
      (ISMRMRD).
    schedule: text, MATLAB or Pulseq file of flip angles and times.
    window: frames that one image averages; raw data are made into such images.
    stride: frames from one image to the next.
    misfit: what is done with a scan that does not fit its schedule: `refuse`,
      `accept` with a warning, or `ignore`, which does not compare them.
    **options: flags of `--mode=import`, by their names: `field_strength_t`,
      which images need, `mask`, `pd`, `t1`, `t2`, `voxel_mm` and more;
      `python launch.py --mode=import --help` explains them.

  Returns:
    The subject, for `save_subject`, `match` and `reconstruct`. What was assumed
    is in its `provenance`; doubts about it are warnings.

  Raises:
    UserError: a file is missing, damaged or implausible, or does not fit the
      others; the message names the flag that helps.
  """
  known = {field.name for field in dataclasses.fields(ImportOptions)}
  for name in options:
    check_one_of("load_scan: the option", name, sorted(known))
  given: dict[str, Any] = {
    name: os.fspath(value) if isinstance(value, _PATHS) else value
    for name, value in options.items()
  }
  if not isinstance(given.get("voxel_mm", ""), str):
    given["voxel_mm"] = ",".join(map(str, given["voxel_mm"]))
  described = ImportOptions(
    scan=os.fspath(scan),
    schedule=os.fspath(schedule),
    window=window,
    stride=stride,
    **given,
  )
  acquisition, assumptions = read_acquisition(described)
  subject = read_scan(described, acquisition, assumptions=assumptions).subject
  sentences = check_scan(subject, path=scan, misfit=misfit)
  for sentence in sentences:
    if not sentence.startswith(EXPLAINS):
      warnings.warn(sentence, stacklevel=2)
  return dataclasses.replace(
    subject, provenance="; ".join([subject.provenance, *sentences])
  )
