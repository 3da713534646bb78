"""The encoding of a slice, beside direct sums in double precision."""

import numpy as np
import pytest

from mrf_jax.kspace import coil_gridding
from mrf_jax.kspace.coil_gridding import CoilGridding, make_coil_gridding
from mrf_jax.kspace.encoding import NufftEncoding, make_encoding
from mrf_jax.kspace.spiral import make_spiral
from mrf_jax.kspace.taps import make_taps
from mrf_jax.simulation.fields import coil_sensitivities
from tests.laws import check_adjoint, check_linear, complex_noise

FOV_MM = 256.0
BOUND = 1e-4
# Error of mri-nufft at its tolerance of 1e-4, in voxels at the rim of an image.
NUFFT = 1e-3


def head_coils(matrix, n_coils, z_mm=0.0):
  """Sensitivities of loops on a cylinder, [coil, y, x]."""
  axis = (np.arange(matrix) - (matrix - 1) / 2) * FOV_MM / matrix
  y, x = np.meshgrid(axis, axis, indexing="ij")
  points = np.stack([x, y, np.full_like(x, z_mm)], -1).reshape(-1, 3)
  maps = coil_sensitivities(points.astype(np.float32), n_coils=n_coils)
  return maps.reshape(n_coils, matrix, matrix)


