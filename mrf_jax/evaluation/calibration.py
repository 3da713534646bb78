"""Calibration of predicted standard deviations against actual errors."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from mrf_jax.evaluation.markdown import (
  DECIMALS,
  LABELS,
  mae_rmse,
  markdown_table,
  table_body,
)
from mrf_jax.evaluation.tissues import TISSUES
from mrf_jax.maps import MAP_NAMES, Maps

NOTE = (
  "Root mean squares; share of voxels that err by no more than one, and "
  "two, predicted deviations (0.68 and 0.95 of normal errors)."
)
# Type of each column of a calibration table, see `calibrate`.
COLUMNS = {
  "method": str,
  "tissue": str,
  "map": str,
  "rmse": float,
  "predicted": float,
  "within_one": float,
  "within_two": float,
  "n": int,
}


def calibrate(
  estimates: Mapping[str, Sequence[Maps]],
  deviations: Mapping[str, Sequence[Maps]],
  references: Sequence[Maps],
  masks: Sequence[Mapping[str, Bool[np.ndarray, "voxel"]]],
) -> pd.DataFrame:
  """Compares predicted standard deviations with errors, tissue by tissue.

  Args:
    estimates: method to its maps of each left-out subject.
    deviations: method to the standard deviations that it predicts for them;
      methods without are left out.
    references: reference maps of each subject.
    masks: tissue to its voxels, of each subject.

  Returns:
    A row for each method, tissue and map, with means over the subjects in which
    the tissue has voxels: `rmse`, root mean square error, unit of the map;
    `predicted`, root mean square of the predicted standard deviations;
    `within_one` and `within_two`, share of voxels whose error is at most one
    and two standard deviations, 0.683 and 0.954 if errors are normal and the
    prediction is right; `n`, number of these subjects.
  """
  rows = []
  for method, tissue, name in itertools.product(deviations, TISSUES, MAP_NAMES):
    subjects = [
      _compare(
        getattr(estimate, name) - getattr(reference, name),
        getattr(sd, name),
        tissues[tissue],
      )
      for estimate, sd, reference, tissues in zip(
        estimates[method], deviations[method], references, masks, strict=True
      )
      if tissue in tissues and tissues[tissue].any()
    ]
    if subjects:
      means = np.mean(subjects, 0)
      rows.append((method, tissue, name, *means, len(subjects)))
  return pd.DataFrame(rows, columns=[*COLUMNS])


def errors_by_deviation(
  estimate: Maps, deviations: Maps, reference: Maps, *, n_bins: int = 10
) -> pd.DataFrame:
  """Errors of voxels that are sorted by their predicted standard deviation.

  Numbers of voxels in the bins differ by at most one.

  Returns:
    A row for each map and bin, from the smallest standard deviations to the
    largest: `predicted`, their root mean square, unit of the map; `rmse`, root
    mean square error; `n_voxels`, number of voxels.
  """
  rows = []
  for name in MAP_NAMES:
    predicted = np.asarray(getattr(deviations, name), np.float64)
    error = np.asarray(getattr(estimate, name), np.float64)
    error = error - np.asarray(getattr(reference, name), np.float64)
    order = np.argsort(predicted, kind="stable")
    rows += [
      (name, _rms(predicted[voxels]), _rms(error[voxels]), len(voxels))
      for voxels in np.array_split(order, n_bins)
      if len(voxels)
    ]
  return pd.DataFrame(rows, columns=["map", "predicted", "rmse", "n_voxels"])


def format_bins(bins: pd.DataFrame) -> str:
  """Formats `errors_by_deviation` in Markdown."""
  head = ["voxels"]
  for label in LABELS.values():
    head += [f"{label} predicted", "RMSE"]
  by_map = [bins[bins["map"] == name].itertuples() for name in MAP_NAMES]
  body = []
  for line in zip(*by_map, strict=True):
    cells = [f"{line[0].n_voxels:,}"]
    for row in line:
      digits = DECIMALS[row.map]
      cells += [f"{row.predicted:.{digits}f}", f"{row.rmse:.{digits}f}"]
    body.append(cells)
  return markdown_table(head, body)


def format_calibration(rows: pd.DataFrame) -> str:
  """Formats a table of `calibrate` in Markdown."""
  head = ["tissue", "method"]
  for label in LABELS.values():
    head += [f"{label} RMSE / predicted", "within 1, 2"]
  cells = {}
  for row in rows.itertuples():
    line, sizes = (row.tissue, row.method), (row.rmse, row.predicted)
    cells[*line, (row.map, "size")] = mae_rmse(sizes, row.map)
    cells[*line, (row.map, "share")] = (
      f"{row.within_one:.2f}, {row.within_two:.2f}"
    )
  columns = list(itertools.product(MAP_NAMES, ("size", "share")))
  lines = zip(rows["tissue"], rows["method"], strict=True)
  return markdown_table(head, table_body(lines, columns, cells))


def _compare(
  error: Float[np.ndarray, "voxel"],
  predicted: Float[np.ndarray, "voxel"],
  mask: Bool[np.ndarray, "voxel"],
) -> tuple[float, ...]:
  """The four numbers of one subject, tissue and map, see `calibrate`."""
  error, predicted = (
    np.asarray(values, np.float64)[mask] for values in (error, predicted)
  )
  within = [np.mean(np.abs(error) <= k * predicted) for k in (1, 2)]
  return _rms(error), _rms(predicted), *within


def _rms(values: Float[np.ndarray, "voxel"]) -> float:
  """Root mean square."""
  return np.sqrt(np.mean(values**2))
