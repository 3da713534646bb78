import numpy as np
import pytest

from configs import paper
from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.simulation.reference import acquire_reference

PROTOCOL = {**paper.get_config().reference, "noise_level": 0.0}
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
