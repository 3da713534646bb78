"""Dictionary matching of a noiseless scan returns the true maps."""

import numpy as np
import pytest
from scipy import ndimage

from mrf_jax.kspace.spiral import make_spiral
from mrf_jax.matching.dictionary import build_dictionary, grid_axis
from mrf_jax.matching.dot_product import match
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored
from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.phantom import make_phantom
from mrf_jax.simulation.subject import simulate_subject
from mrf_jax.simulation.tissue import TISSUES
from tests.simulation.examples import HEAD, REFERENCE

STEP_PERCENT = 5.0
PHANTOM = {
  "head": HEAD,
  "between_subjects": 0.03,
  "within_tissue": 0.0,
  "b1_deviation": 0.0,
}


@pytest.fixture(scope="module")
def matched():
  """Tissue fractions, subject and match of a noiseless scan with B1 = 1."""
  grid = SliceGrid(
    n_slices=1, matrix=192, fov_mm=256, slice_thickness_mm=5, centre_z_mm=12
  )
  subject = simulate_subject(
    "noiseless",
    np.random.default_rng(0),
    grid=grid,
    acquisition=Acquisition(tailored(), window=48, stride=4),
    spiral=make_spiral(
      matrix=192, n_arms=48, samples_per_arm=768, density_power=1.25
    ),
    phantom=PHANTOM,
    n_coils=4,
    noise_level=0.0,
    subspace_tolerance=1e-4,
    reference={**REFERENCE, "noise_level": 0.0},
  )
  dictionary = build_dictionary(
    subject.sequence,
    grid_axis(600, 5500, step_percent=STEP_PERCENT),
    grid_axis(40, 2500, step_percent=STEP_PERCENT),
    window=48,
    stride=4,
  )
  phantom = make_phantom(np.random.default_rng(0), grid, **PHANTOM)
  fractions = phantom.anatomy.fractions
  np.testing.assert_array_equal(fractions.sum(0) >= 0.5, subject.mask)
  return fractions, subject, match(dictionary, subject.signals)


@pytest.mark.parametrize("tissue", TISSUES)
def test_pure_voxels_have_true_values(matched, tissue):
  fractions, subject, maps = matched
  share = fractions[TISSUES.index(tissue)]
  pure = ndimage.minimum_filter(share, size=(1, 3, 3))[subject.mask] >= 0.99
  assert pure.sum() >= 20
  step = 1 + STEP_PERCENT / 100
  for name in ("t1_ms", "t2_ms"):
    ratio = getattr(maps, name)[pure] / getattr(subject.truth, name)[pure]
    assert 1 / step <= np.median(ratio) <= step, name
  ratio = maps.pd[pure] / subject.truth.pd[pure]
  assert np.median(ratio) == pytest.approx(1, abs=0.02)
