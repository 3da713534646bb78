"""Dictionaries, and matching against products in float64."""

import numpy as np
import pytest

from configs import demo
from mrf_jax.errors import UserError
from mrf_jax.matching.dictionary import (
  Dictionary,
  build_dictionary,
  compress,
  grid_axis,
)
from mrf_jax.matching.dot_product import best_atoms, match
from mrf_jax.runtime.memory import PeakMemory
from mrf_jax.sequence.schedules import tailored
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.signal.fingerprints import simulate_fingerprints
from mrf_jax.signal.subspace import gram_matrix, temporal_basis
from tests.laws import check_scale_and_phase, complex_noise
from tests.matching.examples import complex_dictionary, noisy_signals

SEQUENCE = tailored(96)
AXES = {
  "t1_ms": np.geomspace(300, 5000, 30),
  "t2_ms": np.geomspace(20, 2000, 25),
}


@pytest.fixture(scope="module")
def dictionary():
  return build_dictionary(SEQUENCE, **AXES, window=48)


def in_float64(dictionary, signals):
  """Best atom and score in float64, and whether float32 can tell it apart."""
  atoms = np.asarray(dictionary.atoms).astype(np.complex128)
  scores = np.abs(signals.astype(np.complex128) @ atoms.conj().T)
  second, first = np.partition(scores, -2)[:, -2:].T
  clear = first - second > 3e-6 * first
  assert np.mean(clear) > 0.8
  return scores.argmax(1), first, clear


def assert_best(dictionary, signals, **options):
  """Best atoms and their scores are those in float64."""
  best, score = best_atoms(dictionary, signals, **options)
  expected, exact, clear = in_float64(dictionary, signals)
  np.testing.assert_allclose(score, exact, rtol=1e-5)
  np.testing.assert_array_equal(best[clear], expected[clear])
  return best


def test_same_atoms_as_in_float64(dictionary):
  assert_best(dictionary, noisy_signals(dictionary, n=10_000))


@pytest.mark.parametrize(
  "options",
  [
    {"voxel_block": 1, "atom_block": 7},
    {"voxel_block": 64, "atom_block": 100},
    {"voxel_block": 5000, "atom_block": 5000},
    {"voxel_block": 777, "atom_block": 1},
    {"chunk_bytes": 1},
    {"chunk_bytes": 50_000},
  ],
)
def test_blocks_and_chunks_change_nothing(dictionary, options):
  assert_best(dictionary, noisy_signals(dictionary, n=100), **options)


def test_scale_and_phase_change_pd_only(dictionary):
  check_scale_and_phase(
    lambda signals: match(dictionary, signals).stack(),
    noisy_signals(dictionary, n=100),
  )


def test_complex_dictionary():
  dictionary = complex_dictionary()
  signals = noisy_signals(dictionary, n=300)
  best = assert_best(dictionary, signals)
  short = compress(dictionary, rank=20)
  agreed = best_atoms(short, signals)[0] == best
  assert agreed.mean() > 0.95


def test_pd_is_the_factor(dictionary):
  """Atoms are averaged by the same window as the signals."""
  echoes = simulate_fingerprints(SEQUENCE, dictionary.t1_ms, dictionary.t2_ms)
  signals = 0.7 * sliding_window(echoes, window=48)
  maps = match(dictionary, signals)
  np.testing.assert_allclose(maps.pd, 0.7, rtol=1e-3)
  same = (maps.t1_ms == dictionary.t1_ms) & (maps.t2_ms == dictionary.t2_ms)
  assert same.mean() > 0.99


def test_pairs_have_t2_below_t1(dictionary):
  assert np.all(dictionary.t2_ms <= dictionary.t1_ms)
  pairs = np.sum(AXES["t2_ms"][None] <= AXES["t1_ms"][:, None])
  assert dictionary.n_atoms == pairs
  np.testing.assert_allclose(
    np.linalg.norm(dictionary.atoms, axis=1), 1, rtol=1e-5
  )


def test_compression_keeps_the_match(dictionary):
  signals = noisy_signals(dictionary)
  full = match(dictionary, signals)
  short = match(compress(dictionary, rank=15), signals)
  step = AXES["t1_ms"][1] / AXES["t1_ms"][0]
  near = np.abs(np.log(short.t1_ms / full.t1_ms)) < 1.01 * np.log(step)
  assert near.mean() > 0.97
  np.testing.assert_allclose(np.median(short.pd / full.pd), 1, atol=0.01)


