"""Variable projection: least squares with one linear parameter, of all voxels.

SciPy's `least_squares` was looked at: it solves one voxel a call. `jaxopt` and
`optimistix` have no variable projection: they would search both parameters,
with a linear solve in every step, and `jaxopt.LevenbergMarquardt` has no
bounds.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# With much noise a voxel's straight line is a bad start. At a signal-to-noise
# ratio of 3, these further starts bring variable flip angles to the least cost
# in 99 % of the voxels instead of 96 %.
_N_STARTS = 8


def minimise(
  shape: Callable[[Array], Array],
  signals: Float[Array, "sample voxel"],
  start: Float[Array, "voxel"],
  *,
  bounds: Float[Array, "2"],
  n_iterations: int,
) -> tuple[Float[Array, "voxel"], Float[Array, "voxel"]]:
  r"""Minimises the squares of S − a g(p) over a and p, in each voxel alone.

  For any p the best a has a closed form, so only p is searched, by
  Levenberg-Marquardt on the projected residual r with the Jacobian J:

  .. math::

    a = \frac{\langle g, S \rangle}{\langle g, g \rangle}, \quad r = S - a g,
    \quad J = a \left( g' - g \,
    \frac{\langle g, g' \rangle}{\langle g, g \rangle} \right)

  (variable projection: Golub and Pereyra 1973, as simplified by Kaufman 1975).
  A step ⟨J, r⟩ / (⟨J, J⟩ (1 + damping)) is taken only if it lowers the cost;
  then the damping decreases, otherwise it increases.

  Steps below the square root of the cost's rounding error do not change the
  cost. In float32 this leaves p uncertain by about 1e-4, so the arrays should
  be float64 (under `jax.enable_x64`).

  Args:
    shape: g, a function of [voxel] to [sample, voxel].
    signals: S, of order one.
    start: first p, unless one of a few p between the bounds has a lower cost.
    bounds: least and greatest p.
    n_iterations: number of steps.

  Returns:
    a, [voxel], in units of the signals, and p inside the bounds, [voxel].
  """
  tiny = jnp.finfo(signals.dtype).tiny

  def amplitude(g):
    return dot(g, signals) / jnp.maximum(dot(g, g), tiny)

  def cost_of(p):
    g = shape(p)
    residual = signals - amplitude(g)[None] * g
    return dot(residual, residual)

  def iterate(_, state):
    p, damping, cost = state
    g, slope = jax.jvp(shape, (p,), (jnp.ones_like(p),))
    a = amplitude(g)[None]
    residual = signals - a * g
    along = dot(g, slope) / jnp.maximum(dot(g, g), tiny)
    jacobian = a * (slope - along[None] * g)
    curvature = dot(jacobian, jacobian) * (1.0 + damping)
    step = dot(jacobian, residual) / jnp.maximum(curvature, tiny)
    trial = jnp.clip(p + step, bounds[0], bounds[1])
    trial_cost = cost_of(trial)
    better = trial_cost < cost
    p = jnp.where(better, trial, p)
    damping = jnp.where(better, damping * 0.1, damping * 10.0)
    damping = jnp.clip(damping, 1e-6, 1e6)
    return p, damping, jnp.where(better, trial_cost, cost)

  p = jnp.clip(start, bounds[0], bounds[1])
  cost = cost_of(p)
  for other_start in jnp.linspace(bounds[0], bounds[1], _N_STARTS):
    other = jnp.full_like(p, other_start)
    other_cost = cost_of(other)
    p = jnp.where(other_cost < cost, other, p)
    cost = jnp.minimum(other_cost, cost)
  state = (p, jnp.full_like(p, 1e-2), cost)
  p, _, _ = jax.lax.fori_loop(0, n_iterations, iterate, state)
  return amplitude(shape(p)), p


def dot(x: Array, y: Array) -> Array:
  """Inner product over the samples of each voxel."""
  return jnp.sum(x * y, 0)
