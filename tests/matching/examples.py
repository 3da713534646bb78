"""Noisy signals of a dictionary's atoms, and a dictionary that is complex."""

import numpy as np

from mrf_jax.matching.dictionary import Dictionary, build_dictionary
from mrf_jax.sequence.sequence import make_sequence


def noisy_signals(
  dictionary: Dictionary, n: int = 3000, *, noise: float = 0.02
) -> np.ndarray:
  """Random atoms with noise, a random phase and a scale, [voxel, column]."""
  rng = np.random.default_rng(0)
  atoms = np.asarray(dictionary.atoms)[rng.integers(0, dictionary.n_atoms, n)]
  parts = rng.normal(size=(2, *atoms.shape)) * noise
  phase = np.exp(2j * np.pi * rng.random((n, 1)))
  signals = (atoms + parts[0] + 1j * parts[1]) * phase
  return (signals * rng.uniform(0.1, 9, (n, 1))).astype(np.complex64)


def complex_dictionary() -> Dictionary:
  """Atoms of pulses of random phases."""
  rng = np.random.default_rng(0)
  sequence = make_sequence(
    rng.uniform(10, 60, 40), 12.0, 2.0, rng.uniform(0, 360, 40), 20.0
  )
  axes = np.geomspace(300, 5000, 14), np.geomspace(20, 2000, 14)
  dictionary = build_dictionary(sequence, *axes)
  assert np.iscomplexobj(dictionary.atoms)
  return dictionary
