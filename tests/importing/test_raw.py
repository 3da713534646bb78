"""Signals from raw k-space equal those of the simulated scanner."""

import mrd_files
import numpy as np
import pytest

from mrf_jax import UserError, make_sequence
from mrf_jax.importing.raw import RawSeries
from mrf_jax.importing.scan import align_phases
from mrf_jax.io.ismrmrd_trajectory import TRAJECTORY_UNITS, trajectory_edges
from mrf_jax.kspace.encoding import NufftEncoding
from mrf_jax.kspace.spiral import make_spiral
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.simulation.scan import scan_slice

MATRIX, N_FRAMES, WINDOW, N_SLICES = 32, 30, 6, 2
FOV_MM = 220.0
SPIRAL = make_spiral(
  matrix=MATRIX, n_arms=WINDOW, samples_per_arm=160, density_power=1.25
)


def coils(n_coils=4):
  """Smooth sensitivities with different phases, [coil, y, x]."""
  axis = (np.arange(MATRIX) - MATRIX // 2) / (MATRIX / 2)
  angles = np.arange(n_coils) * 2 * np.pi / n_coils
  near = (axis - np.cos(angles)[:, None, None]) ** 2
  near = near + (axis[:, None] - np.sin(angles)[:, None, None]) ** 2
  return (np.exp(-near / 2 + 1j * angles[:, None, None])).astype(np.complex64)


def disc(radius=10):
  axis = np.arange(MATRIX) - MATRIX // 2
  return np.hypot(axis - 2, axis[:, None] + 3) < radius


def fingerprints(slice_number):
  """Signals in the disc: inverted at first, brighter to the right."""
  t = np.arange(N_FRAMES) / N_FRAMES
  x = np.nonzero(disc())[1] / MATRIX
  rate = 3 + 4 * x + slice_number
  return ((1 + x)[:, None] * (1 - 2 * np.exp(-rate[:, None] * t))).astype("c8")


def k_space(slice_number):
  """Samples of all coils, [frame, coil, sample]."""
  encoding, signals = NufftEncoding(disc(), coils()), fingerprints(slice_number)
  frames = [
    encoding.of_samples(SPIRAL.trajectory[t % WINDOW]).forward(signal[:, None])
    for t, signal in enumerate(signals.T)
  ]
  return np.concatenate(frames)


def acquisition(n_frames=N_FRAMES, rf_phases_deg=0.0):
  angles = np.full(n_frames, 30.0)
  return Acquisition(make_sequence(angles, 12.0, 2.0, rf_phases_deg), WINDOW)


ACQUISITION = acquisition()
TRAJECTORY = SPIRAL.trajectory[np.arange(N_FRAMES) % WINDOW]
MASK = np.stack([disc()] * N_SLICES)


@pytest.fixture(scope="module")
def samples():
  return np.stack([k_space(k) for k in range(N_SLICES)])


@pytest.fixture
def write(samples, tmp_path):
  """Function that writes the scan to a raw file, with some of it changed."""

  def write(name="scan.mrd", samples=samples, **changes):
    changes = {"trajectory": TRAJECTORY, "matrix": MATRIX, **changes}
    return mrd_files.write(tmp_path / name, samples, **changes)

  return write


def edges():
  """Edge of the band in each unit, alike along x and y."""
  voxel_mm = FOV_MM / MATRIX
  every = trajectory_edges((MATRIX, MATRIX), (voxel_mm, voxel_mm))
  return {name: edge[0] for name, edge in every.items()}


@pytest.mark.parametrize("unit", TRAJECTORY_UNITS)
def test_units_that_fit_are_taken_or_asked_for(unit, write):
  path = write(trajectory=TRAJECTORY * (edges()[unit] / 0.5))
  given = RawSeries(path, ACQUISITION, trajectory_unit=unit)
  np.testing.assert_allclose(
    given._trajectory[:N_FRAMES], TRAJECTORY, atol=1e-6
  )
  try:
    found = RawSeries(path, ACQUISITION)
  except UserError as error:
    assert f"--trajectory_unit={unit}" in str(error)
    fitting = str(error).split("which fits")[1].split(" of ")[0]
    assert len(fitting.split(" and ")) > 1
  else:
    assert f"the trajectory is in {unit}" in found.assumptions


@pytest.mark.parametrize(
  "unit",
  [
    "cycles_per_voxel",
    "radians_per_voxel",
    "cycles_per_fov",
    "per_m",
    "radians_per_m",
  ],
)
def test_signals_are_those_of_scanner(unit, write):
  path = write(trajectory=TRAJECTORY * (edges()[unit] / 0.5))
  raw = RawSeries(path, ACQUISITION)
  assert raw.shape == (MATRIX, MATRIX, N_SLICES, N_FRAMES - WINDOW + 1)
  assert any(unit in sentence for sentence in raw.assumptions)
  assert raw.field_strength_t == pytest.approx(1.5)
  signals = align_phases(raw.signals(MASK))
  expected = np.concatenate(
    [
      scan_slice(
        np.random.default_rng(0),
        fingerprints(k),
        disc(),
        coils(),
        SPIRAL,
        noise_sd=0.0,
        window=WINDOW,
        stride=1,
      )
      for k in range(N_SLICES)
    ]
  )
  # A raw file does not contain the sensitivity of all coils together.
  shading = np.tile(np.linalg.norm(coils(), axis=0)[disc()], N_SLICES)
  expected = expected * shading[:, None]
  # Without the rim of the disc, where no coil image is smooth.
  inner = np.tile(disc(8)[disc()], N_SLICES)
  error = np.linalg.norm((signals - expected)[inner])
  assert error < 0.06 * np.linalg.norm(expected[inner])


def test_disc_is_at_its_position(write):
  raw = RawSeries(write(), ACQUISITION)
  image = raw.mean_magnitude()
  assert image.shape == (MATRIX, MATRIX, N_SLICES)
  inside = disc().T
  assert image[inside].mean() > 5 * image[~inside].mean()
  # Patient left is -R; the disc is shifted by 2 voxels along the readout.
  centre = raw.affine @ [MATRIX // 2, MATRIX // 2, 1, 1]
  np.testing.assert_allclose(centre[:3], [0, 0, 6], atol=1e-4)
  step = raw.affine[:3, 0]
  np.testing.assert_allclose(step, [-FOV_MM / MATRIX, 0, 0], atol=1e-4)


def test_phases_of_pulses_are_removed(samples, write):
  phases = np.random.default_rng(0).uniform(0, 360, N_FRAMES)
  turned = samples * np.exp(1j * np.deg2rad(phases))[:, None, None]
  expected = RawSeries(write("a.mrd"), ACQUISITION).signals(MASK)
  path = write("b.mrd", samples=turned)
  phased = acquisition(rf_phases_deg=phases)
  signals = RawSeries(
    path, phased, phases_deg=phased.sequence.rf_phases_deg
  ).signals(MASK)
  scale = np.abs(expected).max()
  np.testing.assert_allclose(signals, expected, atol=1e-3 * scale)
  other = RawSeries(path, phased).signals(MASK)
  assert np.abs(other - expected).max() > 0.1 * scale


def test_another_number_of_frames(write):
  with pytest.raises(UserError, match=r"30 acquisitions.*31 frames"):
    RawSeries(write(), acquisition(n_frames=31))


def test_unclear_unit_of_trajectory(write):
  path = write(trajectory=TRAJECTORY * 0.5)
  with pytest.raises(UserError, match="trajectory_unit: 'mm'"):
    RawSeries(path, ACQUISITION, trajectory_unit="mm")
  with pytest.raises(UserError, match=r"fits none of.*--trajectory_unit"):
    RawSeries(path, ACQUISITION)
  RawSeries(path, ACQUISITION, trajectory_unit="cycles_per_voxel")


def test_trajectory_in_three_dimensions(write):
  x = TRAJECTORY[..., :1]
  deep = np.concatenate([TRAJECTORY, x], -1)
  with pytest.raises(UserError, match="three-dimensional"):
    RawSeries(write("a.mrd", trajectory=deep), ACQUISITION)
  flat = np.concatenate([TRAJECTORY, 0 * x], -1)
  raw = RawSeries(write("b.mrd", trajectory=flat), ACQUISITION)
  assert raw.shape[2] == N_SLICES


def test_matrix_larger_than_samples_allow(samples, write):
  n_samples = samples[0].size
  largest = int(np.sqrt(16 * n_samples))
  edge = {"trajectory_unit": "cycles_per_voxel"}
  raw = RawSeries(write(matrix=largest), ACQUISITION, **edge)
  assert raw.shape[0] == largest
  for matrix in (largest + 1, 20_000, 10**12):
    path = write(f"{matrix}.mrd", matrix=matrix)
    words = rf"{matrix:,} × {matrix:,} voxels, but a slice has {n_samples:,}"
    with pytest.raises(UserError, match=words):
      RawSeries(path, ACQUISITION, **edge)


@pytest.mark.parametrize("size", [(25, MATRIX), (MATRIX, 27), (MATRIX, 40)])
def test_images_that_are_not_square(size, write):
  """They are those of the square, cut, or with more around it."""
  x, y = size
  edge = {"trajectory_unit": "cycles_per_voxel"}
  square = RawSeries(write("square.mrd"), ACQUISITION, **edge)
  path = write(matrix=x, height=y, fov_mm=FOV_MM * x / MATRIX)
  raw = RawSeries(path, ACQUISITION, **edge)
  assert raw.shape == (x, y, *square.shape[2:])
  np.testing.assert_allclose(
    raw.affine @ [x // 2, y // 2, 0, 1],
    square.affine @ [MATRIX // 2, MATRIX // 2, 0, 1],
    atol=1e-4,
  )
  axis_x, axis_y = np.arange(x) - x // 2, np.arange(y) - y // 2
  lit = np.hypot(axis_x - 1, axis_y[:, None] + 3) < 7
  mask = np.stack([lit] * N_SLICES)
  axis = np.arange(MATRIX) - MATRIX // 2
  same = np.hypot(axis - 1, axis[:, None] + 3) < 7
  expected = square.signals(np.stack([same] * N_SLICES))
  found = raw.signals(mask)
  # A larger square has another unit of k-space, and hardly other weights.
  unit, tolerance = max(size) / MATRIX, 1e-5 if max(size) == MATRIX else 2e-2
  error = np.linalg.norm(align_phases(found) / unit - align_phases(expected))
  assert error <= tolerance * np.linalg.norm(expected)
  image = raw.mean_magnitude()
  assert image.shape == (x, y, N_SLICES)
  assert image[lit.T].mean() > 3 * image[~lit.T].mean()


def test_metres_are_noticed(write):
  raw = RawSeries(write(fov_mm=0.22), ACQUISITION)
  assert any("metres" in sentence for sentence in raw.assumptions)
  steps = np.linalg.norm(raw.affine[:3, :3], axis=0)
  np.testing.assert_allclose(steps, [220 / MATRIX, 220 / MATRIX, 6], rtol=1e-5)
  centre = raw.affine @ [MATRIX // 2, MATRIX // 2, 0, 1]
  np.testing.assert_allclose(centre[:3], 0, atol=1e-4)
