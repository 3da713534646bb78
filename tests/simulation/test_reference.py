import numpy as np
import pytest

from configs import paper
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.relaxometry.fits import fit_t2
from mrf_jax.signal.fast_spin_echo import fast_spin_echo_signal
from mrf_jax.signal.slice_profile import sinc_slice_profile
from mrf_jax.simulation.reference import acquire_reference

PROTOCOL = {
  **paper.get_config().reference,
  "noise_level": 0.0,
  "t2_bound_ms": None,
}
TISSUE = Maps.unstack(np.tile(np.float32([0.7, 685, 68]), (500, 1)))


def acquire(b1=1.0, **changes):
  return acquire_reference(
    np.random.default_rng(0),
    np.ones((1, 500), np.float32),
    {"wm": TISSUE},
    np.full(500, b1, np.float32),
    **{**PROTOCOL, **changes},
  )


def test_without_noise_the_maps_are_true():
  np.testing.assert_allclose(acquire().stack(), TISSUE.stack(), rtol=1e-3)


def test_b1_biases_t1_by_its_square():
  # Small angles: S depends on (b1 a)² T1, which the fit takes for a² T1.
  assert acquire(b1=0.9).t1_ms[0] == pytest.approx(0.81 * 685, rel=0.03)


@pytest.mark.parametrize(
  "change", [{"b1": 0.85}, {"b1": 1.15}, {"refocusing_deg": 150.0}]
)
def test_imperfect_refocusing_lengthens_t2(change):
  # Stimulated echoes: some of the signal decays with T1 for a while.
  assert 1.02 < acquire(**change).t2_ms[0] / 68 < 1.15


def test_uneven_echo_times_are_refused():
  with pytest.raises(UserError, match=r"te_ms \[20.0, 50.0\] are not"):
    acquire(te_ms=(20.0, 50.0))


def test_noise_scatters_the_maps():
  values = acquire(noise_level=0.01).stack()
  scatter = values.std(0) / values.mean(0)
  assert np.all((scatter > 0.001) & (scatter < 0.1))


def test_echoes_of_a_profile_are_the_sum_over_its_sub_slices():
  profile = sinc_slice_profile(time_bandwidth=4.0)
  echoes = sum(
    # Beyond the zeros of the profile the excitation has the other sign.
    weight
    * np.sign(factor)
    * np.asarray(
      fast_spin_echo_signal(
        TISSUE.pd[:1],
        TISSUE.t1_ms[:1],
        TISSUE.t2_ms[:1],
        echo_spacing_ms=20.0,
        n_echoes=8,
        tr_ms=PROTOCOL["fse_tr_ms"],
        refocusing_deg=180.0,
        b1=np.array([factor]),
      )
    )
    for factor, weight in zip(
      profile.flip_factors, profile.weights, strict=True
    )
  )
  _, t2_ms = fit_t2(np.abs(echoes), te_ms=20.0 * np.arange(1, 9))
  found = acquire(slice_time_bandwidth=4.0)
  np.testing.assert_allclose(found.t2_ms[0], t2_ms[0], rtol=1e-4)
  # The gradient echoes excite a slab.
  np.testing.assert_array_equal(found.t1_ms, acquire().t1_ms)


def test_edges_of_the_slice_lengthen_t2():
  """There, refocusing angles are small, and stimulated echoes arise."""
  t2_ms = acquire(slice_time_bandwidth=4.0).t2_ms[0]
  assert 1.05 * 68 < t2_ms < 1.6 * 68


def test_a_bounded_fit_ends_at_its_bound():
  fluid = Maps.unstack(np.tile(np.float32([1.0, 4500, 2000]), (500, 1)))
  with_fluid = {"wm": TISSUE, "csf": fluid}

  def t2_of(share, **changes):
    return acquire_reference(
      np.random.default_rng(0),
      np.array([[1 - share], [share]], np.float32).repeat(500, 1),
      with_fluid,
      np.ones(500, np.float32),
      **{**PROTOCOL, **changes},
    ).t2_ms[0]

  assert t2_of(1.0) == pytest.approx(2000, rel=1e-2)
  assert t2_of(1.0, t2_bound_ms=1100.0) == pytest.approx(1100, rel=1e-3)
  # What the echoes tell stays as it is.
  assert t2_of(0.0, t2_bound_ms=1100.0) == pytest.approx(t2_of(0.0), rel=1e-4)


def test_a_bound_below_the_echoes_is_refused():
  words = "reference.t2_bound_ms is 80, not at least the last echo at 160 ms"
  with pytest.raises(UserError, match=words):
    acquire(t2_bound_ms=80.0)
