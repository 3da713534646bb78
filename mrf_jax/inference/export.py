"""Export of a model as StableHLO, which runs without this package."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex64, Float32

from mrf_jax.dataset.signal_reference import scan_gains
from mrf_jax.dataset.standardise import SignalStatistics
from mrf_jax.inference.model import Model
from mrf_jax.maps import MAP_NAMES, Maps, bounded
from mrf_jax.networks.channels import b1_channel, channel_count, sees_b1
from mrf_jax.networks.outputs import split_deviations

PLATFORMS = ("cpu", "cuda", "tpu")
# Lowest version of JAX that runs a file of one size: it was tried on files of
# all networks that JAX 0.12.0 had written. The format promises four weeks.
LOWEST_JAX = "0.9"
# Number of voxels of a tile along y and x.
_TILE = 16
# Number of voxels that a network of single voxels processes at once.
_BLOCK = 4096


def export_model(
  model: Model, *, shape: tuple[int, int, int] | None = None
) -> bytes:
  """Serialises a model with its normalisation.

  The function has the arguments `signals`, complex64 [slice, y, x, window], and
  `mask`, bool [slice, y, x]; and `b1`, float32 [slice, y, x], factors on the
  flip angles, if the network sees them. It returns a dictionary of `pd`,
  `t1_ms` and `t2_ms`, float32 [slice, y, x], zero outside the mask, and of the
  standard deviations `pd_sd`, `t1_ms_sd` and `t2_ms_sd` if the network predicts
  them.
  Its name is `maps_jax_` and the version of JAX: the format has no other place
  for it, and an older JAX may not run it.

  Args:
    model: the trained model.
    shape: number of slices and of voxels along y and x of all volumes; a
      smaller one may be filled up with voxels outside the mask, which change
      nothing.
      None is any volume, which JAX versions before this one may not run.

  Returns:
    The content of a file, for `jax.export.deserialize`.
  """
  sizes = shape or jax.export.symbolic_shape("slice, y, x")
  n_windows = model.acquisition.n_windows
  b1 = []
  if sees_b1(model.network):
    b1 = [jax.ShapeDtypeStruct(sizes, jnp.float32)]

  def maps(signals, mask, b1=None):
    # Accelerators would otherwise round the factors of float32 products.
    with jax.default_matmul_precision("highest"):
      return maps_of_volume(model, signals, mask, b1)

  maps.__name__ = f"maps_jax_{jax.__version__}"
  exported = jax.export.export(jax.jit(maps), platforms=PLATFORMS)(
    jax.ShapeDtypeStruct((*sizes, n_windows), jnp.complex64),
    jax.ShapeDtypeStruct(sizes, jnp.bool_),
    *b1,
  )
  return bytes(exported.serialize())


def maps_of_volume(
  model: Model,
  signals: Complex64[Array, "slice y x window"],
  mask: Bool[Array, "slice y x"],
  b1: Float32[Array, "slice y x"] | None = None,
) -> dict[str, Float32[Array, "slice y x"]]:
  """The function that `export_model` serialises."""
  outputs = _estimates(model, signals, mask, b1)
  deviations = None
  if outputs.shape[-1] > len(MAP_NAMES):
    outputs, log_deviations = split_deviations(outputs)
    scale = jnp.asarray(model.deviation_scale, jnp.float32)
    deviations = scale[None, None, None] * jnp.exp(log_deviations)
  gain = jnp.ones(())
  if model.pd_unit == "signals":
    gain = jnp.abs(_gains(model, signals, mask)).reshape(-1)[0]
  ranges, axes = model.range_of_estimates, (..., None, None, None, slice(None))
  # With the axes of the outputs.
  ranges = dataclasses.replace(
    ranges,
    low=ranges.low[axes],
    high=ranges.high[axes],
    bounds=None if ranges.bounds is None else ranges.bounds[axes],
  )
  maps = Maps.unstack(ranges.unscale(outputs))
  maps = bounded(dataclasses.replace(maps, pd=maps.pd / gain))
  by_suffix = {"": jnp.stack([maps.pd, maps.t1_ms, maps.t2_ms], -1)}
  if deviations is not None:
    own = Maps.unstack(ranges.unscale_deviations(deviations, outputs))
    by_suffix["_sd"] = jnp.stack([own.pd / gain, own.t1_ms, own.t2_ms], -1)
  return {
    f"{name}{suffix}": jnp.where(mask, values[..., i], 0).astype(jnp.float32)
    for suffix, values in by_suffix.items()
    for i, name in enumerate(MAP_NAMES)
  }


def _estimates(model: Model, signals, mask, b1):
  """Outputs of the network, [slice, y, x, output].

  One slice is processed after another, so that the normalised signals of only
  one are in memory.
  """
  gains = _gains(model, signals, mask)
  shift, factor = _normalisation(model, signals, mask)

  def inputs(slice_):
    image, inside, gain, b1 = slice_
    values = (_parts(model, image, gain) - shift) * factor
    if model.normalise_signals_per == "voxel":
      values = _normalised_by_voxel(values)
    if model.b1_range is not None:
      seen = b1_channel(jnp.clip(b1, *model.b1_range))
      values = jnp.concatenate([values, seen[..., None]], -1)
    return jnp.where(inside[..., None], values, 0)

  if not model.network.reach and model.network.slices == 1:
    return jax.lax.map(
      lambda slice_: _by_voxel(model, inputs(slice_)),
      (signals, mask, gains, b1),
    )
  features = jax.lax.map(
    lambda slice_: _apply(model, inputs(slice_)[None], "temporal")[0],
    (signals, mask, gains, b1),
  )
  # Voxels outside of the volume have the features of a fingerprint of zeros.
  components = signals if model.basis is None else model.basis
  n_channels = channel_count(model.network, n_components=components.shape[-1])
  zeros = jnp.zeros((1, 1, 1, n_channels), jnp.float32)
  return _by_tile(model, features, _apply(model, zeros, "temporal")[0, 0, 0])


def _components(model: Model, image):
  """Windows or temporal components."""
  return image if model.basis is None else image @ jnp.asarray(model.basis)


def _statistics(model: Model) -> SignalStatistics | None:
  """Statistics of the training scans, where they standardise signals."""
  return None if model.normalise_signals_per == "voxel" else model.statistics


def _parts(model: Model, image, gain=None):
  """Real parts, then imaginary parts, of windows or temporal components."""
  image = _components(model, image)
  image = image if gain is None else image * gain
  return jnp.concatenate([image.real, image.imag], -1)


def _gains(model: Model, signals, mask):
  """Factor of each voxel on its signals, [slice, y, x, 1]; None is one."""
  statistics = _statistics(model)
  if statistics is None:
    return None
  filters = jnp.asarray(statistics.reference.filters())
  products = jax.lax.map(
    lambda image: _components(model, image) @ filters, signals
  )
  gains = scan_gains(products.reshape(-1, 2), mask.reshape(-1))
  return gains.reshape(*mask.shape, 1)


def _normalisation(model: Model, signals, mask):
  """The number to subtract from each part, and the factor to multiply it by.

  As in `normalise_signals`: mean and standard deviation of the training scans,
  or over the masked voxels, of each frame or of all together.
  """
  per = model.normalise_signals_per
  statistics = _statistics(model)
  if statistics is not None:
    return (jnp.asarray(x)[None, None] for x in statistics.shift_and_factor())
  if per == "voxel":
    return jnp.zeros((1, 1, 1)), jnp.ones((1, 1, 1))

  def mean(function):
    def of_slice(slice_):
      image, inside = slice_
      values = function(_parts(model, image))
      return jnp.sum(jnp.where(inside[..., None], values, 0), (0, 1))

    sums = jnp.sum(jax.lax.map(of_slice, (signals, mask)), 0) / jnp.sum(mask)
    return (sums if per == "frame" else jnp.mean(sums, keepdims=True))[
      None, None
    ]

  shift = mean(lambda values: values)
  deviation = jnp.sqrt(mean(lambda values: jnp.square(values - shift)))
  return shift, 1 / jnp.where(deviation > 0, deviation, 1)


def _normalised_by_voxel(values):
  """Each fingerprint with mean 0 and standard deviation 1."""
  values = values - jnp.mean(values, -1, keepdims=True)
  deviation = jnp.sqrt(jnp.mean(jnp.square(values), -1, keepdims=True))
  return values / jnp.where(deviation > 0, deviation, 1)


def _by_voxel(model: Model, image):
  """Outputs of a network of single voxels on a slice, [y, x, output]."""
  height, width, n_channels = image.shape
  n_blocks = -(-(height * width) // _BLOCK)
  rows = jnp.zeros((n_blocks * _BLOCK, n_channels), image.dtype)
  rows = rows.at[: height * width].set(image.reshape(-1, n_channels))
  outputs = jax.lax.map(
    lambda block: _apply(model, block[:, None, None])[:, 0, 0],
    rows.reshape(n_blocks, _BLOCK, n_channels),
  )
  outputs = outputs.reshape(n_blocks * _BLOCK, -1)[: height * width]
  return outputs.reshape(height, width, -1)


def _by_tile(model: Model, features, outside):
  """Outputs [slice, y, x, output] from features of a volume and around it."""
  n_slices, height, width, n_features = features.shape
  reach, n_around = model.network.reach, model.network.slices // 2
  rows, columns = -(-height // _TILE), -(-width // _TILE)
  shape = (
    n_slices + 2 * n_around,
    rows * _TILE + 2 * reach,
    columns * _TILE + 2 * reach,
    n_features,
  )
  padded = jax.lax.dynamic_update_slice(
    jnp.broadcast_to(outside, shape), features, (n_around, reach, reach, 0)
  )
  size = _TILE + 2 * reach

  def tile(number):
    slice_, in_slice = number // (rows * columns), number % (rows * columns)
    row, column = in_slice // columns, in_slice % columns
    block = jax.lax.dynamic_slice(
      padded,
      (slice_, row * _TILE, column * _TILE, 0),
      (model.network.slices, size, size, n_features),
    )
    block = block if model.network.slices > 1 else block[0]
    return _apply(model, block[None], "spatial")[0]

  outputs = jax.lax.map(tile, jnp.arange(n_slices * rows * columns))
  outputs = outputs.reshape(n_slices, rows, columns, _TILE, _TILE, -1)
  outputs = outputs.swapaxes(2, 3)
  outputs = outputs.reshape(n_slices, rows * _TILE, columns * _TILE, -1)
  return outputs[:, :height, :width]


def _apply(model: Model, x, method: str | None = None) -> Any:
  return model.network.apply(model.variables, x, method=method, train=False)