def ellipse(matrix, half_y, half_x, centre=(0.0, 0.0)):
  """Voxels of an ellipse; the image reaches from -1 to 1."""
  axis = (np.arange(matrix) - matrix // 2) / (matrix / 2)
  y, x = np.meshgrid(axis, axis, indexing="ij")
  return np.hypot((y - centre[0]) / half_y, (x - centre[1]) / half_x) < 1


def single(matrix, y, x):
  mask = np.zeros((matrix, matrix), bool)
  mask[y, x] = True
  return mask


def exact_waves(mask, sensitivities, positions):
  """s_c(r) e^(-2πi k·r) over the root of 4 × voxels, [coil, sample, voxel]."""
  matrix = len(mask)
  ys, xs = np.nonzero(mask)
  x, y = positions.astype(np.float64).T
  phase = np.outer(x, xs - matrix // 2) + np.outer(y, ys - matrix // 2)
  waves = np.exp(-2j * np.pi * phase) / (2 * matrix)
  return sensitivities[:, None, mask].astype(complex) * waves


def check_against_direct_sums(mask, sensitivities, encoding, rel):
  """Forward and adjoint of one arm of a spiral, and of the rim of the band."""
  spiral = make_spiral(
    matrix=len(mask), n_arms=5, samples_per_arm=150, density_power=1.25
  )
  corners = np.array([[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5], [0, -0.5]])
  positions = np.concatenate([spiral.trajectory[3], corners]).astype(np.float32)
  waves = exact_waves(mask, sensitivities, positions)
  of_samples = encoding.of_samples(positions)
  images = complex_noise(np.count_nonzero(mask), 3)
  k_space = of_samples.forward(images)
  expected = np.einsum("csv,vt->tcs", waves, images)
  assert k_space.dtype == np.complex64
  assert relative(k_space, expected) < rel
  combined = of_samples.adjoint(k_space)
  expected = np.einsum("csv,tcs->vt", waves.conj(), k_space)
  assert combined.dtype == np.complex64
  assert relative(combined, expected) < rel


def relative(values, expected):
  return np.linalg.norm(values - expected) / np.linalg.norm(expected)


MASKS = {
  "middle": ellipse(48, 0.6, 0.5),
  "off centre": ellipse(48, 0.35, 0.5, centre=(-0.4, 0.3)),
  "odd matrix": ellipse(45, 0.6, 0.5),
  "one voxel": single(32, 20, 3),
  "one row": single(32, 7, slice(4, 25)),
  "two corners": single(32, [0, 31], [0, 31]),
  "all voxels": np.ones((24, 24), bool),
}


@pytest.mark.parametrize("n_coils", [1, 3, 8])
@pytest.mark.parametrize("name", MASKS)
def test_against_direct_sums(name, n_coils):
  mask = MASKS[name]
  coils = head_coils(len(mask), n_coils)
  encoding = make_encoding(mask, coils)
  is_smooth = isinstance(encoding, CoilGridding)
  if is_smooth:
    assert encoding.error <= BOUND
  check_against_direct_sums(mask, coils, encoding, 4e-5 if is_smooth else NUFFT)
  check_against_direct_sums(mask, coils, NufftEncoding(mask, coils), NUFFT)


@pytest.mark.parametrize("name", ["middle", "off centre", "odd matrix"])
@pytest.mark.parametrize("z_mm", [0.0, 45.0])
def test_coils_of_the_simulation_are_inside_the_kernel(name, z_mm):
  mask = MASKS[name]
  coils = head_coils(len(mask), 16, z_mm)
  assert isinstance(make_encoding(mask, coils), CoilGridding)


@pytest.mark.parametrize("largest_error", [1e-2, 1e-4, 1e-5])
def test_error_bounds_every_voxel_and_sample(largest_error):
  mask = MASKS["off centre"]
  coils = head_coils(len(mask), 4, 30.0)
  encoding = make_coil_gridding(mask, coils, largest_error=largest_error)
  assert encoding is not None
  assert encoding.error <= largest_error
  rng = np.random.default_rng(0)
  positions = rng.uniform(-0.5, 0.5, (60, 2)).astype(np.float32)
  waves = exact_waves(mask, coils, positions)
  unit = np.eye(len(positions), dtype=np.complex64)
  # The adjoint of one sample of one coil is the conjugate of its wave.
  found = np.zeros(waves.shape, complex)
  of_samples = encoding.of_samples(positions)
  for coil in range(len(coils)):
    k_space = np.zeros((len(unit), len(coils), len(unit)), np.complex64)
    k_space[:, coil] = unit
    found[coil] = of_samples.adjoint(k_space).T.conj()
  mean = np.sqrt(np.mean(np.sum(np.abs(coils[:, mask]) ** 2, 0)))
  errors = np.linalg.norm(found - waves, axis=0) * 2 * len(mask) / mean
  # Beside rounding to float32.
  assert errors.max() <= encoding.error + 2e-6
  # The bound is not far off: a much smaller one would be wrong.
  assert errors.max() >= 0.02 * encoding.error


def test_more_accuracy_takes_more_polynomials_and_cells():
  mask = MASKS["middle"]
  coils = head_coils(len(mask), 8)
  shapes = []
  for largest_error in (1e-2, 1e-3, 1e-4, 1e-5):
    encoding = make_coil_gridding(mask, coils, largest_error=largest_error)
    assert encoding is not None
    shapes.append(encoding.along_y.table.shape[1:])
  assert shapes == sorted(set(shapes))


@pytest.mark.parametrize(
  "change",
  [
    lambda coils, mask: coils * np.sign(complex_noise(*coils.shape).real),
    lambda coils, mask: coils * (np.indices(mask.shape)[0] > 20),
    lambda coils, mask: coils + 0.01 * single(len(mask), 24, 24),
    lambda coils, mask: 0 * coils,
  ],
  ids=["noise", "edge", "one voxel differs", "zero"],
)
def test_rough_sensitivities_are_left_to_the_nufft(change):
  mask = MASKS["middle"]
  coils = change(head_coils(len(mask), 3), mask).astype(np.complex64)
  encoding = make_encoding(mask, coils)
  assert isinstance(encoding, NufftEncoding)
  if coils.any():
    check_against_direct_sums(mask, coils, encoding, NUFFT)


def test_sensitivities_outside_the_mask_do_not_matter():
  mask = MASKS["off centre"]
  coils = head_coils(len(mask), 3)
  outside = np.where(mask, coils, np.nan).astype(np.complex64)
  first, second = (make_encoding(mask, c) for c in (coils, outside))
  assert isinstance(second, CoilGridding)
  np.testing.assert_array_equal(first.coefficients, second.coefficients)


def test_not_a_number_does_not_become_an_image():
  mask = MASKS["middle"]
  coils = head_coils(len(mask), 3)
  coils[1, 24, 24] = np.nan
  assert isinstance(make_encoding(mask, coils), NufftEncoding)


def test_no_voxels():
  mask = np.zeros((16, 16), bool)
  coils = head_coils(16, 2)
  of_samples = make_encoding(mask, coils).of_samples(
    np.zeros((5, 2), np.float32)
  )
  k_space = of_samples.forward(np.zeros((0, 3), np.float32))
  np.testing.assert_array_equal(k_space, np.zeros((3, 2, 5)))
  assert of_samples.adjoint(k_space).shape == (0, 3)


def noise_in_three_coils(make, mask, *, n_samples, n_frames):
  """An encoding by random samples, and noise for both of its sides."""
  positions = np.random.default_rng(0).uniform(-0.5, 0.5, (n_samples, 2))
  return (
    make(mask, head_coils(len(mask), 3)).of_samples(
      positions.astype(np.float32)
    ),
    complex_noise(np.count_nonzero(mask), n_frames, seed=1),
    complex_noise(n_frames, 3, n_samples, seed=2),
  )


@pytest.mark.parametrize("make", [make_encoding, NufftEncoding])
def test_laws_of_an_operator(make):
  of_samples, images, samples = noise_in_three_coils(
    make, MASKS["off centre"], n_samples=200, n_frames=4
  )
  check_adjoint(of_samples.forward, of_samples.adjoint, images, samples)
  check_linear(
    lambda x: of_samples.forward(x).reshape(4, -1), images.real, 1j * images
  )
  np.testing.assert_allclose(
    of_samples.forward(images.real), of_samples.forward(images.real + 0j)
  )


def test_parts_of_samples_change_nothing(monkeypatch):
  of_samples, images, samples = noise_in_three_coils(
    make_encoding, MASKS["middle"], n_samples=100, n_frames=2
  )
  before = of_samples.forward(images), of_samples.adjoint(samples)
  monkeypatch.setattr(coil_gridding, "_SAMPLES", 7)
  after = of_samples.forward(images), of_samples.adjoint(samples)
  for first, second in zip(before, after, strict=True):
    np.testing.assert_array_equal(first, second)


def test_positions_a_period_apart_are_the_same():
  """Images have whole voxels."""
  taps = make_taps(3, 17, n_polynomials=3, n_cells=6)
  positions = np.array([0.25, -0.5, 0.0])
  for first, second in zip(
    taps.at(positions), taps.at(positions + 1.0), strict=True
  ):
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("ends", [(0, 0), (3, 4), (5, 30), (6, 30)])
def test_taps_are_polynomials_times_waves(ends):
  taps = make_taps(*ends, n_polynomials=4, n_cells=8)
  voxels = np.arange(ends[0], ends[1] + 1)
  n = voxels - taps.centre
  position = np.array([0.123])
  first, values = taps.at(position)
  cells = first[0] - taps.n_cells // 2 + np.arange(taps.n_cells)
  waves = np.exp(-2j * np.pi * np.outer(n, cells) / taps.n_grid)
  wave = np.exp(-2j * np.pi * n * position)
  for p in range(4):
    found = taps.apodisation_of(voxels) * (waves @ values[0, :, p]) * 1j**p
    wanted = np.cos(p * np.arccos(n / max(taps.half, 1))) * wave
    assert np.abs(found - wanted).max() <= taps.errors[p] + 1e-6
    assert taps.errors[p] < 2e-3
