"""Stacks of spirals: partitions of a slab become slices."""

import mrd_files
import numpy as np
import pytest
from test_arms import ACQUISITION, MATRIX, acquisitions, disc

from mrf_jax import UserError
from mrf_jax.importing.raw import RawSeries

N_PARTITIONS = 6
BRIGHTNESS = np.array([0.2, 1.0, 0.5, 0.8, 0.3, 0.6])


def slab(brightness=BRIGHTNESS, *, outer=True):
  """Acquisitions of all partitions: samples, trajectory, counters."""
  samples, trajectory, counters = acquisitions()
  n, z = len(brightness), np.arange(len(brightness)) - len(brightness) // 2
  steps = np.arange(n)
  waves = np.exp(-2j * np.pi * (steps - n // 2)[:, None] * z / n)
  scales = waves @ brightness
  every = scales[:, None, None, None] * samples
  counters = {name: np.tile(x, n) for name, x in counters.items()}
  counters["kspace_encode_step_2"] = np.repeat(steps, len(samples))
  every, places = every.reshape(-1, *samples.shape[1:]), np.arange(n * 40)
  if not outer:
    places = places.reshape(n, -1).T.ravel()
  counters = {name: x[places] for name, x in counters.items()}
  return every[places], np.tile(trajectory, (n, 1, 1))[places], counters


@pytest.fixture
def series(tmp_path):
  def read(samples, trajectory, counters, kept=slice(None), **options):
    path = mrd_files.write(
      tmp_path / f"{len(list(tmp_path.iterdir()))}.mrd",
      samples[kept][None],
      trajectory[kept],
      matrix=MATRIX,
      counters={name: x[kept] for name, x in counters.items()},
      **{"partitions": N_PARTITIONS, "depth": N_PARTITIONS, **options},
    )
    return RawSeries(path, ACQUISITION)

  return read


def brightness_of(raw):
  """Mean magnitude of the slices, relative to the second one."""
  image = raw.mean_magnitude()[disc(8).T]
  return image.mean(0) / image.mean(0)[1]


@pytest.mark.parametrize("outer", [True, False])
def test_partitions_become_slices(outer, series):
  raw = series(*slab(outer=outer))
  assert raw.shape == (MATRIX, MATRIX, N_PARTITIONS, 10)
  assert "6 partitions are transformed to 6 slices" in raw.assumptions
  np.testing.assert_allclose(brightness_of(raw), BRIGHTNESS, atol=0.01)
  np.testing.assert_allclose(np.linalg.norm(raw.affine[:3, 2]), 5, rtol=1e-5)
  # The slab's position is that of slice n // 2.
  middle = raw.affine @ [MATRIX // 2, MATRIX // 2, N_PARTITIONS // 2, 1]
  np.testing.assert_allclose(middle[:3], 0, atol=1e-4)


def test_signals_are_those_of_slices(series, tmp_path):
  samples, trajectory, counters = acquisitions()
  path = mrd_files.write(
    tmp_path / "slice.mrd",
    samples[None],
    trajectory,
    matrix=MATRIX,
    counters=counters,
  )
  one = RawSeries(path, ACQUISITION).signals(disc(8)[None])
  mask = np.zeros((N_PARTITIONS, MATRIX, MATRIX), bool)
  mask[1] = disc(8)
  found = series(*slab()).signals(mask)
  np.testing.assert_allclose(found, one, atol=1e-3 * np.abs(one).max())


def test_oversampled_partitions_are_cut(series):
  raw = series(*slab(), depth=4)
  assert raw.shape[2] == 4
  wanted = BRIGHTNESS[1:5] / BRIGHTNESS[2]
  np.testing.assert_allclose(brightness_of(raw), wanted, atol=0.02)
  middle = raw.affine @ [MATRIX // 2, MATRIX // 2, 2, 1]
  np.testing.assert_allclose(middle[:3], 0, atol=1e-4)


def test_missing_partitions_are_zero(series):
  samples, trajectory, counters = slab()
  kept = np.flatnonzero(counters["kspace_encode_step_2"] > 0)
  raw = series(samples, trajectory, counters, kept)
  assert "40 of 240 are missing and are taken to be 0" in raw.assumptions[0]
  # The outermost of six has a part of each slice, of turns in sign.
  part = BRIGHTNESS @ [1, -1, 1, -1, 1, -1] / N_PARTITIONS
  left = BRIGHTNESS - part * np.array([1, -1, 1, -1, 1, -1])
  np.testing.assert_allclose(brightness_of(raw), left / left[1], atol=0.01)


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (
      {"kept": slice(0, 80)},
      "2 of 6 partitions are there of some frames; 3",
    ),
    ({"partitions": 4, "depth": 4}, "from 0 to 5, but the header has 4 voxels"),
  ],
)
def test_other_stacks_are_refused(change, words, series):
  with pytest.raises(UserError, match=words):
    series(*slab(), **change)


@pytest.mark.parametrize("lost", [1, 3, 4])
def test_partitions_are_not_missing_between_others(lost, series):
  """What is taken to be 0 there makes ghosts of the slices."""
  samples, trajectory, counters = slab()
  kept = np.flatnonzero(counters["kspace_encode_step_2"] != lost)
  with pytest.raises(UserError, match="missing between others, or in the cen"):
    series(samples, trajectory, counters, kept)


def test_a_header_without_voxels_along_z_has_slices_or_arms(series):
  """As files of before, whose slices or frames the counter counts."""
  samples, trajectory, counters = acquisitions()
  counters["kspace_encode_step_2"] = counters.pop("kspace_encode_step_1")
  with pytest.raises(UserError, match="told apart by kspace_encode_step_2"):
    series(samples, trajectory, counters, partitions=1, depth=1)


def test_runs_that_are_counted_with_the_partition(series):
  samples, trajectory, counters = slab()
  counters["segment"] = counters["kspace_encode_step_2"]
  raw = series(samples, trajectory, counters)
  np.testing.assert_allclose(brightness_of(raw), BRIGHTNESS, atol=0.01)


def test_arms_of_another_file_are_those_of_the_acquisitions(series, tmp_path):
  samples, trajectory, counters = slab()
  expected = series(samples, trajectory, counters)
  np.save(tmp_path / "arms.npy", trajectory)
  path = mrd_files.write(
    tmp_path / "bare.mrd",
    samples[None],
    np.zeros((*trajectory.shape[:2], 0)),
    matrix=MATRIX,
    counters=counters,
    partitions=N_PARTITIONS,
    depth=N_PARTITIONS,
  )
  raw = RawSeries(path, ACQUISITION, trajectory=tmp_path / "arms.npy")
  mask = np.stack([disc(8)] * N_PARTITIONS)
  np.testing.assert_allclose(
    raw.signals(mask), expected.signals(mask), atol=1e-5
  )


def test_partitions_of_their_own_trajectory(series):
  samples, trajectory, counters = slab()
  turned = trajectory.copy()
  turned[40:80] = turned[40:80, :, ::-1]
  with pytest.raises(UserError, match="have trajectories of their own"):
    series(samples, turned, counters)


def test_partitions_that_nothing_tells_apart(series):
  samples, trajectory, counters = slab()
  counters["kspace_encode_step_1"] = 0 * counters["kspace_encode_step_1"]
  with pytest.raises(UserError, match="one partition that no counter tells"):
    series(samples, trajectory, counters)
