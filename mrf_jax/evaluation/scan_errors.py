"""How far the maps of one scan are from its reference maps."""

import csv
import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

from mrf_jax.evaluation.calibration import (
  Calibration,
  calibrate,
  errors_by_deviation,
  format_bins,
  format_calibration,
  write_calibration,
)
from mrf_jax.evaluation.errors import map_errors
from mrf_jax.evaluation.table import (
  ABSENT,
  DECIMALS,
  column_headings,
  markdown_table,
  tissue_heading,
  write_text,
)
from mrf_jax.io.atomic import replacing
from mrf_jax.maps import MAP_NAMES, Maps

Masks = Mapping[str, Bool[np.ndarray, "voxel"]]


@dataclasses.dataclass(frozen=True)
class Judged:
  """Errors of one scan, ready to be written.

  Attributes:
    table: errors by tissue, in Markdown.
    title: heading of the table.
    rows: (tissue, map, MAE, RMSE, voxels).
    shares: of `calibrate`; none without deviations.
    reliability: text on them; empty without.
  """

  table: str
  title: str
  rows: list[tuple[str, str, float, float, int]]
  shares: list[Calibration]
  reliability: str

  def write(self, folder: pathlib.Path) -> None:
    """Writes `errors.csv` and `.md`, and `calibration.csv` and `.md`.

    Args:
      folder: where they go.
    """
    with replacing(folder / "errors.csv") as path:
      with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("tissue", "map", "mae", "rmse", "voxels"))
        writer.writerows(self.rows)
    write_text(f"# {self.title}\n\n{self.table}\n", folder / "errors.md")
    if self.shares:
      write_calibration(self.shares, folder / "calibration.csv")
      write_text(self.reliability, folder / "calibration.md")


def judge(
  maps: Maps,
  reference: Maps,
  masks: Masks,
  *,
  method: str,
  deviations: Maps | None,
  about: str,
) -> Judged:
  """Errors of one scan's maps, and whether its deviations are as large.

  Args:
    maps: the estimate, [voxel].
    reference: the reference maps, [voxel].
    masks: tissue to its voxels.
    method: its name.
    deviations: its predicted standard deviations, [voxel], or None.
    about: what the maps are held against, in words.

  Raises:
    UserError: a value is not finite.
  """
  errors = map_errors(maps, reference, masks)
  counts = {
    tissue: int(np.count_nonzero(mask)) for tissue, mask in masks.items()
  }
  body = []
  for tissue, count in counts.items():
    cells = [tissue_heading(tissue), f"{count:,}"]
    for name in MAP_NAMES:
      cells += [
        f"{error:.{DECIMALS[name]}f}" if count else ABSENT
        for error in errors[tissue, name]
      ]
    body.append(cells)
  shares, reliability = [], ""
  if deviations is not None:
    shares = calibrate(method, [maps], [deviations], [reference], [masks])
    parts = (
      f"# Predicted deviations beside errors against {about}",
      "Root mean squares; share of voxels that err by no more than one, and "
      "two, predicted deviations (0.68 and 0.95 of normal errors).",
      format_calibration(shares),
      "## From the surest voxels to the least sure",
      format_bins(errors_by_deviation(maps, deviations, reference)),
    )
    reliability = "\n\n".join(parts) + "\n"
  return Judged(
    table=markdown_table(
      ["tissue", "voxels", *column_headings(MAP_NAMES)], body
    ),
    title=f"Errors against {about}",
    rows=[
      (tissue, name, *pair, counts[tissue])
      for (tissue, name), pair in errors.items()
    ],
    shares=shares,
    reliability=reliability,
  )
