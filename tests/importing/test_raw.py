"""From raw k-space to the signals that the scanner's own chain gives."""

import mrd_files
import numpy as np
import pytest

from mrf_jax import UserError, make_sequence
from mrf_jax.importing.raw import RawSeries, trajectory_edges
from mrf_jax.importing.scan import align_phases
from mrf_jax.kspace import spiral as spirals
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.simulation.scan import scan_slice

MATRIX, N_FRAMES, WINDOW, N_SLICES = 32, 30, 6, 2
FOV_MM = 220.0
SEQUENCE = make_sequence(np.full(N_FRAMES, 30.0), 12.0, 2.0)
SPIRAL = spirals.make_spiral(
  matrix=MATRIX, n_arms=WINDOW, samples_per_arm=160, density_power=1.25
)


def coils(n_coils=4):
  """Smooth, each with a phase of its own, [coil, y, x]."""
  axis = (np.arange(MATRIX) - MATRIX // 2) / (MATRIX / 2)
  angles = np.arange(n_coils) * 2 * np.pi / n_coils
  near = (axis - np.cos(angles)[:, None, None]) ** 2
  near = near + (axis[:, None] - np.sin(angles)[:, None, None]) ** 2
  return (np.exp(-near / 2 + 1j * angles[:, None, None])).astype(np.complex64)


def disc():
  axis = np.arange(MATRIX) - MATRIX // 2
  return np.hypot(axis - 2, axis[:, None] + 3) < 10


def fingerprints(slice_number):
  """Of every voxel of the disc: inverted at first, brighter to the right."""
  t = np.arange(N_FRAMES) / N_FRAMES
  x = np.nonzero(disc())[1] / MATRIX
  rate = 3 + 4 * x + slice_number
  return ((1 + x)[:, None] * (1 - 2 * np.exp(-rate[:, None] * t))).astype("c8")


def k_space(slice_number):
  """What the coils receive, [frame, coil, sample]."""
  images = np.zeros((N_FRAMES, MATRIX, MATRIX), np.complex64)
  images[:, disc()] = fingerprints(slice_number).T
  seen = spirals.forward(SPIRAL, images, coils())  # [frame, coil, arm, sample]
  frames = np.arange(N_FRAMES)
  return seen[frames, :, frames % WINDOW]


@pytest.fixture(scope="module")
def samples():
  return np.stack([k_space(k) for k in range(N_SLICES)])


@pytest.fixture(scope="module")
def trajectory():
  return SPIRAL.trajectory[np.arange(N_FRAMES) % WINDOW]


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
def test_signals_are_those_of_the_scanner(unit, samples, trajectory, tmp_path):
  edge = trajectory_edges(MATRIX, (FOV_MM, FOV_MM, 5.0))[unit]
  path = mrd_files.write(
    tmp_path / "scan.mrd", samples, trajectory * (edge / 0.5), matrix=MATRIX
  )
  raw = RawSeries(path, Acquisition(SEQUENCE, WINDOW))
  assert raw.shape == (MATRIX, MATRIX, N_SLICES, N_FRAMES - WINDOW + 1)
  assert any(unit in words for words in raw.assumptions)
  assert raw.field_strength_t == pytest.approx(1.5)
  mask = np.stack([disc()] * N_SLICES)
  found = align_phases(raw.signals(mask))
  wanted = np.concatenate(
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
        tolerance=1e-6,
      )
      for k in range(N_SLICES)
    ]
  )
  # The raw file does not know how much all coils together see of a voxel.
  shading = np.tile(np.linalg.norm(coils(), axis=0)[disc()], N_SLICES)
  wanted = wanted * shading[:, None]
  # Behind the rim of the disc, where neither is a smooth image.
  axis = np.arange(MATRIX) - MATRIX // 2
  inner = np.tile((np.hypot(axis - 2, axis[:, None] + 3) < 8)[disc()], N_SLICES)
  error = np.linalg.norm((found - wanted)[inner])
  assert error < 0.06 * np.linalg.norm(wanted[inner])


