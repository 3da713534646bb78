"""Checks of the arguments of `match_atlas`."""

from mrf_jax.checks import check_at_least, check_finite, check_shape
from mrf_jax.errors import UserError

# Maps may leave [0, 1] by rounding when they were scaled.
_MAP_TOLERANCE = 1e-5


def check_parameters(window, patch, n_neighbours, alpha, n_iterations):
  """Raises `UserError` for a parameter out of range."""
  for name, sizes in (("window", window), ("patch", patch)):
    if len(sizes) != 3 or any(n < 1 or n % 2 != 1 for n in sizes):
      raise UserError(
        f"match_atlas: {name} is {sizes}, not three odd numbers of voxels"
      )
  check_at_least("match_atlas: n_neighbours", n_neighbours, 1)
  check_at_least("match_atlas: n_iterations", n_iterations, 1)
  if not 0 <= alpha <= 1:
    raise UserError(f"match_atlas: alpha is {alpha}, not within [0, 1]")


def check_arrays(signals, mask, atlas):
  """Raises `UserError` if scan and atlas do not fit or are not finite."""
  if mask.ndim != 3:
    raise UserError(
      f"match_atlas: mask has shape {mask.shape}, not [slice, y, x]"
    )
  if not atlas:
    raise UserError("match_atlas: the atlas has no scans")
  if signals.ndim != 4 or not len(signals) or signals.shape[1:] != mask.shape:
    raise UserError(
      f"match_atlas: signals have shape {signals.shape}, but the mask "
      f"{mask.shape}"
    )
  check_finite("match_atlas: signals", signals)
  n_maps = len(atlas[0].maps)
  for number, scan in enumerate(atlas):
    for name, values, shape in (
      ("signals", scan.signals, signals.shape),
      ("maps", scan.maps, (n_maps, *mask.shape)),
      ("mask", scan.mask, mask.shape),
    ):
      label = f"match_atlas: {name} of atlas scan {number}"
      check_shape(label, values, shape)
      check_finite(label, values)
    low, high = scan.maps.min(initial=0), scan.maps.max(initial=0)
    if low < -_MAP_TOLERANCE or high > 1 + _MAP_TOLERANCE:
      raise UserError(
        f"match_atlas: maps of atlas scan {number} span {low:g} to {high:g}, "
        "not within [0, 1]"
      )
  if not any(scan.mask.any() for scan in atlas):
    raise UserError("match_atlas: the atlas has no masked voxels")
