"""Matching by groups against matching every atom."""

import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.matching import groups as grouping
from mrf_jax.matching.dictionary import build_dictionary, compress
from mrf_jax.matching.dot_product import best_atoms, match
from mrf_jax.matching.groups import (
  best_atoms_of_groups,
  group_atoms,
  match_groups,
)
from mrf_jax.sequence.schedules import tailored
from tests.laws import check_scale_and_phase
from tests.matching.examples import complex_dictionary, noisy_signals

AXES = np.geomspace(300, 5000, 40), np.geomspace(20, 2000, 40)


@pytest.fixture(scope="module")
def full():
  return build_dictionary(tailored(96), *AXES, window=48)


def assert_nothing_missed(dictionary, signals, **options):
  groups = group_atoms(dictionary, **options)
  best, score, searched = best_atoms_of_groups(groups, signals)
  expected, expected_score = best_atoms(dictionary, signals)
  np.testing.assert_allclose(score, expected_score, rtol=2e-6)
  assert np.mean(best == expected) > 0.9  # others are ties in float32
  return searched


@pytest.mark.parametrize("size", [1, 3, 64, 5000])
@pytest.mark.parametrize("noise", [0.0, 0.02, 1.0])
def test_no_better_atom_is_missed(full, size, noise):
  signals = noisy_signals(full, n=500, noise=noise)
  assert_nothing_missed(compress(full, rank=8), signals, size=size)


def test_most_groups_are_skipped(full):
  signals = noisy_signals(full, noise=0.002)
  searched = assert_nothing_missed(compress(full, rank=8), signals, size=16)
  assert searched < 0.2


def test_all_frames_and_odd_sizes(full, monkeypatch):
  monkeypatch.setattr(grouping, "_VOXEL_BLOCK", 100)
  monkeypatch.setattr(grouping, "_TASKS", 7)
  assert_nothing_missed(full, noisy_signals(full, n=333), size=50)


def test_complex_atoms():
  full = complex_dictionary()
  signals = noisy_signals(full, n=300)
  assert_nothing_missed(full, signals, size=20)
  assert_nothing_missed(compress(full, rank=15), signals, size=20)


def test_groups_hold_all_atoms(full):
  """Each within the angle of its group."""
  groups = group_atoms(compress(full, rank=8), size=30)
  np.testing.assert_array_equal(
    np.unique(groups.members), np.arange(full.n_atoms)
  )
  assert groups.members.shape[1] <= 30
  cosines = np.einsum(
    "gmc,gc->gm", groups.atoms.astype(float), groups.centres.astype(float)
  )
  assert np.all(cosines >= groups.cos_angle[:, None] - 1e-6)


def test_groups_ignore_scale_and_phase(full):
  groups = group_atoms(compress(full, rank=8))
  check_scale_and_phase(
    lambda signals: match_groups(groups, signals).stack(),
    noisy_signals(full, n=100),
  )


def test_maps_are_those_of_match(full):
  short = compress(full, rank=8)
  signals = noisy_signals(full, n=200)
  signals[7] = 0
  maps = match(short, signals)
  grouped = match_groups(group_atoms(short), signals)
  # Of two atoms that match equally well either may be chosen.
  atoms = np.stack([short.t1_ms, short.t2_ms], 1).tolist()
  norms = dict(zip(map(tuple, atoms), np.asarray(short.norms), strict=True))
  scores = [
    [pd * norms[t1, t2] for pd, t1, t2 in m.stack().tolist()]
    for m in (maps, grouped)
  ]
  np.testing.assert_allclose(*scores, rtol=1e-4)
  assert np.mean(np.isclose(maps.pd, grouped.pd, rtol=1e-4)) > 0.98
  assert np.mean(maps.t1_ms == grouped.t1_ms) > 0.9
  assert grouped.pd[7] == 0 and grouped.t1_ms[7] == maps.t1_ms[7]
  assert match_groups(group_atoms(short), signals[:0]).pd.shape == (0,)


def test_input_that_is_not_valid(full):
  groups = group_atoms(full)
  with pytest.raises(UserError, match=r"\[voxel, 49\]"):
    match_groups(groups, np.zeros((3, 48), np.complex64))
  bad = np.zeros((3, 49), np.complex64)
  bad[1, 5] = np.inf
  with pytest.raises(UserError, match="1 voxels have signals"):
    match_groups(groups, bad)
  with pytest.raises(UserError, match="size is 0"):
    group_atoms(full, size=0)
