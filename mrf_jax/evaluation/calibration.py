"""Whether predicted deviations are as large as the errors are."""

import csv
import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from mrf_jax.evaluation.table import (
  ABSENT,
  DECIMALS,
  markdown_table,
  tissue_heading,
)
from mrf_jax.evaluation.tissues import TISSUES
from mrf_jax.io.atomic import replacing
from mrf_jax.maps import MAP_NAMES, Maps

_NAMES = {"pd": "PD (a.u.)", "t1_ms": "T1 (ms)", "t2_ms": "T2 (ms)"}


@dataclasses.dataclass(frozen=True)
class Calibration:
  """One method, tissue and map; means over the left-out subjects.

  Attributes:
    method: name of the method.
    tissue: one of `TISSUES`.
    map: one of `MAP_NAMES`.
    rmse: root mean square error, unit of the map.
    predicted: root mean square of the predicted deviations, likewise.
    within_one: share of voxels that err by no more than their deviation; 0.683
      where errors are normal and deviations right.
    within_two: by no more than two of them; 0.954.
    n: number of subjects in which the tissue has voxels.
  """

  method: str
  tissue: str
  map: str
  rmse: float
  predicted: float
  within_one: float
  within_two: float
  n: int


def calibrate(
  method: str,
  estimates: Sequence[Maps],
  deviations: Sequence[Maps],
  references: Sequence[Maps],
  masks: Sequence[Mapping[str, Bool[np.ndarray, "voxel"]]],
) -> list[Calibration]:
  """Predicted deviations beside the errors, tissue by tissue.

  Args:
    method: name of the method.
    estimates: maps of each left-out subject.
    deviations: their predicted standard deviations.
    references: what they are held against.
    masks: tissue to its voxels, of each subject.
  """
  rows = []
  for tissue in TISSUES:
    for name in MAP_NAMES:
      found = []
      for maps, predicted, reference, tissues in zip(
        estimates, deviations, references, masks, strict=True
      ):
        mask = tissues.get(tissue)
        if mask is None or not mask.any():
          continue
        error, deviation = (
          np.asarray(values, np.float64)[mask]
          for values in (
            getattr(maps, name) - getattr(reference, name),
            getattr(predicted, name),
          )
        )
        size = np.abs(error)
        found.append(
          (
            np.sqrt(np.mean(size**2)),
            np.sqrt(np.mean(deviation**2)),
            np.mean(size <= deviation),
            np.mean(size <= 2 * deviation),
          )
        )
      if found:
        rmse, wanted, one, two = map(float, np.mean(found, 0))
        rows.append(
          Calibration(method, tissue, name, rmse, wanted, one, two, len(found))
        )
  return rows


@dataclasses.dataclass(frozen=True)
class Bin:
  """Voxels of like predicted deviation, and how far off they are.

  Attributes:
    map: one of `MAP_NAMES`.
    predicted: root mean square of their deviations, unit of the map.
    rmse: root mean square error, likewise.
    n_voxels: their number.
  """

  map: str
  predicted: float
  rmse: float
  n_voxels: int


def errors_by_deviation(
  estimate: Maps, deviations: Maps, reference: Maps, *, n_bins: int = 10
) -> list[Bin]:
  """The error of voxels that are ordered by their predicted deviation.

  Args:
    estimate: maps, [voxel].
    deviations: their predicted standard deviations.
    reference: what they are held against.
    n_bins: bins of as many voxels each, give or take one.

  Returns:
    Of each map, the bins from the surest to the least sure.
  """
  bins = []
  for name in MAP_NAMES:
    predicted = np.asarray(getattr(deviations, name), np.float64)
    error = np.asarray(getattr(estimate, name), np.float64)
    error = error - np.asarray(getattr(reference, name), np.float64)
    for part in np.array_split(np.argsort(predicted, kind="stable"), n_bins):
      if part.size:
        typical, rmse = (
          float(np.sqrt(np.mean(values[part] ** 2)))
          for values in (predicted, error)
        )
        bins.append(Bin(name, typical, rmse, len(part)))
  return bins


def format_bins(bins: Sequence[Bin]) -> str:
  """The bins in Markdown, a row each, predicted deviation and error.

  Args:
    bins: of `errors_by_deviation`.
  """
  by_map = [[b for b in bins if b.map == name] for name in MAP_NAMES]
  head = ["voxels"]
  for name in _NAMES.values():
    head += [f"{name} predicted", "RMSE"]
  body = []
  for row in zip(*by_map, strict=True):
    cells = [f"{row[0].n_voxels:,}"]
    for found in row:
      digits = DECIMALS[found.map]
      cells += [f"{found.predicted:.{digits}f}", f"{found.rmse:.{digits}f}"]
    body.append(cells)
  return markdown_table(head, body)


def write_calibration(
  rows: Sequence[Calibration], path: str | os.PathLike
) -> None:
  """Writes the rows with all digits.

  Args:
    rows: the table.
    path: the CSV file, replaced as a whole.
  """
  with replacing(path) as temporary:
    with open(temporary, "w", encoding="utf-8", newline="") as file:
      writer = csv.writer(file, lineterminator="\n")
      writer.writerow(f.name for f in dataclasses.fields(Calibration))
      writer.writerows(dataclasses.astuple(row) for row in rows)


def format_calibration(rows: Sequence[Calibration]) -> str:
  """The rows in Markdown: error, predicted deviation, shares within it.

  Args:
    rows: of `calibrate`.
  """
  head = ["tissue", "method"]
  for name in _NAMES.values():
    head += [f"{name} RMSE / predicted", "within 1, 2"]
  found = {(r.method, r.tissue, r.map): r for r in rows}
  body = []
  for tissue in TISSUES:
    for method in dict.fromkeys(r.method for r in rows):
      cells = [tissue_heading(tissue), method]
      for name in MAP_NAMES:
        row = found.get((method, tissue, name))
        if row is None:
          cells += [ABSENT, ABSENT]
          continue
        digits = DECIMALS[name]
        cells += [
          f"{row.rmse:.{digits}f} / {row.predicted:.{digits}f}",
          f"{row.within_one:.2f}, {row.within_two:.2f}",
        ]
      if set(cells[2:]) != {ABSENT}:
        body.append(cells)
  return markdown_table(head, body)
