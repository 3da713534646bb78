"""Maps of a scan from a trained network."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Float32

from mrf_jax.dataset.normalise import MapRange, normalise_signals
from mrf_jax.dataset.patches import make_grid
from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.sequence import Sequence

# Slices are cropped to the brain; sizes are multiples of this, so that scans
# of alike heads share one compiled program.
_CROP_STEP = 16
# Voxels that a fingerprint-wise network sees at once.
_VOXEL_BLOCK = 4096


@dataclasses.dataclass(frozen=True)
class Model:
  """A trained network and all that a reconstruction with it needs.

  Attributes:
    method: name of the method.
    network: the Flax module.
    reach: voxels on each side of a patch's centre.
    variables: parameters and batch statistics.
    map_range: of the maps it was trained on.
    normalise_signals_per: how its inputs were standardised.
    sequence: the train of its scans.
    window: frames of their sliding window.
    stride: frames from one window to the next.
  """

  method: str
  network: nn.Module
  reach: int
  variables: Any
  map_range: MapRange
  normalise_signals_per: str
  sequence: Sequence
  window: int
  stride: int


def reconstruct(model: Model, subject: Subject) -> Maps:
  """Maps of a scan, whole slices (or blocks of voxels) at a time.

  Args:
    model: the trained network.
    subject: a scan of the model's sequence and window, with its signals.

  Returns:
    Maps in physical units, [voxel] each.

  Raises:
    UserError: the scan's sequence or window is not the model's, or its signals
      were not loaded.
  """
  _check_scan(model, subject)
  if subject.signals is None:
    raise UserError(f"{subject.subject}: was loaded without its signals")
  signals = normalise_signals(subject.signals, per=model.normalise_signals_per)
  table = np.concatenate([np.zeros_like(signals[:1]), signals])
  if model.reach:
    rows = _cropped_rows(subject.mask, model.reach)
  else:
    n_blocks = -(-len(signals) // _VOXEL_BLOCK)
    rows = np.zeros((n_blocks, 1, _VOXEL_BLOCK), np.int32)
    rows.reshape(-1)[: len(signals)] = np.arange(1, 1 + len(signals))
  estimates = np.empty((len(signals), 3), np.float32)
  inner = slice(model.reach, -model.reach or None)
  for plane in rows:
    found = _apply(model.network, model.variables, table[plane][None])
    centre = plane[inner, inner]
    there = centre > 0
    estimates[centre[there] - 1] = np.asarray(found)[0][there]
  return Maps.unstack(
    model.map_range.unscale(estimates.astype(np.float64)).astype(np.float32)
  )


@functools.partial(jax.jit, static_argnames="network")
def _apply(
  network: nn.Module, variables: Any, slices: Float32[jax.Array, "slice y x c"]
):
  return network.apply(variables, slices, train=False)


def _cropped_rows(mask, reach: int) -> np.ndarray:
  """Row numbers of each slice around the brain, [slice, y, x]."""
  grid = make_grid([mask], padding=reach + _CROP_STEP)
  width = int(grid.width)
  planes = np.asarray(grid.rows).reshape(len(mask), -1, width)
  crop = []
  for occupied in (planes.any((0, 2)), planes.any((0, 1))):
    low, high = np.flatnonzero(occupied)[[0, -1]]
    size = -(-(high + 1 - low) // _CROP_STEP) * _CROP_STEP
    # The padding is wide enough for the rounding on the high side.
    crop.append(slice(low - reach, low + size + reach))
  return planes[:, crop[0], crop[1]]


def _check_scan(model: Model, subject: Subject) -> None:
  """Refuses a scan that the model was not trained for, naming both values."""
  for name in ("window", "stride"):
    wanted, found = getattr(model, name), getattr(subject, name)
    if wanted != found:
      raise UserError(
        f"{subject.subject}: {name} is {found}, the model wants {wanted}"
      )
  if subject.sequence.n_frames != model.sequence.n_frames:
    raise UserError(
      f"{subject.subject}: {subject.sequence.n_frames} frames, the model "
      f"wants {model.sequence.n_frames}"
    )
  played, wanted = subject.sequence, model.sequence
  # The structure says which preparations are played and how it is spoiled.
  kinds = {jax.tree.structure(train) for train in (played, wanted)}
  pairs = zip(jax.tree.leaves(played), jax.tree.leaves(wanted), strict=False)
  if len(kinds) > 1 or not all(np.allclose(a, b, atol=1e-3) for a, b in pairs):
    raise UserError(
      f"{subject.subject}: its sequence is not the one the model was trained "
      "for (flip angles, timing, phases, preparation or spoiling differ)"
    )
