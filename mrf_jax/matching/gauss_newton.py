"""Gauss–Newton steps of T1, T2 and B1 on interpolated atoms, compiled.

Proton density and phase are linear in the signal, so that they are eliminated
(variable projection, Golub & Pereyra 1973, in the form of Kaufman 1975). Arrays
have voxels as their last axis: sums over components are then sums of vectors.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex64, Float, Float32, Inexact

from mrf_jax.runtime.typing import AnyArray

# Levenberg's factor on the diagonal at the start, and its changes by a step
# that is taken or not.
_DAMPING, _LESS, _MORE = 1e-3, 0.2, 10.0
# Longest step, in coordinates from -1 to 1.
_LONGEST = 0.3
# Rounding error of a score in float32.
_ROUNDING = 1e-6
# A fit has settled if a step lowers the energy of the rest by less than this
# share of the noise's variance, or moves no coordinate by more than this.
_SETTLED, _STILL = 1e-3, 1e-5
# A derivative that those before it explain but for this part of its length
# cannot be told from them.
_SAME_DIRECTION = 1e-5
# Length of a derivative of zero.
_NOTHING = 1e-30


class Found(NamedTuple):
  """Where the search of some voxels has ended.

  Attributes:
    at: T1, T2 (ms) and B1; while it runs, coordinates from -1 to 1.
    factor: |c|.
    deviations: standard deviations of |c|, T1 and T2 (ms), and B1; while it
      runs, of the coordinates. Infinite where the signal says nothing, and 0
      for a B1 that is given.
    explained: energy of the signal that the fingerprint explains.
    is_settled: whether a further step would move by much less than the noise.
  """

  at: Float[AnyArray, "voxel 3"]
  factor: Float32[AnyArray, "voxel"]
  deviations: Float32[AnyArray, "voxel 4"]
  explained: Float32[AnyArray, "voxel"]
  is_settled: Bool[AnyArray, "voxel"]


class _Fit(NamedTuple):
  """What a step needs to know of the fingerprints at some coordinates.

  Attributes:
    factor: c, of the best fit.
    score: energy of the signal that is explained.
    gradient: of half the rest's energy, downwards, for each free axis.
    hessian: its second derivatives in Gauss–Newton form, rows of columns.
  """

  factor: Complex64[Array, "voxel"]
  score: Float32[Array, "voxel"]
  gradient: list[Float32[Array, "voxel"]]
  hessian: list[list[Float32[Array, "voxel"]]]


@functools.partial(
  jax.jit, static_argnames=("n_windows", "is_b1_free", "n_steps")
)
def refine(
  polynomials: Inexact[Array, "n1 n2 n3 rank"],
  noise: Inexact[Array, "rank rank"],
  log_ranges: Float32[Array, "2 2"],
  signals: Complex64[Array, "voxel rank"],
  energy: Float32[Array, "voxel"],
  start: Float32[Array, "voxel 3"],
  *,
  n_windows: int,
  is_b1_free: bool,
  n_steps: int,
) -> Found:
  """Gauss–Newton steps of some voxels within one range of T2.

  Args:
    polynomials: coefficients of the fingerprints' Chebyshev polynomials.
    noise: covariance of the components of noise of variance one.
    log_ranges: middle and half length of log T1 and of log T2.
    signals: compressed signals.
    energy: of the whole signals.
    start: coordinates of T1, T2 and B1, from -1 to 1.
    n_windows: of the whole signals.
    is_b1_free: whether B1 is fitted, too.
    n_steps: number of steps.
  """
  free = (0, 1, 2) if is_b1_free else (0, 1)
  signals = signals.T
  atoms_at = _evaluator(polynomials, is_b1_free=is_b1_free)

  def moved(at, fit, damping):
    """Coordinates after a step that ends at most at an end of the piece."""
    hessian = [list(row) for row in fit.hessian]
    for k in range(len(free)):
      hessian[k][k] = hessian[k][k] * (1 + damping) + _NOTHING
    moves = _solve(hessian, fit.gradient)
    longest = functools.reduce(jnp.maximum, map(jnp.abs, moves))
    shorter = _LONGEST / jnp.maximum(longest, _LONGEST)
    moves = [shorter * move for move in moves]
    inside = [jnp.clip(at[k] + moves[k], -1, 1) - at[k] for k in free]
    # The others' best beside a coordinate that is stopped at an end.
    stopped = [jnp.abs(at[k] + moves[k]) > 1 for k in free]
    for k in free:
      hessian[k] = [
        jnp.where(stopped[k], float(k == i), own)
        for i, own in enumerate(hessian[k])
      ]
    right = [
      jnp.where(stop, own, shorter * slope)
      for stop, own, slope in zip(stopped, inside, fit.gradient, strict=True)
    ]
    there = list(at)
    for k, move in zip(free, _solve(hessian, right), strict=True):
      there[k] = jnp.clip(at[k] + move, -1, 1)
    there[1] = _below_t1(there, log_ranges)
    return there

  def step(_, state):
    at, damping, here = state
    there = moved(at, here, damping)
    fit = _fit(signals, *atoms_at(there))
    # Near the best, scores are equal but for rounding, and steps still right.
    is_better = fit.score >= (1 - _ROUNDING) * here.score
    damping = jnp.where(is_better, _LESS * damping, _MORE * damping)
    at, here = jax.tree.map(
      functools.partial(jnp.where, is_better), (there, fit), (at, here)
    )
    return at, damping, here

  at = list(start.T)
  damping = jnp.full(len(start), _DAMPING, start.dtype)
  first = _fit(signals, *atoms_at(at))
  at, _, found = jax.lax.fori_loop(0, n_steps, step, (at, damping, first))
  left = jnp.maximum(energy - found.score, 0)
  atoms, slopes = atoms_at(at)
  sd = _deviations(atoms, slopes, found.factor, noise, left, n_windows)
  if not is_b1_free:
    sd.append(jnp.zeros_like(left))
  there = moved(at, found, 0.0)
  moves = [there[k] - at[k] for k in free]
  less = sum(m * g for m, g in zip(moves, found.gradient, strict=True))
  is_still = functools.reduce(jnp.maximum, map(jnp.abs, moves)) < _STILL
  is_settled = is_still | (less * 2 * n_windows < _SETTLED * left)
  return Found(
    jnp.stack(at, 1),
    jnp.abs(found.factor),
    jnp.stack(sd, 1),
    found.score,
    is_settled,
  )


def _fit(signals, atoms, slopes) -> _Fit:
  """The best factor, and how the rest changes with the free axes."""
  norms = jnp.sum(jnp.abs(atoms) ** 2, 0)
  factor = _product(atoms, signals) / norms
  rest = signals - factor[None] * atoms
  size = jnp.abs(factor) ** 2
  # Of the derivatives without their part along the fingerprint.
  along = [_product(atoms, slope) for slope in slopes]
  gradient = [
    (jnp.conj(factor) * _product(slope, rest)).real for slope in slopes
  ]
  hessian = [
    [
      size * (_product(slope, other) - jnp.conj(part) * its / norms).real
      for other, its in zip(slopes, along, strict=True)
    ]
    for slope, part in zip(slopes, along, strict=True)
  ]
  return _Fit(factor, size * norms, gradient, hessian)


def _deviations(atoms, slopes, factor, noise, left, n_windows: int):
  """Standard deviations of |c| and of the free coordinates, [voxel] each.

  With the Jacobian J = Q R of the parameters and noise of covariance σ² N,
  estimates have the covariance σ² R⁻¹ Qᵀ N Q R⁻ᵀ; σ² is what is left of the
  signal's energy, by the degrees of freedom of all windows less those that the
  fit takes, tr Qᵀ N Q. The first columns are those of c, along a and i a; its
  phase turns all alike, and is left out.
  """
  length = jnp.sqrt(jnp.sum(jnp.abs(atoms) ** 2, 0))
  basis, shares, triangle = _orthonormal(atoms / length[None], slopes)
  spread = [jnp.matmul(noise.T, q, precision="highest") for q in basis]
  noisy = [[_product(q, other).real for other in spread] for q in basis]
  for k in range(1, len(basis)):
    # Where nothing is left of a column, noise acts as in any direction.
    is_one = jnp.sum(jnp.abs(basis[k]) ** 2, 0) > 0.5
    mean = jnp.trace(noise).real / len(noise)
    noisy[k][k] = jnp.where(is_one, noisy[k][k], mean)
  taken = noisy[0][0] + sum(noisy[k][k] for k in range(len(basis)))
  # Without a rest there is nothing to tell the noise by.
  freedom = 2 * n_windows - taken
  variance = jnp.where(freedom >= 1, left / jnp.maximum(freedom, 1), jnp.inf)
  size = jnp.abs(factor)
  # Rows of R⁻¹, from the last: what a coordinate takes of each column of Q.
  count = len(slopes)
  rows: list[list] = [[] for _ in slopes]
  for k in reversed(range(count)):
    rows[k] = [
      (float(i == k) - sum(triangle[j][k] * rows[j][i] for j in later))
      / triangle[k][k]
      for i in range(count)
      for later in [range(k + 1, count)]
    ]
  # |c| makes up for what the coordinates change of the length.
  of_size = [
    -sum(share * row[i] for share, row in zip(shares, rows, strict=True))
    for i in range(count)
  ]
  weights = [
    [1 / length, *(w / length for w in of_size)],
    *([0.0, *(w / jnp.maximum(size, _NOTHING) for w in row)] for row in rows),
  ]
  totals = [
    sum(
      own * other * noisy[i][j]
      for i, own in enumerate(row)
      for j, other in enumerate(row)
    )
    for row in weights
  ]
  # Nothing is known of a signal of zeros.
  return [
    jnp.where(size > 0, jnp.sqrt(jnp.maximum(t, _NOTHING) * variance), jnp.inf)
    for t in totals
  ]


def _orthonormal(first, slopes):
  """Q and R of the slopes beside a complex first column (Gram and Schmidt).

  Returns:
    Columns of Q, the first one among them; the real shares of the slopes along
    it; and the columns of R for the others. A length that rounding has left is
    raised to what can be told.
  """
  basis, shares, triangle = [first], [], []
  for slope in slopes:
    share = _product(first, slope)
    rest = slope - share[None] * first
    column = []
    for q in basis[1:]:
      column.append(_product(q, rest).real)
      rest = rest - column[-1][None] * q
    whole, left = (jnp.sqrt(jnp.sum(jnp.abs(x) ** 2, 0)) for x in (slope, rest))
    least = jnp.maximum(_SAME_DIRECTION * whole, _NOTHING)
    column.append(jnp.maximum(left, least))
    basis.append(rest / column[-1][None])
    shares.append(share.real)
    triangle.append(column)
  return basis, shares, triangle


def _evaluator(polynomials, *, is_b1_free: bool):
  """A function of coordinates: fingerprints and slopes, [rank, voxel]."""
  n1, n2, n3, rank = polynomials.shape
  coefficients = polynomials.reshape(n1 * n2 * n3, rank).T

  def at(coordinates):
    columns = [
      _chebyshev(x, n) for x, n in zip(coordinates, (n1, n2, n3), strict=True)
    ]
    values = [value for value, _ in columns]
    terms = [_outer(values)]
    for k in range(3 if is_b1_free else 2):
      terms.append(_outer([*values[:k], columns[k][1], *values[k + 1 :]]))
    results = jnp.matmul(
      coefficients, jnp.concatenate(terms, 1), precision="highest"
    )
    atoms, *slopes = jnp.split(results, len(terms), 1)
    return atoms, slopes

  return at


def _outer(columns):
  """Products of one of each column, [all, voxel]."""
  return functools.reduce(
    lambda a, b: (a[:, None] * b[None]).reshape(-1, a.shape[1]), columns
  )


def _chebyshev(x, count: int):
  """Chebyshev polynomials and their derivatives, [polynomial, voxel]."""
  values, slopes = [jnp.ones_like(x), x], [jnp.zeros_like(x), jnp.ones_like(x)]
  for _ in range(2, count):
    slopes.append(2 * values[-1] + 2 * x * slopes[-1] - slopes[-2])
    values.append(2 * x * values[-1] - values[-2])
  return jnp.stack(values[:count]), jnp.stack(slopes[:count])


def _below_t1(at, log_ranges):
  """Coordinate of T2, reduced to T1 where it would be longer."""
  log_t1 = log_ranges[0, 0] + log_ranges[0, 1] * at[0]
  most = (log_t1 - log_ranges[1, 0]) / jnp.maximum(log_ranges[1, 1], 1e-9)
  return jnp.minimum(at[1], jnp.maximum(most, -1))


def _product(left, right):
  """⟨left, right⟩ of each voxel; a real left spares complex products."""
  if jnp.iscomplexobj(right) and not jnp.iscomplexobj(left):
    return jax.lax.complex(
      jnp.sum(left * right.real, 0), jnp.sum(left * right.imag, 0)
    )
  return jnp.sum(jnp.conj(left) * right, 0)


def _solve(matrix, right):
  """Solves small systems, [voxel] each, by elimination without pivots."""
  count = len(right)
  matrix, right = [list(row) for row in matrix], list(right)
  for k in range(count):
    for i in range(k + 1, count):
      ratio = matrix[i][k] / matrix[k][k]
      right[i] = right[i] - ratio * right[k]
      for j in range(k, count):
        matrix[i][j] = matrix[i][j] - ratio * matrix[k][j]
  solution = [None] * count
  for k in reversed(range(count)):
    rest = right[k]
    for j in range(k + 1, count):
      rest = rest - matrix[k][j] * solution[j]
    solution[k] = rest / matrix[k][k]
  return solution
