import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.simulation.anatomy import SliceGrid, make_head
from mrf_jax.simulation.fields import b1_field, coil_sensitivities, smooth_noise
from mrf_jax.simulation.nuclei import NUCLEI_AT_1_5T
from mrf_jax.simulation.tissue import BRAIN_AT_1_5T, mix, tissue_maps
from tests.simulation.examples import HEAD

GRID = SliceGrid(
  n_slices=2, matrix=48, fov_mm=256, slice_thickness_mm=5, centre_z_mm=15
)
OPTIONS = {"sharpness": 2.0, "warp_mm": 3.0, "rotation_deg": 3.0}


def head(seed=0, grid=GRID, scaling=0.03):
  rng = np.random.default_rng(seed)
  return make_head(rng, grid, **OPTIONS, scaling=scaling)


def test_fractions_are_those_of_brain():
  subject = head()
  total = subject.fractions.sum(0)
  assert subject.fractions.min() >= 0
  assert total.max() <= 1 + 1e-5
  np.testing.assert_array_equal(subject.mask, total >= 0.5)
  # A brain in these slices covers some 200 cm² and holds all three tissues.
  area_cm2 = subject.mask[0].sum() * np.prod(GRID.voxel_mm[:2]) / 100
  assert 150 < area_cm2 < 240
  assert np.all(subject.fractions[:, subject.mask].max(1) > 0.9)


def test_partial_volume_is_real():
  subject = head()
  inside = subject.fractions[:, subject.mask]
  mixed = np.mean(inside.max(0) < 0.95)
  assert 0.3 < mixed < 0.95


def test_subjects_differ_and_seeds_repeat():
  np.testing.assert_array_equal(head(0).fractions, head(0).fractions)
  assert np.mean(head(0).mask != head(1).mask) > 0.005


def test_ventricles_are_in_the_middle():
  subject = head()
  csf = subject.fractions[2, 1]
  points = GRID.points_mm()[1]
  lateral = np.average(np.abs(points[..., 0]), weights=csf > 0.9)
  assert lateral < 30


def test_affine_maps_the_corner_voxel():
  centre = GRID.points_mm()[1, 5, 7]
  np.testing.assert_allclose(GRID.affine @ [7, 5, 1, 1], [*centre, 1])


def test_slices_without_brain_are_refused():
  above = SliceGrid(1, 32, 256, 5, 300.0)
  with pytest.raises(UserError, match="no brain"):
    head(grid=above)


def test_b1_stays_within_its_deviation():
  points = GRID.points_mm().reshape(-1, 3)
  field = b1_field(np.random.default_rng(0), points, deviation=0.15)
  assert np.abs(field - 1).max() <= 0.15 + 1e-6
  assert field.std() > 0.02


def test_smooth_noise_covariance():
  points = np.random.default_rng(1).uniform(-300, 300, (20000, 3))
  rng = np.random.default_rng(2)
  both = np.concatenate([points, points + np.array([10.0, 0, 0])])
  fields = [smooth_noise(rng, both, correlation_mm=40.0) for _ in range(8)]
  assert np.std(fields) == pytest.approx(1, abs=0.15)
  halves = [np.split(field, 2) for field in fields]
  correlation = np.mean([np.corrcoef(a, b)[0, 1] for a, b in halves])
  # exp(-(10/40)² / 2) of a Gaussian covariance.
  assert correlation == pytest.approx(0.969, abs=0.02)


def test_coils_are_different_and_scaled():
  points = GRID.points_mm()[0].reshape(-1, 3)
  points = points - points.mean(0)
  maps = coil_sensitivities(points, n_coils=8)
  near = np.linalg.norm(points, axis=1) < 80
  power = np.sum(np.abs(maps) ** 2, 0)
  assert power[near].mean() == pytest.approx(1, rel=1e-4)
  correlation = np.abs(np.corrcoef(maps[:, near]))
  assert np.all(correlation[np.triu_indices(8, 1)] < 0.999)


