"""Reference maps as acquired: variable flip angles and fast spin echo."""

import numpy as np
from jaxtyping import Float

from mrf_jax.checks import check_t2_bound
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.relaxometry.fits import T2_BOUNDS_MS, fit_t2, fit_vfa_t1
from mrf_jax.signal.closed_form import spgr_signal
from mrf_jax.signal.fast_spin_echo import fast_spin_echo_signal
from mrf_jax.signal.slice_profile import sinc_slice_profile


def acquire_reference(
  rng: np.random.Generator,
  fractions: Float[np.ndarray, "tissue voxel"],
  tissues: dict[str, Maps],
  b1: Float[np.ndarray, "voxel"],
  *,
  flip_angles_deg,
  vfa_tr_ms: float,
  te_ms,
  fse_tr_ms: float,
  refocusing_deg: float,
  noise_level: float,
  t2_bound_ms: float | None = None,
  slice_time_bandwidth: float | None = None,
) -> Maps:
  """Reference maps with their own noise, partial volume and B1 errors.

  Spoiled gradient echoes of several flip angles give T1 and PD, the echoes of
  a fast spin echo give T2, as in the paper. The fits take nominal flip angles.
  Images are fully sampled magnitudes, so that their noise is Rician.

  Args:
    rng: random numbers of the noise.
    fractions: volume share of each tissue.
    tissues: maps of each tissue, in the same order.
    b1: factor on all flip angles.
    flip_angles_deg: flip angles of the gradient echoes, [flip], degrees.
    vfa_tr_ms: repetition time of the gradient echoes, ms.
    te_ms: echo times of the fast spin echo, [echo], ms, multiples of the
      first.
    fse_tr_ms: repetition time of the fast spin echo, ms.
    refocusing_deg: its nominal refocusing angle, degrees, which B1 scales.
    noise_level: standard deviation of the noise on the real and on the
      imaginary part, relative to the mean brain signal of the strongest image
      of each series.
    t2_bound_ms: greatest T2 of the fit, ms, since the echoes hardly tell longer
      ones; None is that of `fit_t2`.
    slice_time_bandwidth: time-bandwidth product of the sinc pulses of the fast
      spin echo, see `sinc_slice_profile`; None is an ideal slice. Gradient
      echoes of so short a TR excite a slab.

  Returns:
    PD, T1 and T2 of the fits.

  Raises:
    UserError: the echo times are not multiples of the first, or the bound is
      below the last.
  """
  te_ms = np.asarray(te_ms, np.float64)
  if not np.allclose(te_ms, te_ms[0] * np.arange(1, te_ms.size + 1)):
    raise UserError(
      f"reference: te_ms {te_ms.tolist()} are not 1, 2, … {te_ms.size} times "
      "the first"
    )

  check_t2_bound(t2_bound_ms, te_ms)
  bounds_ms = T2_BOUNDS_MS
  if t2_bound_ms is not None:
    bounds_ms = (T2_BOUNDS_MS[0], t2_bound_ms)

  def magnitudes(signal_of, sub_slices=((1.0, 1.0),)):
    clean = sum(
      weight * share[:, None] * np.asarray(signal_of(maps, factor * b1))
      for share, maps in zip(fractions, tissues.values(), strict=True)
      for factor, weight in sub_slices
    )
    sd = noise_level * clean.mean(0).max()
    noise = rng.normal(scale=sd, size=(2, *clean.shape)) if sd else np.zeros(2)
    # The magnitude of complex Gaussian noise around a real signal is Rician.
    return np.hypot(clean + noise[0], noise[1]).astype(np.float32)

  vfa = magnitudes(
    lambda m, b1: spgr_signal(
      m.pd[:, None],
      m.t1_ms[:, None],
      flip_angle_deg=np.asarray(flip_angles_deg, np.float32),
      tr_ms=vfa_tr_ms,
      b1=b1[:, None],
    )
  )
  sub_slices = [(1.0, 1.0)]
  if slice_time_bandwidth is not None:
    profile = sinc_slice_profile(time_bandwidth=slice_time_bandwidth)
    sub_slices = list(zip(profile.flip_factors, profile.weights, strict=True))
  echoes = magnitudes(
    # Beyond the zeros of a profile the excitation has the other sign.
    lambda m, b1: (
      np.sign(b1)[:, None]
      * fast_spin_echo_signal(
        m.pd,
        m.t1_ms,
        m.t2_ms,
        echo_spacing_ms=te_ms[0],
        n_echoes=te_ms.size,
        tr_ms=fse_tr_ms,
        refocusing_deg=refocusing_deg,
        b1=b1,
      )
    ),
    sub_slices,
  )
  pd, t1_ms = fit_vfa_t1(vfa, flip_angles_deg=flip_angles_deg, tr_ms=vfa_tr_ms)
  _, t2_ms = fit_t2(echoes, te_ms=te_ms, bounds_ms=bounds_ms)
  return Maps(np.asarray(pd), np.asarray(t1_ms), np.asarray(t2_ms))
