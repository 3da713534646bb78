"""How far the maps of one scan are from its reference maps."""

import csv
import pathlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

from mrf_jax.evaluation.calibration import (
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
from mrf_jax.files import replacing
from mrf_jax.maps import MAP_NAMES, Maps

Masks = Mapping[str, Bool[np.ndarray, "voxel"]]


def write_errors(
  folder: pathlib.Path, maps: Maps, reference: Maps, masks: Masks, *, title: str
) -> str:
  """Writes `errors.csv` and `errors.md`.

  Args:
    folder: where they go.
    maps: the estimate, [voxel].
    reference: the reference maps, [voxel].
    masks: tissue to its voxels.
    title: heading.

  Returns:
    The table in Markdown.
  """
  errors = map_errors(maps, reference, masks)
  with replacing(folder / "errors.csv") as path:
    with open(path, "w", encoding="utf-8", newline="") as file:
      writer = csv.writer(file, lineterminator="\n")
      writer.writerow(("tissue", "map", "mae", "rmse", "voxels"))
      for (tissue, name), pair in errors.items():
        writer.writerow((tissue, name, *pair, np.count_nonzero(masks[tissue])))
  body = []
  for tissue, mask in masks.items():
    cells = [tissue_heading(tissue), f"{np.count_nonzero(mask):,}"]
    for name in MAP_NAMES:
      cells += [
        f"{error:.{DECIMALS[name]}f}" if mask.any() else ABSENT
        for error in errors[tissue, name]
      ]
    body.append(cells)
  table = markdown_table(
    ["tissue", "voxels", *column_headings(MAP_NAMES)], body
  )
  write_text(f"# {title}\n\n{table}\n", folder / "errors.md")
  return table


def write_reliability(
  folder: pathlib.Path,
  method: str,
  maps: Maps,
  deviations: Maps,
  reference: Maps,
  masks: Masks,
  *,
  title: str,
) -> None:
  """Writes `calibration.csv` and `calibration.md`.

  Args:
    folder: where they go.
    method: its name.
    maps: the estimate, [voxel].
    deviations: its predicted standard deviations, [voxel].
    reference: the reference maps, [voxel].
    masks: tissue to its voxels.
    title: heading.
  """
  shares = calibrate(method, [maps], [deviations], [reference], [masks])
  write_calibration(shares, folder / "calibration.csv")
  parts = (
    f"# {title}",
    "Root mean squares; share of voxels that err by no more than one, and two, "
    "predicted deviations (0.68 and 0.95 of normal errors).",
    format_calibration(shares),
    "## From the surest voxels to the least sure",
    format_bins(errors_by_deviation(maps, deviations, reference)),
  )
  write_text("\n\n".join(parts) + "\n", folder / "calibration.md")
