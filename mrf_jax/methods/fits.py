"""Fit of every method's maps of the left-out scans to their signals."""

from typing import TYPE_CHECKING

import numpy as np

from mrf_jax.fit.maps import QuickMatch, fit_maps, quick_match
from mrf_jax.io import nifti
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.matching import DICTIONARIES, FIT
from mrf_jax.methods.dictionary_fit import b1_choice
from mrf_jax.methods.network_options import make_network
from mrf_jax.methods.study import Study
from mrf_jax.networks import NETWORKS
from mrf_jax.networks.channels import sees_b1
from mrf_jax.runtime.progress import progress

if TYPE_CHECKING:
  import pandas as pd

# Maps beside those of a method: the unexplained part of each fingerprint, and 1
# for an estimate that is doubtful.
_NAMES = ("fit", "doubtful")


def write_fits(study: Study) -> None:
  """Writes the maps of the fit that are missing; each scan is read once."""
  missing = {
    k: [m for m in study.config.methods if not _exist(study, m, k)]
    for k in study.folds
  }
  missing = {k: methods for k, methods in missing.items() if methods}
  for k in progress(missing, total=len(missing), text="goodness of fit"):
    subject = study.subjects[k]
    signals = study.signals(k)
    matches: dict[str | None, QuickMatch] = {
      None: quick_match(subject.acquisition, signals)
    }
    voxel_mm = np.linalg.norm(subject.affine[:3, :3], axis=0)
    for method in missing[k]:
      own = (
        nifti.load_map(study.workdir.map_file(method, k, name), subject.mask)
        for name in MAP_NAMES
      )
      by = _b1_by(study, method, k)
      if by not in matches:
        matches[by] = quick_match(subject.acquisition, signals, b1=subject.b1)
      fit = fit_maps(
        matches[by],
        Maps(*own),
        subject.mask,
        voxel_mm,
        voxelwise=method in DICTIONARIES,
      )
      for name, values in zip(
        _NAMES, (fit.residual, fit.is_doubtful), strict=True
      ):
        path = study.workdir.map_file(method, k, name)
        values = values.astype(np.float32)
        nifti.save_map(path, values, subject.mask, subject.affine)


def forget_fits(study: Study, method: str) -> None:
  """Removes the fit of maps that are made anew."""
  for k in study.folds:
    for name in _NAMES:
      study.workdir.map_file(method, k, name).unlink(missing_ok=True)


def fit_table(study: Study) -> "pd.DataFrame":
  """Fit by method and left-out subject, from the maps that `write_fits` wrote.

  Returns:
    Columns method, subject, residual (median of the unexplained part), and
    doubtful (share of voxels).
  """
  import pandas as pd

  rows = []
  for method in study.config.methods:
    for k in study.folds:
      residual, doubtful = (
        nifti.load_map(
          study.workdir.map_file(method, k, name), study.subjects[k].mask
        )
        for name in _NAMES
      )
      rows.append(
        (
          method,
          k,
          round(float(np.median(residual)), 4),
          round(float(doubtful.mean()), 4),
        )
      )
  return pd.DataFrame(
    rows, columns=["method", "subject", "residual", "doubtful"]
  )


def _b1_by(study: Study, method: str, k: int) -> str | None:
  """`map` if a method's maps hold for the B1 map of the scan, else None."""
  config = study.config
  if method in NETWORKS:
    return "map" if sees_b1(make_network(config, method)) else None
  if method != FIT or b1_choice(config, study.subjects[k]) != "map":
    return None
  return "map"


def _exist(study: Study, method: str, k: int) -> bool:
  return all(study.workdir.map_file(method, k, n).exists() for n in _NAMES)
