"""Reference images to T1, T2 and equilibrium magnetisation, voxel by voxel.

Both fits have one linear and one non-linear parameter, S = a · g(p), with
p = log T1 or log T2. They start from the textbook straight line and end in
non-linear least squares, which weights every image by its own noise.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32

from mrf_jax.errors import UserError
from mrf_jax.parallel import map_threads
from mrf_jax.signal.closed_form import spgr_signal

# Voxels of one compiled call. On a CPU the arrays of a block stay in the
# cache; an accelerator wants more at once.
_CPU_BLOCK = 4096
_ACCELERATOR_BLOCK = 262144


def fit_vfa_t1(
  signals,
  *,
  flip_angles_deg,
  tr_ms: float,
  b1=None,
  bounds_ms: tuple[float, float] = (50.0, 8000.0),
  n_iterations: int = 20,
) -> tuple[Float32[np.ndarray, "voxel"], Float32[np.ndarray, "voxel"]]:
  """T1 and M0 from spoiled gradient echoes of several flip angles.

    S = M0 sin(a) (1 - E1) / (1 - E1 cos(a)),  E1 = exp(-TR / T1)

  Start: the slope of S / sin(a) against S / tan(a) is E1 (Gupta 1977). Then
  Levenberg-Marquardt on all flip angles, see `_least_squares`.

  Args:
    signals: magnitudes, [voxel, flip], arbitrary units.
    flip_angles_deg: nominal flip angles, [flip], degrees.
    tr_ms: repetition time, ms.
    b1: factors on the flip angles, [voxel]; None for 1 everywhere.
    bounds_ms: least and greatest T1, ms.
    n_iterations: steps of the non-linear fit.

  Returns:
    M0, [voxel], in units of the signals, and T1, [voxel], ms. A voxel that
    says nothing about T1 (zeros) has M0 = 0 and a T1 inside the bounds.

  Raises:
    UserError: shapes do not fit, or a value is not finite or not possible.
  """
  where = "fit_vfa_t1"
  signals = _check_signals(where, signals, "flip angles", flip_angles_deg)
  flips = _check_positive(where, "flip_angles_deg", flip_angles_deg)
  tr = _check_positive(where, "tr_ms", tr_ms)
  if tr.ndim:
    raise UserError(f"{where}: tr_ms has shape {tr.shape}, not one value")
  factors = np.ones(len(signals), np.float32)
  if b1 is not None:
    factors = _check_positive(where, "b1", b1)
    if factors.shape != (len(signals),):
      raise UserError(
        f"{where}: b1 has shape {factors.shape}, but there are "
        f"{len(signals)} voxels"
      )
  if flips.max() * factors.max(initial=0.0) >= 180.0:
    raise UserError(f"{where}: flip angles times b1 must stay below 180°")
  bounds = _check_bounds(where, bounds_ms)
  return _fit_in_blocks(
    lambda s, b: _fit_vfa_block(s, b, flips, tr, bounds, n_iterations),
    signals,
    factors,
  )


def fit_t2(
  signals,
  *,
  te_ms,
  bounds_ms: tuple[float, float] = (5.0, 4000.0),
  n_iterations: int = 20,
) -> tuple[Float32[np.ndarray, "voxel"], Float32[np.ndarray, "voxel"]]:
  """T2 and the signal at TE = 0 from echoes of several echo times.

    S = S0 exp(-TE / T2)

  Start: the slope of log S against TE, weighted by S², which undoes what the
  logarithm does to the noise. Then Levenberg-Marquardt on all echoes, see
  `_least_squares`.

  Args:
    signals: magnitudes, [voxel, echo], arbitrary units.
    te_ms: echo times, [echo], ms.
    bounds_ms: least and greatest T2, ms.
    n_iterations: steps of the non-linear fit.

  Returns:
    S0, [voxel], in units of the signals, and T2, [voxel], ms. A voxel that
    says nothing about T2 (zeros) has S0 = 0 and a T2 inside the bounds.

  Raises:
    UserError: shapes do not fit, or a value is not finite or not possible.
  """
  where = "fit_t2"
  signals = _check_signals(where, signals, "echo times", te_ms)
  te = _check_positive(where, "te_ms", te_ms)
  bounds = _check_bounds(where, bounds_ms)
  return _fit_in_blocks(
    lambda s, unused: _fit_t2_block(s, te, bounds, n_iterations),
    signals,
    np.empty(len(signals), np.float32),
  )


@functools.partial(jax.jit, static_argnames="n_iterations")
def _fit_vfa_block(
  signals: Float32[Array, "voxel flip"],
  b1: Float32[Array, "voxel"],
  flips_deg: Float32[Array, "flip"],
  tr_ms: Float32[Array, ""],
  bounds_ms: Float32[Array, "2"],
  n_iterations: int,
) -> tuple[Float32[Array, "voxel"], Float32[Array, "voxel"]]:
  """`fit_vfa_t1` of one block."""
  scaled, scale = _scaled(signals.T)  # [flip, voxel]
  a = jnp.deg2rad(flips_deg)[:, None] * b1[None]
  e1 = _slope(scaled / jnp.tan(a), scaled / jnp.sin(a), jnp.ones_like(a))
  least, greatest = jnp.exp(-tr_ms / bounds_ms)
  start = jnp.log(-tr_ms / jnp.log(jnp.clip(e1, least, greatest)))

  def shape(log_t1):
    return spgr_signal(
      1.0,
      jnp.exp(log_t1)[None],
      flip_angle_deg=flips_deg[:, None],
      tr_ms=tr_ms,
      b1=b1[None],
    )

  return _least_squares(shape, scaled, scale, start, bounds_ms, n_iterations)


@functools.partial(jax.jit, static_argnames="n_iterations")
def _fit_t2_block(
  signals: Float32[Array, "voxel echo"],
  te_ms: Float32[Array, "echo"],
  bounds_ms: Float32[Array, "2"],
  n_iterations: int,
) -> tuple[Float32[Array, "voxel"], Float32[Array, "voxel"]]:
  """`fit_t2` of one block."""
  scaled, scale = _scaled(signals.T)  # [echo, voxel]
  te = jnp.broadcast_to(te_ms[:, None], scaled.shape)
  # Signals that are not positive have no logarithm, and weigh nothing.
  positive = jnp.maximum(scaled, 1e-6)
  weights = jnp.where(scaled > 0, positive**2, 0.0)
  rate = -_slope(te, jnp.log(positive), weights)
  least, greatest = 1.0 / bounds_ms[1], 1.0 / bounds_ms[0]
  start = -jnp.log(jnp.clip(rate, least, greatest))

  def shape(log_t2):
    return jnp.exp(-te * jnp.exp(-log_t2)[None])

  return _least_squares(shape, scaled, scale, start, bounds_ms, n_iterations)


def _least_squares(
  shape: Callable[[Array], Array],
  signals: Float32[Array, "sample voxel"],
  scale: Float32[Array, "voxel"],
  start: Float32[Array, "voxel"],
  bounds: Float32[Array, "2"],
  n_iterations: int,
) -> tuple[Float32[Array, "voxel"], Float32[Array, "voxel"]]:
  """Minimises |S - a g(p)|² over a and p, each voxel by itself.

  The best a of any p has a closed form, a = ⟨g, S⟩ / ⟨g, g⟩, so only p is
  searched: Levenberg-Marquardt on the projected residual r = S - a g with
  the Jacobian J = a (g' - g ⟨g, g'⟩ / ⟨g, g⟩)
  (variable projection: Golub and Pereyra 1973, as simplified by Kaufman 1975).
  A step ⟨J, r⟩ / (⟨J, J⟩ (1 + damping)) counts only where it lowers the cost;
  there the damping falls, elsewhere it rises.

  Args:
    shape: g, of [voxel] to [sample, voxel].
    signals: S, of order one.
    scale: what the signals were divided by.
    start: first p = log T.
    bounds: least and greatest T, ms.
    n_iterations: steps.

  Returns:
    a · scale, and T inside the bounds, ms.
  """
  least, greatest = jnp.log(bounds)
  tiny = jnp.finfo(signals.dtype).tiny

  def amplitude(g):
    return _dot(g, signals) / jnp.maximum(_dot(g, g), tiny)

  def cost_of(p):
    g = shape(p)
    residual = signals - amplitude(g)[None] * g
    return _dot(residual, residual)

  def iterate(_, state):
    p, damping, cost = state
    g, slope = jax.jvp(shape, (p,), (jnp.ones_like(p),))
    a = amplitude(g)[None]
    residual = signals - a * g
    along = _dot(g, slope) / jnp.maximum(_dot(g, g), tiny)
    jacobian = a * (slope - along[None] * g)
    curvature = _dot(jacobian, jacobian) * (1.0 + damping)
    step = _dot(jacobian, residual) / jnp.maximum(curvature, tiny)
    trial = jnp.clip(p + step, least, greatest)
    trial_cost = cost_of(trial)
    better = trial_cost < cost
    p = jnp.where(better, trial, p)
    damping = jnp.where(better, damping * 0.1, damping * 10.0)
    damping = jnp.clip(damping, 1e-6, 1e6)
    return p, damping, jnp.where(better, trial_cost, cost)

  p = jnp.clip(start, least, greatest)
  state = (p, jnp.full_like(p, 1e-2), cost_of(p))
  p, _, _ = jax.lax.fori_loop(0, n_iterations, iterate, state)
  return amplitude(shape(p)) * scale, jnp.clip(jnp.exp(p), *bounds)


def _slope(x: Array, y: Array, weights: Array) -> Array:
  """Slope of the weighted straight line through (x, y), [sample, voxel]."""
  tiny = jnp.finfo(x.dtype).tiny
  total = jnp.maximum(jnp.sum(weights, 0), tiny)
  x = x - (_dot(weights, x) / total)[None]
  y = y - (_dot(weights, y) / total)[None]
  return _dot(weights * x, y) / jnp.maximum(_dot(weights * x, x), tiny)


def _dot(x: Array, y: Array) -> Array:
  """Inner product over the samples of each voxel."""
  return jnp.sum(x * y, 0)


def _scaled(signals: Array) -> tuple[Array, Array]:
  """Signals divided by the largest magnitude of their voxel, and that."""
  scale = jnp.max(jnp.abs(signals), 0)
  scale = jnp.where(scale > 0, scale, 1.0)
  return signals / scale[None], scale


def _fit_in_blocks(fit, signals, factors) -> tuple[np.ndarray, np.ndarray]:
  """`fit` of block after block: amplitudes and times of all voxels."""
  n_voxels = len(signals)
  on_cpu = jax.default_backend() == "cpu"
  block = _CPU_BLOCK if on_cpu else _ACCELERATOR_BLOCK
  block = min(block, max(1, n_voxels))
  amplitudes = np.empty(n_voxels, np.float32)
  times_ms = np.empty(n_voxels, np.float32)

  def fill(start: int) -> None:
    # The last block is padded by repetition, so that one program serves all.
    rows = np.minimum(np.arange(start, start + block), n_voxels - 1)
    stop = min(start + block, n_voxels)
    a, t = fit(signals[rows], factors[rows])
    amplitudes[start:stop] = np.asarray(a)[: stop - start]
    times_ms[start:stop] = np.asarray(t)[: stop - start]

  map_threads(fill, range(0, n_voxels, block))
  return amplitudes, times_ms


def _check_signals(where: str, signals, name: str, samples) -> np.ndarray:
  """The signals as float32 [voxel, sample]."""
  signals = np.asarray(signals)
  if np.iscomplexobj(signals):
    raise UserError(f"{where}: signals are complex; magnitudes are wanted")
  shape = np.shape(samples)
  if signals.ndim != 2 or len(shape) != 1 or signals.shape[1] != shape[0]:
    raise UserError(
      f"{where}: signals have shape {signals.shape}, {name} {shape}; "
      "[voxel, n] and [n] are wanted"
    )
  if len(np.unique(np.asarray(samples))) < 2:
    raise UserError(f"{where}: two different {name} are needed at least")
  n_bad = signals.size - np.count_nonzero(np.isfinite(signals))
  if n_bad:
    raise UserError(f"{where}: {n_bad} signals are NaN or infinite")
  return signals.astype(np.float32, copy=False)


def _check_positive(where: str, name: str, values) -> np.ndarray:
  """The values as float32."""
  values = np.asarray(values, np.float32)
  if not np.all(np.isfinite(values) & (values > 0)):
    raise UserError(f"{where}: {name} must be positive")
  return values


def _check_bounds(where: str, bounds_ms) -> np.ndarray:
  """The two bounds as float32."""
  bounds = _check_positive(where, "bounds_ms", bounds_ms)
  if bounds.shape != (2,) or bounds[0] >= bounds[1]:
    raise UserError(f"{where}: bounds_ms {bounds_ms} are not (least, greatest)")
  return bounds
