"""The export stage: a bundle as one StableHLO file that runs without us."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex64, Float32

from mrf_jax.errors import UserError
from mrf_jax.files import replacing
from mrf_jax.maps import MAP_NAMES
from mrf_jax.model import Model
from mrf_jax.training.bundle import load_model
from mrf_jax.training.losses import split_deviations

PLATFORMS = ("cpu", "cuda", "tpu")
# Estimates of a tile along y and x, and voxels that are estimated at once.
_TILE = 16
_BLOCK = 4096


def export_files(options: dict[str, Any]) -> pathlib.Path:
  """Writes a bundle as a StableHLO file.

  Args:
    options: values of the flags of `--mode=export` by name, None where not
      given; see `command_line.py`.

  Returns:
    The file.

  Raises:
    UserError: there is no sound bundle, or the file cannot be written.
  """
  for name in ("model", "output"):
    if not options[name]:
      raise UserError(f"--{name} is missing")
  if len(options["model"]) > 1:
    raise UserError("--model: several bundles; one is exported at a time")
  output = pathlib.Path(options["output"])
  model = load_model(options["model"][0])
  content = export_model(model)
  try:
    with replacing(output) as path:
      path.write_bytes(content)
  except OSError as error:
    raise UserError(
      f"{output}: cannot be written ({error.strerror or error})"
    ) from error
  n_windows = model.sequence.n_windows(window=model.window, stride=model.stride)
  print(
    f"Takes        signals complex64 [slice, y, x, {n_windows}], mask bool "
    "[slice, y, x]"
  )
  print(f"Runs on      {', '.join(PLATFORMS)}, without mrf_jax")
  print(f"Exported     {output} ({len(content) / 2**20:.1f} MiB)")
  return output


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
  n_windows = model.sequence.n_windows(window=model.window, stride=model.stride)

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
  if model.basis is not None:
    signals = signals @ jnp.asarray(model.basis)
  inputs = _normalised(signals, mask, per=model.normalise_signals_per)
  outputs = _estimates(model, inputs)
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


def _normalised(signals, mask, *, per: str):
  """As `normalise_signals` does it; zero outside the mask."""
  values = jnp.concatenate([signals.real, signals.imag], -1)
  inside = mask[..., None]
  axes = {"frame": (0, 1, 2), "subject": (0, 1, 2, 3), "voxel": (3,)}[per]
  count = jnp.sum(inside, axes, keepdims=True).astype(jnp.float32)
  if per == "subject":
    count = count * values.shape[-1]
  elif per == "voxel":
    count = jnp.full_like(count, values.shape[-1])

  def mean(x):
    return jnp.sum(jnp.where(inside, x, 0), axes, keepdims=True) / count

  # Twice, because sums of many voxels lose digits in float32.
  for _ in range(2):
    values = values - mean(values)
  deviation = jnp.sqrt(mean(values * values))
  values = values / jnp.where(deviation > 0, deviation, 1)
  return jnp.where(inside, values, 0)


def _estimates(model: Model, inputs):
  """Outputs of the network, [slice, y, x, output], slice by slice."""
  if not model.reach and model.network.slices == 1:

    def voxels(block):
      return _applied(model, block[:, None, None])[:, 0, 0]

    n_slices, height, width, n_channels = inputs.shape
    n_voxels = n_slices * height * width
    n_blocks = -(-n_voxels // _BLOCK)
    rows = jnp.zeros((n_blocks * _BLOCK, n_channels), inputs.dtype)
    rows = rows.at[:n_voxels].set(inputs.reshape(n_voxels, n_channels))
    found = jax.lax.map(voxels, rows.reshape(n_blocks, _BLOCK, n_channels))
    found = found.reshape(n_blocks * _BLOCK, -1)[:n_voxels]
    return found.reshape(n_slices, height, width, -1)

  def temporal(image):
    return _applied(model, image[None], "temporal")[0]

  features = jax.lax.map(temporal, inputs)
  # Features of what lies outside are those of a fingerprint of zeros.
  void = temporal(jnp.zeros((1, 1, inputs.shape[-1]), inputs.dtype))[0, 0]
  n_slices, height, width, n_features = features.shape
  reach, beside = model.reach, model.network.slices // 2
  rows, columns = -(-height // _TILE), -(-width // _TILE)
  shape = (
    n_slices + 2 * beside,
    rows * _TILE + 2 * reach,
    columns * _TILE + 2 * reach,
    n_features,
  )
  around = jnp.broadcast_to(void, shape)
  around = jax.lax.dynamic_update_slice(
    around, features, (beside, reach, reach, 0)
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
