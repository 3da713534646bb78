"""Gauss–Newton steps of T1, T2 and B1 on interpolated atoms, compiled.

Proton density and phase are linear in the signal, so that they are eliminated
(variable projection, Golub & Pereyra 1973, in the form of Kaufman 1975).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex64, Float, Float32, Inexact

from mrf_jax.runtime.typing import AnyArray

# Levenberg's factor on the diagonal at the start, and its changes by a step
# that is taken or not.
_DAMPING, _LESS, _MORE = 1e-3, 0.2, 10.0
# Longest step, in coordinates from -1 to 1.
_LONGEST = 0.3
# Rounding error of a score in float32.
_ROUNDING = 1e-6


class Found(NamedTuple):
  """Where the search of some voxels has ended.

  Attributes:
    at: T1, T2 (ms) and B1; while it runs, coordinates from -1 to 1.
    factor: |c|.
    deviations: standard deviations of |c|, T1 and T2 (ms); while it runs, of
      |c|, log T1 and log T2.
    explained: energy of the signal that the fingerprint explains.
  """

  at: Float[AnyArray, "voxel 3"]
  factor: Float32[AnyArray, "voxel"]
  deviations: Float32[AnyArray, "voxel 3"]
  explained: Float32[AnyArray, "voxel"]


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
  """Gauss–Newton steps of some voxels within one range of T2."""
  free = (0, 1, 2) if is_b1_free else (0, 1)

  def fit(at):
    atoms, *slopes = _atoms_and_slopes(polynomials, at, free)
    norms = jnp.sum(jnp.abs(atoms) ** 2, 1)
    factor = jnp.sum(jnp.conj(atoms) * signals, 1) / norms
    return atoms, slopes, factor, norms

  def step(_, state):
    at, damping, (atoms, slopes, factor, norms) = state
    rest = signals - factor[:, None] * atoms
    columns = [
      factor[:, None]
      * (slope - (jnp.sum(jnp.conj(atoms) * slope, 1) / norms)[:, None] * atoms)
      for slope in slopes
    ]
    hessian = _products(columns, columns)
    gradient = [_product(column, rest) for column in columns]
    for k in range(len(free)):
      hessian[k][k] = hessian[k][k] * (1 + damping) + 1e-30
    moves = _solve(hessian, gradient)
    longest = functools.reduce(jnp.maximum, map(jnp.abs, moves))
    shorter = _LONGEST / jnp.maximum(longest, _LONGEST)
    moved = at
    for axis, move in zip(free, moves, strict=True):
      moved = moved.at[:, axis].add(shorter * move)
    moved = _with_t2_below_t1(jnp.clip(moved, -1, 1), log_ranges)
    there = fit(moved)
    # Near the best, scores are equal but for rounding, and steps still right.
    least = (1 - _ROUNDING) * _score((atoms, slopes, factor, norms))
    is_better = _score(there) >= least

    def choose(new, old):
      return jnp.where(is_better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    damping = jnp.where(is_better, _LESS * damping, _MORE * damping)
    here = (atoms, slopes, factor, norms)
    return choose(moved, at), damping, jax.tree.map(choose, there, here)

  damping = jnp.full(len(signals), _DAMPING, start.dtype)
  at, _, (atoms, slopes, factor, norms) = jax.lax.fori_loop(
    0, n_steps, step, (start, damping, fit(start))
  )
  explained = _score((atoms, slopes, factor, norms))
  columns = [factor[:, None] * x for x in (atoms, 1j * atoms, *slopes)]
  # Accelerators would otherwise round the factors.
  with jax.default_matmul_precision("highest"):
    sd = _deviations(columns, noise, energy - explained, n_windows)
  size = jnp.abs(factor)
  # Without that of the phase.
  of_size = jnp.where(size > 0, size * sd[:, 0], jnp.inf)
  of_logs = [sd[:, 2 + k] * log_ranges[k, 1] for k in (0, 1)]
  sd = jnp.stack([of_size, *of_logs], 1)
  return Found(at, size, sd, explained)


def _deviations(columns, noise, left, n_windows: int):
  """Standard deviations of a fit's parameters, [voxel, parameter].

  With the Jacobian J of the parameters and noise of covariance σ² N, estimates
  have the covariance H⁻¹ M H⁻¹ σ², where H = Re JᴴJ and M = Re JᴴNJ; σ² is what
  is left of the signal's energy, by the degrees of freedom of all windows less
  those that the fit takes.
  """
  spread = [column @ noise for column in columns]
  hessian, noisy = (
    jnp.stack([jnp.stack(row, 1) for row in _products(columns, right)], 1)
    for right in (columns, spread)
  )
  # Of relative changes, so that the matrix is well scaled.
  length = jnp.sqrt(jnp.diagonal(hessian, axis1=1, axis2=2))
  length = jnp.where(length > 0, length, 1.0)
  scale = length[:, :, None] * length[:, None]
  ridge = 1e-6 * jnp.eye(len(columns))[None]
  inverse = jnp.linalg.inv(hessian / scale + ridge) / scale
  freedom = 2 * n_windows - jnp.einsum("vij,vji->v", inverse, noisy)
  variance = jnp.maximum(left, 0) / jnp.maximum(freedom, 1)
  covariance = jnp.diagonal(inverse @ noisy @ inverse, axis1=1, axis2=2)
  sd = jnp.sqrt(jnp.maximum(covariance, 0) * variance[:, None])
  # Nothing is known of a signal of zeros.
  return jnp.where(hessian[:, :1, 0] > 0, sd, jnp.inf)


def _atoms_and_slopes(polynomials, at, free):
  """Fingerprints, and their derivatives along the free axes, [voxel, rank]."""
  n1, n2, n3, rank = polynomials.shape
  (t1, t1_slope), (t2, t2_slope), (b1, b1_slope) = (
    _chebyshev(at[:, k], n) for k, n in enumerate((n1, n2, n3))
  )
  of_b1 = polynomials.transpose(2, 0, 1, 3).reshape(n3, n1 * n2 * rank)

  def along_t1(weights, values):
    if n3 == 1:
      values = jnp.matmul(weights, values.reshape(n1, -1), precision="highest")
    else:
      values = jnp.einsum(
        "vi,vij->vj",
        weights,
        values.reshape(-1, n1, n2 * rank),
        precision="highest",
      )
    return values.reshape(-1, n2, rank)

  def along_t2(weights, values):
    return jnp.einsum("vj,vjr->vr", weights, values, precision="highest")

  here = of_b1 if n3 == 1 else jnp.matmul(b1, of_b1, precision="highest")
  middle = along_t1(t1, here)
  results = [
    along_t2(t2, middle),
    along_t2(t2, along_t1(t1_slope, here)),
    along_t2(t2_slope, middle),
  ]
  if 2 in free:
    beside = jnp.matmul(b1_slope, of_b1, precision="highest")
    results.append(along_t2(t2, along_t1(t1, beside)))
  return results


def _chebyshev(x, count: int):
  """Chebyshev polynomials and their derivatives, [voxel, polynomial]."""
  values, slopes = [jnp.ones_like(x), x], [jnp.zeros_like(x), jnp.ones_like(x)]
  for _ in range(2, count):
    slopes.append(2 * values[-1] + 2 * x * slopes[-1] - slopes[-2])
    values.append(2 * x * values[-1] - values[-2])
  return jnp.stack(values[:count], 1), jnp.stack(slopes[:count], 1)


def _with_t2_below_t1(at, log_ranges):
  """Coordinates with T2 reduced to T1 where it would be longer."""
  log_t1 = log_ranges[0, 0] + log_ranges[0, 1] * at[:, 0]
  most = (log_t1 - log_ranges[1, 0]) / jnp.maximum(log_ranges[1, 1], 1e-9)
  return at.at[:, 1].set(jnp.minimum(at[:, 1], jnp.maximum(most, -1)))


def _score(fit):
  """Energy of the signal that the fingerprint explains, [voxel]."""
  _, _, factor, norms = fit
  return jnp.abs(factor) ** 2 * norms


def _product(left, right):
  """Re ⟨left, right⟩, [voxel]."""
  return jnp.sum((jnp.conj(left) * right).real, 1)


def _products(left, right):
  """Re ⟨left, right⟩ of all pairs, as rows of columns, [voxel] each."""
  return [[_product(a, b) for b in right] for a in left]


def _solve(matrix, right):
  """Solves small positive definite systems, [voxel] each, by elimination."""
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