def test_rank_of_the_demo_is_enough():
  """At the demo's noise, the same or a neighbouring atom is chosen."""
  config = demo.get_config()
  options = config.dictionary
  axes = [
    grid_axis(*axis, step_percent=options.step_percent)
    for axis in (options.t1_ms, options.t2_ms)
  ]
  sequence = tailored(config.sequence.n_frames)
  full = build_dictionary(
    sequence, *axes, window=config.scan.window, stride=config.scan.stride
  )
  short = compress(full, rank=options.svd_rank)
  # Brain-like voxels; noise relative to the mean magnitude of the signals.
  rng = np.random.default_rng(0)
  t1_ms = rng.uniform(600, 4000, 2000)
  echoes = simulate_fingerprints(sequence, t1_ms, 0.08 * t1_ms + 20)
  signals = sliding_window(
    echoes, window=config.scan.window, stride=config.scan.stride
  )
  noise = rng.normal(size=(2, *signals.shape)) * config.scan.noise_level
  signals = signals + np.abs(signals).mean() * (noise[0] + 1j * noise[1])
  maps = [match(d, signals.astype(np.complex64)) for d in (full, short)]
  near = np.ones(len(signals), bool)
  for axis, name in zip(axes, ("t1_ms", "t2_ms"), strict=True):
    place = [np.searchsorted(axis, getattr(m, name)) for m in maps]
    near &= np.abs(place[0] - place[1]) <= 1
  assert near.mean() >= 0.99


def test_dictionary_with_b1():
  axes = np.geomspace(600, 1200, 8), np.geomspace(40, 120, 8)
  atoms = build_dictionary(SEQUENCE, *axes, b1=(0.8, 1.0, 1.2), window=8)
  assert atoms.n_atoms == 3 * 64
  echoes = simulate_fingerprints(SEQUENCE, axes[0], axes[1], b1=1.2)
  best, _ = best_atoms(atoms, sliding_window(echoes, window=8))
  np.testing.assert_array_equal(np.asarray(atoms.b1)[best], np.float32(1.2))
  np.testing.assert_allclose(np.asarray(atoms.t1_ms)[best], axes[0], rtol=1e-5)


def test_basis_equals_singular_vectors():
  signals = complex_noise(500, 12).astype(complex) * np.geomspace(1, 1e-3, 12)
  basis = temporal_basis(gram_matrix(signals), rank=4)
  _, _, vectors = np.linalg.svd(signals, full_matrices=False)
  # The same subspace, whatever the phase of its vectors.
  overlap = np.linalg.svd(vectors[:4] @ basis, compute_uv=False)
  np.testing.assert_allclose(overlap, 1, atol=1e-9)
  with pytest.raises(UserError, match="rank is 13"):
    temporal_basis(gram_matrix(signals), rank=13)


def test_zero_signals_have_no_density(dictionary):
  maps = match(dictionary, np.zeros((3, 49), np.complex64))
  np.testing.assert_array_equal(maps.pd, 0)
  assert np.all(np.isfinite(maps.stack()))


def test_signals_that_are_not_valid(dictionary):
  with pytest.raises(UserError, match=r"\[voxel, 49\]"):
    match(dictionary, np.zeros((3, 48), np.complex64))
  bad = np.zeros((3, 49), np.complex64)
  bad[1, 5] = np.nan
  with pytest.raises(UserError, match="1 voxels have signals"):
    match(dictionary, bad)


def test_dictionaries_that_are_not_possible(dictionary):
  with pytest.raises(UserError, match="T2 ≤ T1"):
    build_dictionary(SEQUENCE, [100.0], [200.0])
  with pytest.raises(UserError, match="do not fit"):
    build_dictionary(SEQUENCE, [500.0], [50.0], window=97)
  with pytest.raises(UserError, match="rank is 50"):
    compress(dictionary, rank=50)


def test_axis_steps_stay_below_the_bound():
  axis = grid_axis(100, 6000, step_percent=3.0)
  ratios = axis[1:] / axis[:-1]
  assert axis[0] == pytest.approx(100)
  assert axis[-1] == pytest.approx(6000)
  assert ratios.max() <= 1.03 + 1e-5
  assert isinstance(build_dictionary(SEQUENCE, [500.0], [50.0]), Dictionary)


def test_first_of_equal_scores(dictionary):
  twice = np.repeat(np.asarray(dictionary.atoms)[:9], 3, 0)
  ones = np.ones(27, np.float32)
  repeated = Dictionary(twice, ones, ones, ones, ones)
  signals = twice[::3].astype(np.complex64)
  best, _ = best_atoms(repeated, signals, atom_block=4)
  np.testing.assert_array_equal(best, np.arange(0, 27, 3))


def test_bfloat16_chooses_similar_atoms(dictionary):
  signals = noisy_signals(dictionary, n=500)
  _, exact = best_atoms(dictionary, signals)
  best, score = best_atoms(dictionary, signals, precision="bfloat16")
  np.testing.assert_allclose(score, exact, rtol=0.01)
  atoms = np.asarray(dictionary.atoms)[best]
  chosen = np.abs(np.einsum("vf,vf->v", atoms, signals))
  np.testing.assert_allclose(chosen, exact, rtol=0.01)
  with pytest.raises(UserError, match="'half' is not one of float32"):
    best_atoms(dictionary, signals, precision="half")


def test_memory_beyond_input_is_bounded():
  atoms = complex_noise(300_000, 100).view(np.float32)  # 240 MB
  rows = np.arange(len(atoms), dtype=np.float32)
  signals = complex_noise(2048, 200, seed=1)
  large = Dictionary(atoms, rows, rows, rows, rows)
  best_atoms(large, signals[:8])
  with PeakMemory() as memory:
    best_atoms(large, signals)
  assert memory.peak_bytes < 2**28