def test_tissue_values_scatter_about_the_table():
  points = GRID.points_mm()[0].reshape(-1, 3)
  options = {"between_subjects": 0.03, "within_tissue": 0.04}
  values = [
    tissue_maps(np.random.default_rng(seed), points, **options)
    for seed in range(20)
  ]
  for tissue, (t1, t2, pd) in BRAIN_AT_1_5T.items():
    samples = np.stack([v[tissue].stack() for v in values])
    np.testing.assert_allclose(samples.mean((0, 1)), (pd, t1, t2), rtol=0.03)
    assert samples[..., 1].std() / t1 == pytest.approx(0.05, abs=0.015)


def test_mixed_voxels_show_the_mean_rate():
  one = Maps(pd=np.array([1.0]), t1_ms=np.array([1000.0]), t2_ms=np.array([50]))
  two = Maps(pd=np.array([0.5]), t1_ms=np.array([500.0]), t2_ms=np.array([100]))
  mixed = mix(np.array([[0.5], [0.5]]), {"a": one, "b": two})
  assert mixed.pd[0] == pytest.approx(0.75)
  # Weights 2/3 and 1/3 of the water.
  assert mixed.t1_ms[0] == pytest.approx(1 / (2 / 3 / 1000 + 1 / 3 / 500))
  assert mixed.t2_ms[0] == pytest.approx(1 / (2 / 3 / 50 + 1 / 3 / 100))


def test_deep_grey_nuclei_displace_white_and_grey_matter():
  plain = make_head(np.random.default_rng(0), GRID, **HEAD)
  options = {**HEAD, "deep_grey": True}
  head = make_head(np.random.default_rng(0), GRID, **options)
  np.testing.assert_array_equal(head.mask, plain.mask)
  np.testing.assert_allclose(
    head.fractions.sum(0), plain.fractions.sum(0), atol=1e-6
  )
  np.testing.assert_array_equal(head.fractions[2], plain.fractions[2])
  litres = head.fractions[3].sum() * np.prod(GRID.voxel_mm) * 1e-6
  # Of the 40 ml or so of these nuclei, those in the slices.
  assert 0.002 < litres < 0.04
  # Both sides have some.
  halves = head.fractions[3].sum((0, 1))
  assert min(halves[:24].sum(), halves[24:].sum()) > 0.3 * halves.sum()


def test_nuclei_have_values_of_their_own():
  points = np.zeros((4, 3))
  maps = tissue_maps(
    np.random.default_rng(0),
    points,
    between_subjects=0.0,
    within_tissue=0.0,
    nuclei=np.arange(4),
  )
  assert [*maps] == ["wm", "gm", "csf", "deep_grey"]
  expected = np.array(list(NUCLEI_AT_1_5T.values()), np.float32)
  deep = maps["deep_grey"]
  np.testing.assert_allclose(
    np.stack([deep.t1_ms, deep.t2_ms, deep.pd], 1), expected, rtol=1e-6
  )


def test_local_variation_is_that_of_its_tissue():
  """T1, T2 and PD vary apart, and the other tissues stay as they are."""
  points = np.random.default_rng(1).uniform(-200, 200, (4000, 3))

  def maps(**options):
    return tissue_maps(
      np.random.default_rng(0),
      points,
      between_subjects=0.0,
      within_tissue=0.04,
      **options,
    )

  plain, varied = maps(), maps(local_variation={"gm": 0.1, "wm": 0.0})
  np.testing.assert_array_equal(plain["wm"].stack(), varied["wm"].stack())
  ratio = varied["gm"].stack() / plain["gm"].stack() - 1
  np.testing.assert_allclose(ratio.std(0), [0.1 / 3, 0.1, 0.1], rtol=0.25)
  apart = np.corrcoef(ratio.T)[np.triu_indices(3, 1)]
  assert np.abs(apart).max() < 0.3


def test_voxels_without_partial_volume_are_of_one_tissue():
  mixed = make_head(np.random.default_rng(0), GRID, **HEAD)
  options = {**HEAD, "partial_volume": False}
  pure = make_head(np.random.default_rng(0), GRID, **options)
  np.testing.assert_array_equal(pure.mask, mixed.mask)
  assert set(np.unique(pure.fractions)) == {0.0, 1.0}
  np.testing.assert_array_equal(pure.fractions.sum(0), mixed.mask)
  np.testing.assert_array_equal(
    pure.fractions.argmax(0)[mixed.mask], mixed.fractions.argmax(0)[mixed.mask]
  )
