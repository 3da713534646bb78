"""Convolutions with fewer multiplications (Winograd; Lavin & Gray 2016).

XLA's convolution was looked at: it multiplies every tap. For 5 × 5 taps, on two
cores of an AMD EPYC, it takes 1.2 times the time of tiles of 2 × 2, and the
same time where XLA uses YNNPACK, as jax 0.10.1 does there; its gradients take
three to eight times as long as products.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Points at which the polynomials are evaluated, besides infinity. Of the small
# numbers, the first five have the smallest rounding error for 5 × 5 taps and
# tiles of 2 × 2.
_POINTS = (0.0, 1.0, -1.0, 0.5, -2.0, -0.5, 2.0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(
  x: Float[Array, "batch y x channel"],
  kernel: Float[Array, "size size channel feature"],
  tile: int,
) -> Float[Array, "batch y_out x_out feature"]:
  r"""A convolution with valid padding, in tiles of `tile` × `tile` outputs.

  Inputs d and taps g are read as polynomials along y and along x. The values of
  a product of polynomials are products of their values, and its values at
  size + tile − 1 points determine it: the 4 outputs of a tile of 2 × 2 take 36
  matrix products instead of 100 for 5 × 5 taps, and 16 instead of 36 for 3 × 3;
  those of a tile of 4 × 4 take 64 instead of 400, and 36 instead of 144.

  .. math:: Y = A^T \left[ (G g G^T) \odot (B^T d B) \right] A

  (Lavin & Gray 2016, eq. 8). G and B evaluate the polynomials, A returns to
  coefficients. The gradients of d and g have the transposes of all three, and
  take as few products.

  For up to 5 × 5 taps the rounding error is up to twenty times that of the sum
  over the taps in tiles of 2 × 2, and up to fifty times in tiles of 4 × 4.

  Args:
    x: images.
    kernel: taps, up to 5 × 5.
    tile: outputs of a tile along y and x, up to 4 for 5 × 5 taps. Large ones
      multiply less, and compute more in vain where the images are no multiples
      of them.
  """
  return _forward(x, kernel, tile)[0]


def _forward(x, kernel, tile):
  """The convolution, and both factors of its products."""
  height, width = (n - len(kernel) + 1 for n in x.shape[1:3])
  a, b, g = _matrices(len(kernel), tile)
  # Values at points: [point along x, point along y, …].
  taps = _transformed(g, _transformed(g, kernel, 0), 1)
  x = _whole_tiles(x, (height, width), tile)
  lines = jnp.stack(_sums(b, _overlapping(x, 1, len(b), tile)))
  inputs = jnp.stack(_sums(b, _overlapping(lines, 3, len(b), tile)))
  products = _batched("pnc,pcf->pnf", inputs, taps)
  products = products.reshape(*inputs.shape[:-1], -1)
  # [batch, row of tiles, y in it, column of tiles, x in it, feature].
  lines = _transformed(a, products, 0, to=4)
  images = _joined(_joined(_transformed(a, lines, 0, to=2), 3), 1)
  return images[:, :height, :width], (inputs, taps)


def _backward(tile, factors, gradient):
  """Gradients of images and taps."""
  inputs, taps = factors
  n_points, _, batch, rows, columns, _ = inputs.shape
  size = n_points - tile + 1
  a, b, g = _matrices(size, tile)
  height, width = gradient.shape[1:3]
  gradient = _whole_tiles(gradient, (height, width), tile)
  gradient = gradient.reshape(batch, rows, tile, columns, tile, -1)
  lines = _transformed(a.T, gradient, 2)
  of_products = _transformed(a.T, lines, 4)
  of_taps = _batched("pnc,pnf->pcf", inputs, of_products).reshape(taps.shape)
  of_kernel = _transformed(g.T, _transformed(g.T, of_taps, 0), 1)
  of_inputs = _batched("pnf,pcf->pnc", of_products, taps)
  of_inputs = of_inputs.reshape(inputs.shape)
  lines = _overlap_added(_sums(b.T, of_inputs), 3, tile)
  of_x = _overlap_added(_sums(b.T, lines), 1, tile)
  return of_x[:, : height + size - 1, : width + size - 1], of_kernel


convolve.defvjp(_forward, _backward)


def _batched(subscripts: str, first, second):
  """A matrix product for each pair of points: [pair, row, column]."""
  pairs = (x.reshape(len(x) ** 2, -1, x.shape[-1]) for x in (first, second))
  # The transforms would magnify the rounding error of TF32 and the like.
  return jnp.einsum(subscripts, *pairs, precision="highest")


def _transformed(matrix: np.ndarray, values, axis: int, to: int = 0):
  """Product of a matrix and values along an axis, which becomes axis `to`."""
  return jnp.stack(_sums(matrix, jnp.moveaxis(values, axis, 0)), to)


def _sums(matrix: np.ndarray, arrays: Sequence | Array) -> list:
  """Product of a matrix and a list of arrays; zeros and ones cost nothing."""
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


def _whole_tiles(x, shape: tuple[int, int], tile: int):
  """Zeros below and to the right, for outputs of a shape in whole tiles."""
  height, width = (-n % tile for n in shape)
  return jnp.pad(x, ((0, 0), (0, height), (0, width), (0, 0)))


def _overlapping(x, axis: int, size: int, tile: int) -> list:
  """The first input of all tiles, the second of all tiles, …; tiles overlap."""
  last = x.shape[axis] - size
  return [
    jax.lax.slice_in_dim(x, i, i + last + 1, tile, axis) for i in range(size)
  ]


def _overlap_added(parts: Sequence, axis: int, tile: int):
  """Sums of what the tiles have of each input: `_overlapping` transposed."""
  n_shifts = math.ceil(len(parts) / tile)

  def shifted(part, shift):
    padding = [(0, 0)] * part.ndim
    padding[axis] = (shift, n_shifts - 1 - shift)
    return jnp.pad(part, padding)

  sums = [
    functools.reduce(jnp.add, map(shifted, parts[i::tile], range(n_shifts)))
    for i in range(tile)
  ]
  return _joined(jnp.stack(sums, axis + 1), axis)


def _joined(x, axis: int):
  """An axis and the next one as one."""
  return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])


def _matrices(
  size: int, tile: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Aᵀ [output, point], Bᵀ [point, input] and G [point, tap]."""
  n_points = size + tile - 1
  points = _POINTS[: n_points - 1]

  def values(n_coefficients):
    powers = np.power.outer(points, np.arange(n_coefficients))
    at_infinity = np.eye(n_coefficients)[-1:]
    return np.concatenate([powers, at_infinity]).astype(np.float32)

  # Transpose of the matrix from values to coefficients (Toom-Cook), rounded so
  # that its zeros are exact.
  b = np.linalg.inv(values(n_points).astype(np.float64)).T.round(12)
  return values(tile).T, b.astype(np.float32), values(size)
