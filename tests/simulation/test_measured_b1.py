"""A B1 map that is measured beside a simulated scan."""

import numpy as np

from mrf_jax import tailored
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.simulation.imperfections import Imperfections
from tests.simulation.examples import scan_head

ACQUISITION = Acquisition(tailored(60), window=12, stride=12)


def test_a_measured_map_changes_nothing_else():
  plain = scan_head(ACQUISITION, noise_level=0.1)
  measured = scan_head(
    ACQUISITION,
    noise_level=0.1,
    imperfections=Imperfections(b1_map_error=0.03),
  )
  assert plain.b1 is None and measured.b1.dtype == np.float32
  error = measured.b1 - plain.true_b1
  assert abs(error.std() / 0.03 - 1) < 0.15 and abs(error.mean()) < 0.01
  np.testing.assert_array_equal(measured.signals, plain.signals)
  np.testing.assert_array_equal(measured.maps.stack(), plain.maps.stack())
  again = scan_head(
    ACQUISITION,
    noise_level=0.1,
    imperfections=Imperfections(b1_map_error=0.03),
  )
  np.testing.assert_array_equal(again.b1, measured.b1)


def test_a_map_without_error_is_the_truth():
  exact = scan_head(ACQUISITION, imperfections=Imperfections(b1_map_error=0.0))
  np.testing.assert_array_equal(exact.b1, exact.true_b1)
