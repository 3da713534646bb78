"""Voxel-wise fits of T1 to variable flip angles, and of T2 to spin echoes.

Both fits have one linear and one non-linear parameter, S = a · g(p), with
p = log T1 or log T2. They start from the usual straight line and end with
non-linear least squares, which gives every image the weight of its own noise.
They compute in float64: see `mrf_jax.relaxometry.variable_projection`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Float64

from mrf_jax.checks import check_finite, check_one_of, check_shape
from mrf_jax.errors import UserError
from mrf_jax.relaxometry.at_bounds import check_not_at_bounds
from mrf_jax.relaxometry.variable_projection import dot, minimise
from mrf_jax.runtime.threads import map_threads
from mrf_jax.signal.closed_form import spgr_signal
from mrf_jax.units import check_b1, check_echo_times, check_spgr

VFA_METHODS = ("nonlinear", "linear")
# Least and greatest times, ms: of tissue and of fluids.
T1_BOUNDS_MS = (50.0, 8000.0)
T2_BOUNDS_MS = (5.0, 4000.0)

# Voxels of one compiled call. On a CPU the arrays of a block stay in the
# cache; an accelerator needs more voxels at once.
_CPU_BLOCK = 4096
_ACCELERATOR_BLOCK = 262144


def fit_vfa_t1(
  signals,
  *,
  flip_angles_deg,
  tr_ms: float,
  b1=None,
  method: str = "nonlinear",
  bounds_ms: tuple[float, float] = T1_BOUNDS_MS,
  n_iterations: int = 20,
) -> tuple[Float32[np.ndarray, "voxel"], Float32[np.ndarray, "voxel"]]:
  r"""Fits T1 and M0 to spoiled gradient echoes of several flip angles.

  .. math::

    S = M_0 \sin a \, \frac{1 - E_1}{1 - E_1 \cos a}, \quad
    E_1 = e^{-\mathrm{TR} / T_1}

  Linear: S / sin(a) is a straight line of S / tan(a) with the slope E1 and the
  intercept M0 (1 - E1) (Gupta 1977). Non-linear: from there by
  Levenberg-Marquardt on all flip angles, see `variable_projection.minimise`.

  Args:
    signals: magnitudes, [voxel, flip], arbitrary units.
    flip_angles_deg: nominal flip angles, [flip], degrees.
    tr_ms: repetition time, ms.
    b1: factors on the flip angles, [voxel]; None for 1 everywhere.
    method: "nonlinear" or "linear".
    bounds_ms: least and greatest T1, ms. A line whose slope is outside their E1
      gets the nearest slope inside.
    n_iterations: steps of the non-linear fit.

  Returns:
    M0, [voxel], in units of the signals, and T1, [voxel], ms. A voxel of zeros
    has M0 = 0 and a T1 inside the bounds.

  Raises:
    UserError: shapes do not fit, the method is unknown, a value is not finite
      or not possible, or values look like another unit: seconds, µs, radians,
      per cent. With four voxels or more, T1 is at a bound in most of the
      signal.
  """
  where = "fit_vfa_t1"
  check_one_of(f"{where}: method", method, VFA_METHODS)
  signals = _check_signals(where, signals, "flip angles", flip_angles_deg)
  flips = _check_positive(where, "flip_angles_deg", flip_angles_deg)
  tr = _check_positive(where, "tr_ms", tr_ms)
  if tr.ndim:
    raise UserError(f"{where}: tr_ms has shape {tr.shape}, not one value")
  factors = np.ones(len(signals))
  if b1 is not None:
    factors = _check_positive(where, "b1", b1)
    check_shape(f"{where}: b1", factors, (len(signals),))
    check_b1(f"{where}: the median of b1", factors)
  check_spgr(where, flips, float(tr))
  largest_deg = flips.max() * factors.max(initial=0.0)
  if largest_deg >= 180.0:
    raise UserError(
      f"{where}: flip_angles_deg times b1 reaches {largest_deg:g}°, "
      "which is not below 180°"
    )
  bounds = _check_bounds(where, bounds_ms)
  steps = n_iterations if method == "nonlinear" else None

  def fit(signals, factors, flips=flips, tr=tr, bounds=bounds):
    return _fit_in_blocks(
      lambda s, b: _fit_vfa_block(s, b, flips, tr, bounds, steps),
      signals,
      factors,
    )

  def under(**changes):
    given = {"flips": flips, "tr": tr, **changes}

    def fit_some(some, voxels):
      b1 = factors[voxels]
      given.setdefault("bounds", np.array(T1_BOUNDS_MS))
      m0, t1_ms = fit(some, b1, **given)
      fitted = spgr_signal(
        m0[:, None],
        t1_ms[:, None],
        flip_angle_deg=given["flips"],
        tr_ms=given["tr"],
        b1=b1[:, None],
      )
      return t1_ms, np.asarray(fitted)

    return fit_some

  m0, t1_ms = fit(signals, factors)
  others = {
    "tr_ms is in seconds": under(tr=1e3 * tr),
    "tr_ms is in µs": under(tr=1e-3 * tr),
    "the flip angles are in the reverse order": under(flips=flips[::-1]),
    "bounds_ms is in seconds": under(bounds=1e3 * bounds),
  }
  if np.rad2deg(largest_deg) < 180.0:
    words = "flip_angles_deg is in radians"
    others = {words: under(flips=np.rad2deg(flips)), **others}
  check_not_at_bounds(
    where,
    "T1",
    signals,
    t1_ms,
    bounds_ms=bounds,
    usual_ms=T1_BOUNDS_MS,
    as_given=under(),
    others=others,
  )
  return m0, t1_ms


def fit_t2(
  signals,
  *,
  te_ms,
  bounds_ms: tuple[float, float] = T2_BOUNDS_MS,
  n_iterations: int = 20,
) -> tuple[Float32[np.ndarray, "voxel"], Float32[np.ndarray, "voxel"]]:
  r"""Fits T2 and the signal at TE = 0 to echoes of several echo times.

  .. math::

    S = S_0 e^{-\mathrm{TE} / T_2}

  It starts from the slope of log S against TE, with the weights S², which
  correct for the effect of the logarithm on the noise. Then
  Levenberg-Marquardt on all echoes, see `variable_projection.minimise`.

  Args:
    signals: magnitudes, [voxel, echo], arbitrary units.
    te_ms: echo times, [echo], ms.
    bounds_ms: least and greatest T2, ms.
    n_iterations: steps of the non-linear fit.

  Returns:
    S0, [voxel], in units of the signals, and T2, [voxel], ms. A voxel of zeros
    has S0 = 0 and a T2 inside the bounds.

  Raises:
    UserError: shapes do not fit, a value is not finite or not possible, or echo
      times look like seconds or µs. With four voxels or more, T2 is at a bound
      in most of the signal.
  """
  where = "fit_t2"
  signals = _check_signals(where, signals, "echo times", te_ms)
  te = _check_positive(where, "te_ms", te_ms)
  check_echo_times(where, te)
  bounds = _check_bounds(where, bounds_ms)

  def fit(signals, te=te, bounds=bounds):
    return _fit_in_blocks(
      lambda s, unused: _fit_t2_block(s, te, bounds, n_iterations),
      signals,
      np.empty(len(signals)),
    )

  def under(te=te, bounds=None):
    def fit_some(some, voxels):
      usual = np.array(T2_BOUNDS_MS)
      s0, t2_ms = fit(some, te, usual if bounds is None else bounds)
      return t2_ms, s0[:, None] * np.exp(-te / t2_ms[:, None])

    return fit_some

  s0, t2_ms = fit(signals)
  check_not_at_bounds(
    where,
    "T2",
    signals,
    t2_ms,
    bounds_ms=bounds,
    usual_ms=T2_BOUNDS_MS,
    as_given=under(),
    others={
      "te_ms is in seconds": under(te=1e3 * te),
      "te_ms is in µs": under(te=1e-3 * te),
      "the echo times are in the reverse order": under(te=te[::-1]),
      "bounds_ms is in seconds": under(bounds=1e3 * bounds),
    },
  )
  return s0, t2_ms


@functools.partial(jax.jit, static_argnames="n_iterations")
def _fit_vfa_block(
  signals: Float64[Array, "voxel flip"],
  b1: Float64[Array, "voxel"],
  flips_deg: Float64[Array, "flip"],
  tr_ms: Float64[Array, ""],
  bounds_ms: Float64[Array, "2"],
  n_iterations: int | None,
) -> tuple[Float64[Array, "voxel"], Float64[Array, "voxel"]]:
  """`fit_vfa_t1` of one block; None iterations return the straight line."""
  scaled, scale = _scaled(signals.T)  # [flip, voxel]
  a = jnp.deg2rad(flips_deg)[:, None] * b1[None]
  x, y = scaled / jnp.tan(a), scaled / jnp.sin(a)
  least, greatest = jnp.exp(-tr_ms / bounds_ms)
  e1 = jnp.clip(_slope(x, y, jnp.ones_like(a)), least, greatest)
  t1_ms = -tr_ms / jnp.log(e1)
  if n_iterations is None:
    # The line goes through the means, also if its slope was limited.
    m0 = jnp.mean(y - e1[None] * x, 0) / -jnp.expm1(-tr_ms / t1_ms)
    return m0 * scale, jnp.clip(t1_ms, *bounds_ms)

  def shape(log_t1):
    return spgr_signal(
      1.0,
      jnp.exp(log_t1)[None],
      flip_angle_deg=flips_deg[:, None],
      tr_ms=tr_ms,
      b1=b1[None],
    )

  m0, log_t1 = minimise(
    shape,
    scaled,
    jnp.log(t1_ms),
    bounds=jnp.log(bounds_ms),
    n_iterations=n_iterations,
  )
  return m0 * scale, jnp.clip(jnp.exp(log_t1), *bounds_ms)


@functools.partial(jax.jit, static_argnames="n_iterations")
def _fit_t2_block(
  signals: Float64[Array, "voxel echo"],
  te_ms: Float64[Array, "echo"],
  bounds_ms: Float64[Array, "2"],
  n_iterations: int,
) -> tuple[Float64[Array, "voxel"], Float64[Array, "voxel"]]:
  """`fit_t2` of one block."""
  scaled, scale = _scaled(signals.T)  # [echo, voxel]
  te = jnp.broadcast_to(te_ms[:, None], scaled.shape)
  # Signals that are not positive have no logarithm, and the weight zero.
  positive = jnp.maximum(scaled, 1e-6)
  weights = jnp.where(scaled > 0, positive**2, 0.0)
  rate = -_slope(te, jnp.log(positive), weights)
  least, greatest = 1.0 / bounds_ms[1], 1.0 / bounds_ms[0]

  def shape(log_t2):
    return jnp.exp(-te * jnp.exp(-log_t2)[None])

  s0, log_t2 = minimise(
    shape,
    scaled,
    -jnp.log(jnp.clip(rate, least, greatest)),
    bounds=jnp.log(bounds_ms),
    n_iterations=n_iterations,
  )
  return s0 * scale, jnp.clip(jnp.exp(log_t2), *bounds_ms)


def _slope(x: Array, y: Array, weights: Array) -> Array:
  """Slope of the weighted straight line through (x, y), [sample, voxel]."""
  tiny = jnp.finfo(x.dtype).tiny
  total = jnp.maximum(jnp.sum(weights, 0), tiny)
  x = x - (dot(weights, x) / total)[None]
  y = y - (dot(weights, y) / total)[None]
  return dot(weights * x, y) / jnp.maximum(dot(weights * x, x), tiny)


def _scaled(signals: Array) -> tuple[Array, Array]:
  """Signals divided by the largest magnitude of their voxel, and its value."""
  scale = jnp.max(jnp.abs(signals), 0)
  scale = jnp.where(scale > 0, scale, 1.0)
  return signals / scale[None], scale


def _fit_in_blocks(fit, signals, factors) -> tuple[np.ndarray, np.ndarray]:
  """Amplitudes and times of all voxels, by `fit` block after block."""
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
    # The switch to float64 applies to this thread only, so each thread sets it.
    with jax.enable_x64(True):
      a, t = fit(signals[rows].astype(np.float64), factors[rows])
    # A signal at TE = 0 that float32 cannot hold is infinite.
    with np.errstate(over="ignore"):
      amplitudes[start:stop] = np.asarray(a)[: stop - start]
    times_ms[start:stop] = np.asarray(t)[: stop - start]

  map_threads(fill, range(0, n_voxels, block))
  return amplitudes, times_ms


def _check_signals(where: str, signals, name: str, samples) -> np.ndarray:
  """The signals as an array, [voxel, sample], if they fit the samples."""
  signals = np.asarray(signals)
  if np.iscomplexobj(signals):
    raise UserError(f"{where}: signals are complex; magnitudes are needed")
  shape = np.shape(samples)
  if signals.ndim != 2 or len(shape) != 1 or signals.shape[1] != shape[0]:
    raise UserError(
      f"{where}: signals have shape {signals.shape}, {name} {shape}; "
      "[voxel, n] and [n] are needed"
    )
  if len(np.unique(np.asarray(samples))) < 2:
    raise UserError(f"{where}: at least two different {name} are needed")
  check_finite(f"{where}: signals", signals)
  return signals


def _check_positive(where: str, name: str, values) -> np.ndarray:
  """The values as float64, if they are positive and finite."""
  values = np.asarray(values, np.float64)
  bad = np.argwhere(~(np.isfinite(values) & (values > 0)))
  if len(bad):
    value = f"{values[tuple(bad[0])]:g}"
    place = f" at {bad[0].tolist()}" if values.ndim else ""
    raise UserError(f"{where}: {name} must be positive, not {value}{place}")
  return values


def _check_bounds(where: str, bounds_ms) -> np.ndarray:
  """The two bounds as float64, if they are in order."""
  bounds = _check_positive(where, "bounds_ms", bounds_ms)
  if bounds.shape != (2,) or bounds[0] >= bounds[1]:
    raise UserError(f"{where}: bounds_ms {bounds_ms} are not (least, greatest)")
  return bounds
