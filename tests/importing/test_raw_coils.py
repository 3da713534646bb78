"""Raw data whose coils are noisy and correlated, from files to signals."""

import mrd_files
import numpy as np
import pytest
from test_arms import ACQUISITION, MATRIX, SPIRAL, disc, signals

from mrf_jax import UserError
from mrf_jax.importing.raw import RawSeries
from mrf_jax.kspace.encoding import NufftEncoding
from mrf_jax.kspace.gridding import combined_windows
from mrf_jax.kspace.noise import noise_covariance, whitening_matrix
from tests.laws import complex_noise

N_COILS, NOISE = 6, 0.03
AXIS = np.arange(MATRIX) - MATRIX // 2


def coils():
  """Smooth sensitivities from six sides, [coil, y, x]."""
  angles = np.arange(N_COILS)[:, None, None] * 2 * np.pi / N_COILS
  near = (AXIS / 20 - np.cos(angles)) ** 2
  near = near + (AXIS[:, None] / 20 - np.sin(angles)) ** 2
  return np.exp(-near / 2 + 1j * angles).astype(np.complex64)


def mixing():
  """One coil ten times as noisy, two others correlated by 0.7."""
  mixed = np.eye(N_COILS)
  mixed[1, 1] = 10
  mixed[3, 2:4] = 0.7, np.sqrt(1 - 0.7**2)
  return NOISE * mixed


def noise(n_samples, seed):
  white = complex_noise(N_COILS, n_samples, seed=seed) / np.sqrt(2)
  return (mixing() @ white).astype(np.complex64)


def k_space():
  """Acquisitions of all arms of all frames, and their trajectory."""
  encoding = NufftEncoding(disc(12), coils())
  arms = [
    encoding.of_samples(positions).forward(signals())
    for positions in SPIRAL.trajectory
  ]
  clean = np.stack(arms, 1)  # [frame, arm, coil, sample]
  n_frames, n_arms, _, n_samples = clean.shape
  flat = clean.reshape(-1, N_COILS, n_samples)
  dirty = noise(flat.shape[0] * n_samples, seed=3)
  flat = flat + dirty.reshape(N_COILS, -1, n_samples).swapaxes(0, 1)
  counters = {
    "repetition": np.repeat(np.arange(n_frames), n_arms),
    "kspace_encode_step_1": np.tile(np.arange(n_arms), n_frames),
  }
  return flat, np.tile(SPIRAL.trajectory, (n_frames, 1, 1)), counters


def write(path, **options):
  """The scan as a file."""
  samples, trajectory, counters = k_space()
  return mrd_files.write(
    path,
    samples[None],
    trajectory,
    matrix=MATRIX,
    counters=counters,
    **options,
  )


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
  """A scan with its noise acquisitions in the file."""
  path = tmp_path_factory.mktemp("scan") / "scan.mrd"
  return write(path, noise=[noise(256, seed=k) for k in range(10, 30)])


def error_of(found, shading):
  """Of signals over the norm of the sensitivities, but for their phases."""
  inner = disc(9)[disc(12)]
  found = found / shading[disc(9)][:, None]
  turn = np.sum(found.conj() * signals()[inner], 1, keepdims=True)
  difference = found * (turn / np.abs(turn)) - signals()[inner]
  return np.linalg.norm(difference) / np.linalg.norm(signals()[inner])


def whitener():
  return whitening_matrix(
    noise_covariance(np.concatenate([noise(256, s) for s in range(10, 30)], 1))
  )


def seen(matrix=None):
  """Sensitivities after a combination of the coils, and their norm."""
  own = coils() if matrix is None else np.tensordot(matrix, coils(), 1)
  return own.astype(np.complex64), np.linalg.norm(own, axis=0)


