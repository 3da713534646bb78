"""Raw data of a field that is not uniform, and maps of it."""

import mrd_files
import nibabel
import numpy as np
import pytest

from mrf_jax import UserError
from mrf_jax.importing.b0 import choose_factor, read_b0
from mrf_jax.importing.places import Grid
from mrf_jax.importing.raw import RawSeries
from mrf_jax.importing.sharpness import sharpness
from mrf_jax.kspace.encoding import NufftEncoding
from mrf_jax.kspace.off_resonance import OffResonance, make_time_segments
from mrf_jax.kspace.spiral import make_spiral
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import make_sequence
from tests.laws import complex_noise

MATRIX, N_ARMS, N_FRAMES = 64, 4, 10
LARGEST_HZ, READ_MS, FIELD_T = 100.0, 8.0, 1.5
SPIRAL = make_spiral(
  matrix=MATRIX, n_arms=N_ARMS, samples_per_arm=640, density_power=1.25
)
N_SAMPLES = SPIRAL.trajectory.shape[1]
SAMPLE_TIME_US = 1e3 * READ_MS / N_SAMPLES
COUNTERS = {
  "repetition": np.tile(np.arange(N_FRAMES), N_ARMS),
  "kspace_encode_step_1": np.repeat(np.arange(N_ARMS), N_FRAMES),
}
ACQUISITION = Acquisition(make_sequence(np.full(N_FRAMES, 30.0), 12.0, 2.0))
X, Y = np.meshgrid(*2 * [np.arange(MATRIX) - MATRIX // 2])
FIELD_HZ = LARGEST_HZ * np.sin(np.pi * X / 48) * np.cos(np.pi * Y / 72)
COILS = np.stack(
  [np.exp(-((X / 80 - x) ** 2) / 2 + 1j * x) for x in (-0.5, 0.5)]
).astype(np.complex64)


def disc(radius=20):
  return np.hypot(X, Y) < radius


def signals(radius=24):
  """Of a disc of small squares, [voxel, frame]."""
  x, y = X[disc(radius)], Y[disc(radius)]
  squares = 1 + 0.3 * np.sign(np.sin(x * np.pi / 4) * np.sin(y * np.pi / 5))
  t = np.arange(N_FRAMES) / N_FRAMES
  recovery = 1 - 2 * np.exp(-(4 + x[:, None] / 20) * t)
  return (squares[:, None] * recovery).astype(np.complex64)


def error_of(raw):
  """Of the signals, relative, apart from a phase of each voxel."""
  found = raw.signals(disc()[None])
  true = signals(20) * np.linalg.norm(COILS[:, disc()], axis=0)[:, None]
  turn = np.sum(found.conj() * true, 1, keepdims=True)
  difference = found * (turn / np.abs(turn)) - true
  return np.linalg.norm(difference) / np.linalg.norm(true)


def k_space(field_hz, images=None):
  """Of all frames, arm after arm, at a frequency of each voxel."""
  images = signals() if images is None else images
  encoding = NufftEncoding(disc(24), COILS)
  rates = 2j * np.pi * field_hz[disc(24)]
  times_s = 1e-6 * SAMPLE_TIME_US * np.arange(N_SAMPLES)
  segments = make_time_segments(rates, times_s, largest_error=1e-4)
  arms = [
    OffResonance(encoding.of_samples(arm), rates, segments).forward(images)
    for arm in SPIRAL.trajectory
  ]
  return np.concatenate(arms)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Scans in that field and in a uniform one, and its map."""
  folder = tmp_path_factory.mktemp("b0")
  for name, field_hz in (("off", FIELD_HZ), ("on", 0 * FIELD_HZ)):
    mrd_files.write(
      folder / f"{name}.mrd",
      k_space(field_hz)[None],
      np.repeat(SPIRAL.trajectory, N_FRAMES, 0),
      matrix=MATRIX,
      counters=COUNTERS,
      sample_time_us=SAMPLE_TIME_US,
    )
  return folder


def field_map(folder, factor=1.0, name="b0.nii.gz", noise_hz=0.0):
  """A map of the field times a factor, in the disc alone."""
  rng = np.random.default_rng(0)
  noisy = factor * FIELD_HZ + noise_hz * rng.normal(size=FIELD_HZ.shape)
  values = np.where(disc(24), noisy, 0).T[..., None]
  affine = RawSeries(folder / "off.mrd", ACQUISITION).affine
  path = folder / name
  nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), affine), path)
  return path


def corrected(folder, path, **options):
  """The scan, corrected by a map, and what was said."""
  raw = RawSeries(folder / "off.mrd", ACQUISITION)
  values = read_b0(path, Grid(raw.shape[:3], raw.affine, 1, raw.path), [])
  said = raw.correct_field(values, path=path, field_t=FIELD_T, **options)
  return raw, said


def test_a_field_of_100_hz_during_8_ms(folder):
  whole = error_of(RawSeries(folder / "on.mrd", ACQUISITION))
  raw, said = corrected(folder, field_map(folder))
  assert "in Hz, of which a positive value turns the phase forwards" in said
  assert "images are sharper with it (readouts of 8 ms)" in said
  assert error_of(raw) < 1.15 * whole
  assert error_of(RawSeries(folder / "off.mrd", ACQUISITION)) > 1.5 * whole


def test_the_wrong_sign_is_named(folder):
  path = field_map(folder, -1.0, "turned.nii.gz")
  words = (
    "sharper with this field with its sign turned; --b0_unit=Hz --b0_sign=-1"
  )
  with pytest.raises(UserError, match=words):
    corrected(folder, path)
  right, _ = corrected(folder, field_map(folder))
  turned, said = corrected(folder, path, sign=-1)
  assert "turns the phase backwards" in said
  np.testing.assert_allclose(
    turned.signals(disc()[None]), right.signals(disc()[None]), atol=1e-5
  )


@pytest.mark.parametrize(
  ("unit", "factor"), [("rad/s", 2 * np.pi), ("ppm", 1 / (42.577 * FIELD_T))]
)
def test_the_wrong_unit_is_named(unit, factor, folder):
  path = field_map(folder, factor, "scaled.nii.gz")
  with pytest.raises(UserError, match=f"taken in {unit}; --b0_unit={unit} --b"):
    corrected(folder, path)
  right, _ = corrected(folder, field_map(folder))
  scaled, said = corrected(folder, path, unit=unit)
  assert f"in {unit}" in said
  np.testing.assert_allclose(
    scaled.signals(disc()[None]), right.signals(disc()[None]), atol=1e-4
  )


def test_a_map_that_is_insisted_on(folder):
  path = field_map(folder, -1.0, "turned.nii.gz")
  _, said = corrected(folder, path, unit="Hz", sign=1)
  assert "images are not sharper with it" in said


def test_the_time_of_the_samples_is_needed(folder, tmp_path):
  path = mrd_files.write(
    tmp_path / "scan.mrd",
    k_space(FIELD_HZ)[None],
    np.repeat(SPIRAL.trajectory, N_FRAMES, 0),
    matrix=MATRIX,
    counters=COUNTERS,
  )
  values = np.where(disc(24), FIELD_HZ, 0).astype(np.float32)[None]
  raw = RawSeries(path, ACQUISITION)
  with pytest.raises(UserError, match=r"scan\.mrd.*--sample_time_us gives it"):
    raw.correct_field(values, path="b0.nii.gz", field_t=FIELD_T)
  raw = RawSeries(path, ACQUISITION, sample_time_us=SAMPLE_TIME_US)
  raw.correct_field(values, path="b0.nii.gz", field_t=FIELD_T)
  same, _ = corrected(folder, field_map(folder))
  np.testing.assert_allclose(
    raw.signals(disc()[None]), same.signals(disc()[None]), atol=1e-5
  )


def test_a_map_of_zeros_is_named(folder):
  path = field_map(folder, 0.0, "zeros.nii.gz")
  with pytest.raises(UserError, match=r"zeros\.nii\.gz: has no values but 0"):
    corrected(folder, path)


@pytest.mark.parametrize("noise_hz", [1.0, 4.0])
def test_a_noisy_map_is_taken_as_it_is(noise_hz, folder):
  path = field_map(folder, noise_hz=noise_hz, name="noisy.nii.gz")
  _, said = corrected(folder, path)
  assert "in Hz, of which a positive value turns the phase forwards" in said


def test_a_smooth_object_in_a_small_field(tmp_path):
  """With noise of scan and map, which must not pass for sharp."""
  smooth = np.repeat(np.ones((np.count_nonzero(disc(24)), 1)), N_FRAMES, 1)
  small = 0.3 * FIELD_HZ
  samples = k_space(small, smooth.astype(np.complex64))
  noise = complex_noise(*samples.shape)
  mrd_files.write(
    tmp_path / "off.mrd",
    (samples + 0.02 * np.abs(samples).max() * noise)[None],
    np.repeat(SPIRAL.trajectory, N_FRAMES, 0),
    matrix=MATRIX,
    counters=COUNTERS,
    sample_time_us=SAMPLE_TIME_US,
  )
  path = field_map(tmp_path, 0.3, "small.nii.gz", noise_hz=1.0)
  _, said = corrected(tmp_path, path)
  assert "in Hz, of which a positive value turns the phase forwards" in said


def test_a_map_of_a_part_is_named(folder):
  values = np.where(disc(24) & (X < 0), FIELD_HZ, 0).astype(np.float32)
  raw = RawSeries(folder / "off.mrd", ACQUISITION)
  said = raw.correct_field(
    values[None], path="half.nii", field_t=FIELD_T, unit="Hz", sign=1
  )
  assert "% of the bright voxels have no value" in said


def test_a_field_that_no_scanner_has(folder):
  path = field_map(folder, 1e3, "huge.nii.gz")
  with pytest.raises(UserError, match=r"huge\.nii\.gz: no field of a scanner"):
    corrected(folder, path)


def chosen(sharpness_of, unit=None, sign=None):
  return choose_factor(
    sharpness_of,
    path="b0.nii",
    largest=1.0,
    field_t=3.0,
    unit=unit,
    sign=sign,
  )


def test_too_large_a_field_in_one_unit_is_no_answer():
  def sharpness_of(factor):
    if abs(factor) > 1:
      raise UserError("off-resonance: is it in Hz?")
    return 1.0 + 0.5 * factor

  assert chosen(sharpness_of)[0] == 1
  with pytest.raises(UserError, match=r"b0\.nii: off-resonance: is it in Hz"):
    chosen(sharpness_of, unit="ppm", sign=1)


def test_edges_are_sharper_than_slopes():
  step, slope = np.zeros((2, 16, 16), np.complex64)
  step[:, 8:] = 1j
  slope[:] = np.clip(np.arange(16) - 5, 0, 6) / 6
  inside = np.ones((16, 16), bool)
  assert sharpness(step, inside) > 2 * sharpness(slope, inside)
  assert sharpness(3 * step, inside) == pytest.approx(sharpness(step, inside))
  assert sharpness(0 * step, inside) == 0
  # A step at the rim of the mask is that of the mask.
  assert sharpness(step, step != 0) == 0
