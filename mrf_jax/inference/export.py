"""The export stage: a bundle as one StableHLO file that runs without us."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex64, Float32

from mrf_jax.inference.model import Model
from mrf_jax.maps import MAP_NAMES
from mrf_jax.networks.outputs import split_deviations

PLATFORMS = ("cpu", "cuda", "tpu")
# Estimates of a tile along y and x, and voxels that are estimated at once.
_TILE = 16
_BLOCK = 4096


def export_model(model: Model) -> bytes:
  """A model with its normalisation, of any number of slices and any matrix.

  The function takes `signals`, complex64 [slice, y, x, window], and `mask`,
  bool [slice, y, x], and gives `pd`, `t1_ms` and `t2_ms`, float32
  [slice, y, x], zero outside the mask, and where the network predicts standard
  deviations those, `pd_sd`, `t1_ms_sd` and `t2_ms_sd`.

  Args:
    model: the trained network.

  Returns:
    What `jax.export.deserialize` takes.
  """
  slices, height, width = jax.export.symbolic_shape("slice, y, x")
  n_windows = model.acquisition.n_windows

  def maps(signals, mask):
    # Accelerators would multiply float32 with fewer bits.
    with jax.default_matmul_precision("highest"):
      return maps_of_volume(model, signals, mask)

  exported = jax.export.export(jax.jit(maps), platforms=PLATFORMS)(
    jax.ShapeDtypeStruct((slices, height, width, n_windows), jnp.complex64),
    jax.ShapeDtypeStruct((slices, height, width), jnp.bool_),
  )
  return bytes(exported.serialize())


def maps_of_volume(
  model: Model,
  signals: Complex64[Array, "slice y x window"],
  mask: Bool[Array, "slice y x"],
) -> dict[str, Float32[Array, "slice y x"]]:
  """What `export_model` exports, in JAX's own operations.

  Args:
    model: the trained network.
    signals: sliding-window images.
    mask: the voxels that count, at least one.
  """
  outputs = _estimates(model, signals, mask)
  deviations = None
  if outputs.shape[-1] > len(MAP_NAMES):
    outputs, log_deviations = split_deviations(outputs)
    deviations = jnp.exp(log_deviations)
  low, high = model.map_range.low, model.map_range.high
  ranges = dataclasses.replace(
    model.map_range, low=low[None, None, None], high=high[None, None, None]
  )
  found = {"": ranges.unscale(outputs)}
  if deviations is not None:
    found["_sd"] = ranges.unscale_deviations(deviations, outputs)
  return {
    f"{name}{suffix}": jnp.where(mask, values[..., i], 0).astype(jnp.float32)
    for suffix, values in found.items()
    for i, name in enumerate(MAP_NAMES)
  }


def _estimates(model: Model, signals, mask):
  """Outputs of the network, [slice, y, x, output], slice by slice.

  Normalised signals of one slice at a time are in memory.
  """
  shift, factor = _standard(model, signals, mask)

  def inputs(place):
    image, inside = place
    values = (_parts(model, image) - shift) * factor
    if model.normalise_signals_per == "voxel":
      values = _standardised_by_voxel(values)
    return jnp.where(inside[..., None], values, 0)

  if not model.reach and model.network.slices == 1:
    return jax.lax.map(
      lambda place: _by_voxel(model, inputs(place)), (signals, mask)
    )
  features = jax.lax.map(
    lambda place: _applied(model, inputs(place)[None], "temporal")[0],
    (signals, mask),
  )
  # Features of what lies outside are those of a fingerprint of zeros.
  n_channels = 2 * (signals if model.basis is None else model.basis).shape[-1]
  void = jnp.zeros((1, 1, 1, n_channels), jnp.float32)
  return _by_tile(model, features, _applied(model, void, "temporal")[0, 0, 0])


def _parts(model: Model, image):
  """Real and imaginary parts of what the network sees, side by side."""
  if model.basis is not None:
    image = image @ jnp.asarray(model.basis)
  return jnp.concatenate([image.real, image.imag], -1)


def _standard(model: Model, signals, mask):
  """What to take off the parts, and to multiply them by, in all voxels."""
  per = model.normalise_signals_per
  if per == "voxel":
    return jnp.zeros((1, 1, 1)), jnp.ones((1, 1, 1))

  def mean(function):
    def of_slice(place):
      image, inside = place
      values = function(_parts(model, image))
      return jnp.sum(jnp.where(inside[..., None], values, 0), (0, 1))

    sums = jnp.sum(jax.lax.map(of_slice, (signals, mask)), 0) / jnp.sum(mask)
    return (sums if per == "frame" else jnp.mean(sums, keepdims=True))[
      None, None
    ]

  shift = mean(lambda values: values)
  deviation = jnp.sqrt(mean(lambda values: jnp.square(values - shift)))
  return shift, 1 / jnp.where(deviation > 0, deviation, 1)


def _standardised_by_voxel(values):
  """Every fingerprint by itself."""
  values = values - jnp.mean(values, -1, keepdims=True)
  deviation = jnp.sqrt(jnp.mean(jnp.square(values), -1, keepdims=True))
  return values / jnp.where(deviation > 0, deviation, 1)


def _by_voxel(model: Model, image):
  """A fingerprint-wise network on one slice, some voxels at a time."""
  height, width, n_channels = image.shape
  n_blocks = -(-(height * width) // _BLOCK)
  rows = jnp.zeros((n_blocks * _BLOCK, n_channels), image.dtype)
  rows = rows.at[: height * width].set(image.reshape(-1, n_channels))
  found = jax.lax.map(
    lambda block: _applied(model, block[:, None, None])[:, 0, 0],
    rows.reshape(n_blocks, _BLOCK, n_channels),
  )
  found = found.reshape(n_blocks * _BLOCK, -1)[: height * width]
  return found.reshape(height, width, -1)


def _by_tile(model: Model, features, void):
  """A network that sees neighbours, tile by tile of features."""
  n_slices, height, width, n_features = features.shape
  reach, beside = model.reach, model.network.slices // 2
  rows, columns = -(-height // _TILE), -(-width // _TILE)
  shape = (
    n_slices + 2 * beside,
    rows * _TILE + 2 * reach,
    columns * _TILE + 2 * reach,
    n_features,
  )
  around = jax.lax.dynamic_update_slice(
    jnp.broadcast_to(void, shape), features, (beside, reach, reach, 0)
  )
  size = _TILE + 2 * reach

  def tile(number):
    slice_, place = number // (rows * columns), number % (rows * columns)
    row, column = place // columns, place % columns
    block = jax.lax.dynamic_slice(
      around,
      (slice_, row * _TILE, column * _TILE, 0),
      (model.network.slices, size, size, n_features),
    )
    block = block if model.network.slices > 1 else block[0]
    return _applied(model, block[None], "spatial")[0]

  found = jax.lax.map(tile, jnp.arange(n_slices * rows * columns))
  found = found.reshape(n_slices, rows, columns, _TILE, _TILE, -1)
  found = found.swapaxes(2, 3)
  found = found.reshape(n_slices, rows * _TILE, columns * _TILE, -1)
  return found[:, :height, :width]


def _applied(model: Model, x, method: str | None = None) -> Any:
  return model.network.apply(model.variables, x, method=method, train=False)
