"""Convolutions with fewer multiplications (Winograd; Lavin & Gray 2016)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Where the polynomials are evaluated, beside infinity; for 5 × 5 taps these
# round best of the small numbers.
_POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)


def convolve(
  x: Float[Array, "batch y x channel"],
  kernel: Float[Array, "size size channel feature"],
) -> Float[Array, "batch y' x' feature"]:
  """A convolution with valid padding, in tiles of 2 × 2 outputs.

  Inputs d and taps g are polynomials along y and along x. The values of a
  product of polynomials are products of values, and size + 1 points tell all
  of it: 36 matrix products for the 4 outputs of a tile where 5 × 5 taps take
  100, and 16 where 3 × 3 take 36.

    Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A   (Lavin & Gray 2016, eq. 8)

  It rounds up to twenty times as coarsely as the sum over the taps.

  Args:
    x: images.
    kernel: up to 5 × 5 taps.

  Returns:
    Images of size − 1 fewer voxels along y and x.
  """
  size, _, _, n_features = kernel.shape
  height, width = x.shape[1] - size + 1, x.shape[2] - size + 1
  rows, columns = -(-height // 2), -(-width // 2)
  x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
  a, b, g = _matrices(size)
  points = range(len(b))

  def product(p, q):
    # The transforms would magnify what TF32 and its like round off.
    return jnp.dot(tiles[p][q], kernels[p][q], precision="highest")

  # Lists of arrays where stacking would copy: by the point along y, then by
  # the one along x, [channel, feature] or [batch, row, column, channel] each.
  kernels = [_sums(g, line) for line in _sums(g, kernel)]
  lines = _sums(b, _every_other(x, axis=1, count=rows, size=size + 1))
  tiles = [
    _sums(b, _every_other(line, axis=2, count=columns, size=size + 1))
    for line in lines
  ]
  across = [_sums(a, [product(p, q) for p in points]) for q in points]
  outputs = [
    jnp.stack(_sums(a, values), 3) for values in zip(*across, strict=True)
  ]
  images = jnp.stack(outputs, 2)  # [batch, row, 2, column, 2, feature]
  images = images.reshape(len(x), 2 * rows, 2 * columns, n_features)
  return images[:, :height, :width]


def _every_other(x, *, axis: int, count: int, size: int) -> list:
  """The first input of all tiles, the second of all tiles, …; tiles overlap."""
  return [
    jax.lax.slice_in_dim(x, i, i + 2 * count - 1, 2, axis) for i in range(size)
  ]


def _sums(matrix: np.ndarray, arrays) -> list:
  """Product of a matrix and a list; zeros and ones cost nothing."""
  return [
    functools.reduce(
      jnp.add,
      [
        array if weight == 1 else weight * array
        for weight, array in zip(line, arrays, strict=True)
        if weight
      ],
    )
    for line in matrix
  ]


def _matrices(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Aᵀ [output, point], Bᵀ [point, input] and G [point, tap]."""

  def values(n_coefficients):
    powers = np.power.outer(_POINTS[:size], np.arange(n_coefficients))
    at_infinity = np.eye(n_coefficients)[-1:]
    return np.concatenate([powers, at_infinity]).astype(np.float32)

  # From values to coefficients, transposed (Toom-Cook); its zeros are exact.
  b = np.linalg.inv(values(size + 1).astype(np.float64)).T.round(12)
  return values(2).T, b.astype(np.float32), values(size)