def test_the_magnitude_shows_the_disc_where_it_lies(
  samples, trajectory, tmp_path
):
  path = mrd_files.write(
    tmp_path / "scan.mrd", samples, trajectory, matrix=MATRIX
  )
  raw = RawSeries(path, Acquisition(SEQUENCE, WINDOW))
  image = raw.mean_magnitude()
  assert image.shape == (MATRIX, MATRIX, N_SLICES)
  inside = disc().T
  assert image[inside].mean() > 5 * image[~inside].mean()
  # Patient left is -R; the disc lies 2 voxels along the read direction.
  centre = raw.affine @ [MATRIX // 2, MATRIX // 2, 1, 1]
  np.testing.assert_allclose(centre[:3], [0, 0, 6], atol=1e-4)
  step = raw.affine[:3, 0]
  np.testing.assert_allclose(step, [-FOV_MM / MATRIX, 0, 0], atol=1e-4)


def test_phases_of_the_pulses_are_taken_off(samples, trajectory, tmp_path):
  phases = np.random.default_rng(0).uniform(0, 360, N_FRAMES)
  turned = samples * np.exp(1j * np.deg2rad(phases))[:, None, None]
  mask = np.stack([disc()] * N_SLICES)
  plain = mrd_files.write(
    tmp_path / "a.mrd", samples, trajectory, matrix=MATRIX
  )
  wanted = RawSeries(plain, Acquisition(SEQUENCE, WINDOW)).signals(mask)
  path = mrd_files.write(tmp_path / "b.mrd", turned, trajectory, matrix=MATRIX)
  sequence = make_sequence(np.full(N_FRAMES, 30.0), 12.0, 2.0, phases)
  raw = RawSeries(path, Acquisition(sequence, WINDOW), demodulate=True)
  scale = np.abs(wanted).max()
  np.testing.assert_allclose(raw.signals(mask), wanted, atol=1e-3 * scale)
  other = RawSeries(path, Acquisition(sequence, WINDOW)).signals(mask)
  assert np.abs(other - wanted).max() > 0.1 * scale


def test_what_does_not_fit_is_named(samples, trajectory, tmp_path):
  path = mrd_files.write(tmp_path / "a.mrd", samples, trajectory, matrix=MATRIX)
  longer = make_sequence(np.full(31, 30.0), 12.0, 2.0)
  with pytest.raises(UserError, match=r"30 acquisitions.*31 frames"):
    RawSeries(path, Acquisition(longer, WINDOW))
  with pytest.raises(UserError, match="trajectory_unit: 'mm'"):
    RawSeries(path, Acquisition(SEQUENCE, WINDOW), trajectory_unit="mm")
  short = mrd_files.write(
    tmp_path / "b.mrd", samples, trajectory * 0.5, matrix=MATRIX
  )
  with pytest.raises(UserError, match=r"fits none of.*--trajectory_unit"):
    RawSeries(short, Acquisition(SEQUENCE, WINDOW))
  # Said, it is believed.
  RawSeries(
    short, Acquisition(SEQUENCE, WINDOW), trajectory_unit="cycles_per_voxel"
  )
  deep = np.concatenate([trajectory, trajectory[..., :1]], -1)
  path = mrd_files.write(tmp_path / "c.mrd", samples, deep, matrix=MATRIX)
  with pytest.raises(UserError, match="three-dimensional"):
    RawSeries(path, Acquisition(SEQUENCE, WINDOW))
  flat = np.concatenate([trajectory, 0 * trajectory[..., :1]], -1)
  path = mrd_files.write(tmp_path / "d.mrd", samples, flat, matrix=MATRIX)
  assert RawSeries(path, Acquisition(SEQUENCE, WINDOW)).shape[2] == N_SLICES


def test_a_matrix_that_the_samples_cannot_fill_is_refused(
  samples, trajectory, tmp_path
):
  n_samples = samples[0].size
  largest = int(np.sqrt(16 * n_samples))
  edge = {"trajectory_unit": "cycles_per_voxel"}
  path = mrd_files.write(
    tmp_path / "a.mrd", samples, trajectory, matrix=largest
  )
  assert (
    RawSeries(path, Acquisition(SEQUENCE, WINDOW), **edge).shape[0] == largest
  )
  for matrix in (largest + 1, 20_000, 10**12):
    path = mrd_files.write(
      tmp_path / f"{matrix}.mrd", samples, trajectory, matrix=matrix
    )
    words = rf"{matrix:,} × {matrix:,} voxels, but a slice has {n_samples:,}"
    with pytest.raises(UserError, match=words):
      RawSeries(path, Acquisition(SEQUENCE, WINDOW), **edge)


def test_metres_are_noticed(samples, trajectory, tmp_path):
  path = mrd_files.write(
    tmp_path / "a.mrd", samples, trajectory, matrix=MATRIX, fov_mm=0.22
  )
  raw = RawSeries(path, Acquisition(SEQUENCE, WINDOW))
  assert any("metres" in words for words in raw.assumptions)
  steps = np.linalg.norm(raw.affine[:3, :3], axis=0)
  np.testing.assert_allclose(steps, [220 / MATRIX, 220 / MATRIX, 6], rtol=1e-5)
  centre = raw.affine @ [MATRIX // 2, MATRIX // 2, 0, 1]
  np.testing.assert_allclose(centre[:3], 0, atol=1e-4)
