"""Errors of the maps of a single scan against its reference maps."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool

from mrf_jax.evaluation import calibration
from mrf_jax.evaluation.errors import (
  RELATIVE_PD,
  SubjectErrors,
  map_errors,
  on_scale_of,
)
from mrf_jax.evaluation.markdown import (
  ABSENT,
  DECIMALS,
  column_headings,
  markdown_table,
  paragraphs,
  tissue_heading,
)
from mrf_jax.evaluation.table import ERRORS, write_rows
from mrf_jax.io.atomic import write_text
from mrf_jax.maps import MAP_NAMES, Maps

Masks = Mapping[str, Bool[np.ndarray, "voxel"]]
# Mark of errors of a scan that a network was trained on.
SEEN = " (seen in training)"


@dataclasses.dataclass(frozen=True)
class ScanErrors:
  """Errors of one scan, ready to be written.

  Attributes:
    title: heading of the table.
    table: errors by tissue, in Markdown.
    remarks: sentences that belong to the table.
    rows: the same as columns tissue, map, mae, rmse, voxels, and
      seen_in_training.
    calibration: of the predicted standard deviations, see `calibrate`; None
      if there are none.
    calibration_text: the same in Markdown; empty if there are none.
  """

  title: str
  table: str
  rows: pd.DataFrame
  calibration: pd.DataFrame | None
  calibration_text: str
  remarks: tuple[str, ...] = ()

  @property
  def marked_table(self) -> str:
    """The table and its remarks, in Markdown."""
    return paragraphs(self.table, *self.remarks).rstrip("\n")

  def write(self, folder: pathlib.Path) -> None:
    """Writes `errors.csv` and `.md`, and `calibration.csv` and `.md`."""
    write_rows(self.rows, folder / "errors.csv")
    text = paragraphs(f"# {self.title}", self.table, *self.remarks)
    write_text(text, folder / "errors.md")
    if self.calibration is not None:
      write_rows(self.calibration, folder / "calibration.csv")
      write_text(self.calibration_text, folder / "calibration.md")


def compare_with_reference(
  maps: Maps,
  reference: Maps,
  masks: Masks,
  *,
  method: str,
  deviations: Maps | None,
  about: str,
  relative_pd: bool = False,
  seen: str | None = None,
) -> ScanErrors:
  """Computes errors of one scan's maps, and how well they were predicted.

  Args:
    maps: estimated maps.
    reference: reference maps.
    masks: tissue to its voxels.
    method: name of the method.
    deviations: predicted standard deviations of the maps, or None.
    about: the reference maps in words, for headings.
    relative_pd: whether proton density is brought to the scale of the
      reference, by one gain.
    seen: sentence on the training that had this scan, if one had; every line of
      the table is marked, too.

  Raises:
    UserError: a value is not finite.
  """
  remarks = [seen] if seen else []
  if relative_pd:
    maps, gain = on_scale_of(maps, reference)
    if deviations is not None:
      deviations = dataclasses.replace(deviations, pd=deviations.pd * gain)
    remarks.append(f"{RELATIVE_PD} Here it is {gain:.4g}.")
  errors = map_errors(maps, reference, masks)
  rows = pd.DataFrame(
    [
      (tissue, name, *pair, np.count_nonzero(masks[tissue]), bool(seen))
      for (tissue, name), pair in errors.items()
    ],
    columns=["tissue", "map", *ERRORS, "voxels", "seen_in_training"],
  )
  shares, text = None, ""
  if deviations is not None:
    shares = calibration.calibrate(
      {method: [maps]}, {method: [deviations]}, [reference], [masks]
    )
    bins = calibration.errors_by_deviation(maps, deviations, reference)
    text = paragraphs(
      f"# Predicted standard deviations and errors against {about}",
      calibration.NOTE,
      calibration.format_calibration(shares),
      "## From the surest voxels to the least sure",
      calibration.format_bins(bins),
    )
  return ScanErrors(
    title=f"Errors against {about}",
    table=_format_errors(errors, masks, mark=SEEN if seen else ""),
    rows=rows,
    calibration=shares,
    calibration_text=text,
    remarks=tuple(remarks),
  )


def _format_errors(errors: SubjectErrors, masks: Masks, *, mark: str) -> str:
  """Errors in Markdown, a line for each tissue, whose name has the mark."""
  body = []
  for tissue, mask in masks.items():
    count = np.count_nonzero(mask)
    cells = [tissue_heading(tissue) + mark, f"{count:,}"]
    for name in MAP_NAMES:
      cells += [
        f"{error:.{DECIMALS[name]}f}" if count else ABSENT
        for error in errors[tissue, name]
      ]
    body.append(cells)
  return markdown_table(["tissue", "voxels", *column_headings(MAP_NAMES)], body)
