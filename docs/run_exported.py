"""Reconstructs a scan with an exported model, without mrf_jax.

python run_exported.py model.stablehlo signals.npy mask.npy [b1.npy]

Needs jax, numpy and flatbuffers only. signals.npy: complex64 [slice, y, x,
window]; mask.npy: bool [slice, y, x]; b1.npy, for models that see B1: factors
on the flip angles [slice, y, x], 1 for the nominal ones. Writes pd.npy,
t1_ms.npy and t2_ms.npy, float32 [slice, y, x], to the current folder, and the
predicted standard deviations (pd_sd.npy, ...) if the model predicts them. A
volume that is smaller than a model of one size is filled up with voxels outside
the mask.
"""

import contextlib
import os
import pathlib
import sys

import jax
import numpy as np

# An exported function is called after the version of JAX that has written it.
_NAME = "maps_jax_"


def main(
  model_path: str,
  signals_path: str,
  mask_path: str,
  b1_path: str | None = None,
) -> None:
  """Writes the maps of a scan."""
  model = read_model(model_path)
  sees_b1 = len(model.in_avals) > 2
  if sees_b1 != (b1_path is not None):
    raise SystemExit(
      f"error: {model_path} sees a B1 map: b1.npy is missing"
      if sees_b1
      else f"error: {model_path} sees no B1 map, but {b1_path} is given"
    )
  signals, mask = read_array(signals_path), read_array(mask_path) > 0
  if signals.shape[:-1] != mask.shape or mask.ndim != 3:
    raise SystemExit(
      f"error: {signals_path} {signals.shape} and {mask_path} {mask.shape} are "
      "not [slice, y, x, window] and [slice, y, x] of the same voxels"
    )
  *sizes, n_windows = model.in_avals[0].shape
  if signals.shape[-1] != n_windows:
    raise SystemExit(
      f"error: {signals_path} has {signals.shape[-1]} windows, but "
      f"{model_path} was trained with {n_windows}"
    )
  if signals.dtype.kind != "c":
    raise SystemExit(
      f"error: {signals_path} holds real numbers ({signals.dtype}); complex "
      "signals are needed, with the phase of the images"
    )
  if not mask.any():
    raise SystemExit(f"error: {mask_path} has no voxels")
  if not np.isfinite(signals[mask]).all():
    raise SystemExit(f"error: {signals_path} has values that are not finite")
  b1 = read_b1(b1_path, mask) if b1_path else None
  fill = [(0, 0)] * 3
  if all(isinstance(size, int) for size in sizes):
    if any(n > size for n, size in zip(mask.shape, sizes, strict=True)):
      raise SystemExit(
        f"error: {signals_path} has {mask.shape} voxels, but {model_path} is "
        f"for at most {tuple(sizes)} (--mode=export --export_shape)"
      )
    fill = [(0, s - n) for n, s in zip(mask.shape, sizes, strict=True)]
  volume = np.pad(signals.astype(np.complex64), [*fill, (0, 0)])
  others = [] if b1 is None else [np.pad(b1, fill)]
  maps = run(model, model_path, volume, np.pad(mask, fill), *others)
  part = tuple(slice(n) for n in mask.shape)
  for name, values in maps.items():
    values = np.asarray(values)[part]
    np.save(f"{name}.npy", values)
    print(name, values.shape, "median", np.median(values[mask]))


def read_model(path: str):
  """The exported function of a file."""
  try:
    import jax.export

    model = jax.export.deserialize(bytearray(pathlib.Path(path).read_bytes()))
    ranks = [value.ndim for value in model.in_avals]
  except Exception as error:
    raise SystemExit(
      f"error: {path} is not an exported model that jax {jax.__version__} can "
      f"read ({first_line(error)})"
    ) from error
  if ranks not in ([4, 3], [4, 3, 3]):
    raise SystemExit(f"error: {path} is not a model of mrf_jax")
  return model


def read_array(path: str) -> np.ndarray:
  """The array of an .npy file."""
  try:
    array = np.load(path)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufc":
      raise ValueError("it is not an array of numbers")
  except (OSError, ValueError, EOFError) as error:
    raise SystemExit(
      f"error: {path} is not a readable .npy file ({first_line(error)})"
    ) from error
  return array


def read_b1(path: str, mask: np.ndarray) -> np.ndarray:
  """Factors on the flip angles of a volume; those in the mask count."""
  b1 = read_array(path)
  if b1.shape != mask.shape or b1.dtype.kind == "c":
    raise SystemExit(
      f"error: {path} has the shape {b1.shape}, not the factors of "
      f"{mask.shape} voxels"
    )
  inside = b1[mask]
  if not (np.isfinite(inside) & (inside > 0)).all():
    raise SystemExit(f"error: {path} has voxels in the mask without B1 above 0")
  if not 0.1 < np.median(inside) < 10:
    raise SystemExit(
      f"error: the median B1 of {path} is {np.median(inside):.3g}; factors on "
      "the flip angles are needed (about 1), not per cent or µT"
    )
  return np.where(mask, b1, 1).astype(np.float32)


def run(model, path: str, *arrays: np.ndarray) -> dict:
  """The maps of a volume."""
  try:
    with quiet():
      return model.call(*arrays)
  except Exception as error:
    version = model.fun_name.partition(_NAME)[2] or "?"
    remedy = ""
    if version != jax.__version__:
      remedy = (
        ": an older jax may not run a file for volumes of any size; "
        "--mode=export --export_shape=SLICES,Y,X writes one that it runs"
      )
    raise SystemExit(
      f"error: jax {jax.__version__} does not run {path}, which jax {version} "
      f"has written{remedy} ({first_line(error)})"
    ) from error


@contextlib.contextmanager
def quiet():
  """Without what JAX's C++ code prints: of each error it prints a line more."""
  sys.stderr.flush()
  kept = os.dup(2)
  with open(os.devnull, "w") as nowhere:
    os.dup2(nowhere.fileno(), 2)
  try:
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)


def first_line(error: Exception) -> str:
  """First line of an error's message."""
  return (str(error).splitlines() or [type(error).__name__])[0][:200]


if __name__ == "__main__":
  if len(sys.argv) not in (4, 5):
    sys.exit(__doc__)
  main(*sys.argv[1:])