def optimal():
  """Error with known sensitivities and covariance."""
  samples, trajectory, _ = k_space()
  exact = whitening_matrix((mixing() @ mixing().T).astype(complex))
  own, shading = seen(exact)
  n_frames = ACQUISITION.sequence.n_frames
  of_frames = (exact @ samples).reshape(n_frames, -1, *samples.shape[1:])
  n_samples = of_frames.shape[1] * of_frames.shape[3]
  of_frames = of_frames.swapaxes(1, 2).reshape(n_frames, N_COILS, n_samples)
  found = combined_windows(
    of_frames.astype(np.complex64),
    trajectory.reshape(n_frames, n_samples, 2),
    own,
    disc(9),
    window=1,
  )
  # Combined over the square of their norm, not the norm.
  return error_of(found * shading[disc(9)][:, None], shading)


def test_whitening_is_nearly_optimal(scan):
  raw = RawSeries(scan, ACQUISITION)
  (sentence,) = (s for s in raw.assumptions if "whitened" in s)
  assert "factor of 10" in sentence and "correlated by 0.7" in sentence
  best = optimal()
  white = error_of(raw.signals(disc(9)[None]), seen(whitener())[1])
  assert white < 1.05 * best
  as_it_is = RawSeries(scan, ACQUISITION, whiten=False)
  assert not any("whitened" in s for s in as_it_is.assumptions)
  plain = error_of(as_it_is.signals(disc(9)[None]), seen()[1])
  assert plain > 1.2 * best


def test_noise_of_another_file(scan, tmp_path):
  bare = write(tmp_path / "bare.mrd")
  own = RawSeries(scan, ACQUISITION).signals(disc(9)[None])
  given = RawSeries(bare, ACQUISITION, noise=scan)
  np.testing.assert_array_equal(given.signals(disc(9)[None]), own)
  stored = np.concatenate([noise(256, seed=k) for k in range(10, 30)], 1)
  np.save(tmp_path / "noise.npy", stored)
  given = RawSeries(bare, ACQUISITION, noise=tmp_path / "noise.npy")
  np.testing.assert_allclose(given.signals(disc(9)[None]), own, rtol=1e-4)
  for values, words in (
    (stored[:4], "noise.npy are of 4 coils, the scan is of 6"),
    (stored[:, :1], "1 samples of noise for 6 coils"),
    (1e4 * stored, "noise.npy are stronger than the scan: are they noise"),
    (stored.real, r"noise.npy: float32 of shape .* not complex \[coil, sample"),
    (stored * np.nan, "noise.npy: has values that are not finite"),
  ):
    np.save(tmp_path / "noise.npy", values)
    with pytest.raises(UserError, match=words):
      RawSeries(bare, ACQUISITION, noise=tmp_path / "noise.npy")
  with pytest.raises(UserError, match=r"bare\.mrd: no acquisition is flagged"):
    RawSeries(bare, ACQUISITION, noise=bare)
  with pytest.raises(UserError, match="no noise acquisitions to whiten by"):
    RawSeries(bare, ACQUISITION, whiten=True)


def test_noise_that_nobody_asked_for_is_left_out(tmp_path):
  few = write(tmp_path / "few.mrd", noise=[noise(20, seed=1)])
  raw = RawSeries(few, ACQUISITION)
  assert any("not whitened: " in s and "20 samp" in s for s in raw.assumptions)
  plain = RawSeries(few, ACQUISITION, whiten=False)
  np.testing.assert_array_equal(
    raw.signals(disc(9)[None]), plain.signals(disc(9)[None])
  )
  with pytest.raises(UserError, match="20 samples of noise for 6 coils"):
    RawSeries(few, ACQUISITION, whiten=True)


def test_virtual_coils_give_the_same_images(scan):
  all_coils = RawSeries(scan, ACQUISITION)
  few = RawSeries(scan, ACQUISITION, coil_loss=0.002)
  assert few._samples.shape[1] < N_COILS
  assert any("virtual coils of 6" in s for s in few.assumptions)
  whole, part = (
    error_of(raw.signals(disc(9)[None]), seen(whitener())[1])
    for raw in (all_coils, few)
  )
  assert part < 1.1 * whole
