"""Trajectories that stand in another file than the samples."""

import os
import pathlib

import numpy as np
from jaxtyping import Float, Float32, Int

from mrf_jax.errors import UserError
from mrf_jax.importing.formats import open_stored
from mrf_jax.importing.trajectory import in_plane
from mrf_jax.sequence.pulseq import is_pulseq
from mrf_jax.sequence.pulseq_trajectory import pulseq_trajectory

_TEXT = (".txt", ".csv", ".tsv")

Arms = Float32[np.ndarray, "arm sample 2"]


def read_arms(
  path: str | os.PathLike,
  *,
  n_samples: int,
  discarded: tuple[int, int] | None = (0, 0),
  variable: str | None = None,
) -> tuple[Arms, str | None]:
  """Positions of the arms of a trajectory, in the unit of the file.

  Args:
    path: Pulseq (`.seq`); NumPy or MATLAB, of real [arm, sample, 2] or
      [sample, 2] in any order of the axes, or of complex kx + i ky; or text of
      two columns, arm after arm.
    n_samples: samples of each acquisition that are kept.
    discarded: samples before and behind them, which a Pulseq file has, too, and
      others may have; None if acquisitions differ.
    variable: of a MATLAB or `.npz` file.

  Returns:
    The positions, and their unit if the file says it.

  Raises:
    UserError: the file cannot be read, or its arms have another number of
      samples.
  """
  path = pathlib.Path(path)
  if discarded is None:
    raise UserError(
      f"{path}: acquisitions have other samples to discard than others; a "
      "trajectory of its own is needed for each, in the file of the scan"
    )
  whole = n_samples + sum(discarded)
  kept = slice(discarded[0], discarded[0] + n_samples)
  if is_pulseq(path):
    positions = pulseq_trajectory(path, n_samples=whole)[:, kept]
    return in_plane(positions, path), "per_m"
  if path.suffix.lower() in _TEXT:
    values = _read_text(path)
  else:
    stored = open_stored(
      path, variable=variable, least_axes=2, flag="--trajectory_variable"
    )
    values = stored.whole()
  if not np.isfinite(values).all():
    raise UserError(f"{path}: has positions that are not finite")
  arms = _arms_of(values, n_samples, whole, path)
  return arms if arms.shape[1] == n_samples else arms[:, kept], None


def _read_text(path: pathlib.Path) -> Float[np.ndarray, "sample column"]:
  """Numbers of a text file of two or three columns."""
  try:
    text = path.read_text().replace(",", " ").replace(";", " ")
    rows = [line.split("#")[0].split() for line in text.splitlines()]
    return np.array([[float(x) for x in row] for row in rows if row])
  except OSError as error:
    raise UserError(f"{path}: cannot be read ({error.strerror})") from error
  except ValueError as error:
    raise UserError(f"{path}: no text of two columns of numbers") from error


def _arms_of(
  values: np.ndarray, n_samples: int, n_whole: int, path: pathlib.Path
) -> Arms:
  """Positions [arm, sample, 2] of an array whose axes have any order.

  Of acquisitions of so many samples, without or with those to discard.
  """
  shape = values.shape
  if np.iscomplexobj(values):
    values = np.stack([values.real, values.imag], -1)
  else:
    axes = sorted({k for k in (0, values.ndim - 1) if shape[k] in (2, 3)})
    if len(axes) == 2 and shape[0] == shape[-1] == 2 and values.ndim > 2:
      raise UserError(
        f"{path}: a trajectory of shape {shape}: is its first or its last axis "
        "kx and ky? Store it as complex kx + i ky"
      )
    if not axes:
      raise UserError(
        f"{path}: a trajectory of shape {shape}, none of whose outer axes is "
        "kx and ky"
      )
    # Two coordinates rather than three arms.
    axes.sort(key=lambda k: (shape[k], -k))
    values = np.moveaxis(values, axes[0], -1)
  outer = values.shape[:-1]
  for count in dict.fromkeys((n_samples, n_whole)):
    places = [k for k, n in enumerate(outer) if n == count]
    if len(outer) <= 2 and places:
      arms = np.moveaxis(values, places[-1], -2)
      return in_plane(arms.reshape(-1, count, values.shape[-1]), path)
    if len(outer) == 1 and outer[0] % count == 0:
      return in_plane(values.reshape(-1, count, values.shape[-1]), path)
  wanted = f"{n_samples:,} samples"
  if n_whole > n_samples:
    wanted += f", {n_whole:,} with those to discard"
  raise UserError(
    f"{path}: a trajectory of shape {shape}, but acquisitions have {wanted}"
    + ("; arms along one axis are needed" if len(outer) > 2 else "")
  )


def assign_arms(
  arms: Arms,
  slices: Int[np.ndarray, "acquisition"],
  step_1: Int[np.ndarray, "acquisition"] | None,
  *,
  path: str | os.PathLike,
) -> tuple[Int[np.ndarray, "acquisition"], str]:
  """Number of the arm of each acquisition, and a sentence.

  One arm is that of all. As many as there are acquisitions, or as a slice has,
  are in their order in the file; others are counted by
  `kspace_encode_step_1`.

  Args:
    arms: their positions.
    slices: slice of each acquisition.
    step_1: that counter of each acquisition, if there is one.
    path: of the trajectory, for messages.

  Raises:
    UserError: none of these numbers is that of the arms.
  """
  n_arms, n_acquisitions = len(arms), len(slices)
  text = f"the trajectory is that of {path}, of {n_arms:,} arms"
  if n_arms == 1:
    return np.zeros(n_acquisitions, int), f"{text}: all have the same"
  in_order = f"{text}, in the order of the acquisitions in the file"
  if n_arms == n_acquisitions:
    return np.arange(n_acquisitions), in_order
  counts = np.bincount(slices)
  if np.all(counts == n_arms):
    order = np.argsort(slices, kind="stable")
    numbers = np.empty(n_acquisitions, int)
    numbers[order] = np.tile(np.arange(n_arms), len(counts))
    return numbers, f"{in_order}, slice by slice"
  if step_1 is not None:
    known, numbers = np.unique(step_1, return_inverse=True)
    if len(known) == n_arms:
      return numbers.ravel(), f"{text}, counted by kspace_encode_step_1"
    found = f"kspace_encode_step_1 has {len(known):,} values"
  else:
    found = "no kspace_encode_step_1"
  raise UserError(
    f"{path}: {n_arms:,} arms, but the scan has {n_acquisitions:,} "
    f"acquisitions, {counts.max():,} of a slice, and {found}"
  )


def delayed(
  trajectory: Float32[np.ndarray, "acquisition sample 2"], samples: float
) -> Float32[np.ndarray, "acquisition sample 2"]:
  """The trajectory of gradients that are late by some samples, or early.

  Position i is that of sample i - `samples`, linearly between samples; before
  the first and behind the last it stays.
  """
  n_samples = trajectory.shape[1]
  places = np.clip(np.arange(n_samples) - samples, 0, n_samples - 1)
  first = np.minimum(places.astype(int), max(n_samples - 2, 0))
  share = (places - first).astype(np.float32)[:, None]
  after = np.minimum(first + 1, n_samples - 1)
  return (1 - share) * trajectory[:, first] + share * trajectory[:, after]
