import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.matching import dictionary
from mrf_jax.runtime import memory
from mrf_jax.sequence.schedules import tailored


def test_peak_is_that_of_block():
  with memory.PeakMemory() as peak:
    array = np.ones(2**25)  # 256 MiB
    del array
  assert 200 < peak.peak_bytes / 2**20 < 400


def test_available_memory_is_plausible():
  assert 2**20 < memory.available_bytes() < 2**50


def test_too_large_dictionary_is_refused(monkeypatch):
  """The error says how many atoms would fit."""
  monkeypatch.setattr(dictionary, "available_bytes", lambda: 2**20)
  axes = np.geomspace(300, 4000, 60), np.geomspace(20, 300, 60)
  monkeypatch.setattr(
    dictionary,
    "simulate_fingerprints",
    lambda *a, **k: pytest.fail("allocated"),
  )
  with pytest.raises(UserError) as caught:
    dictionary.build_dictionary(tailored(96), *axes, window=48)
  text = str(caught.value)
  assert "3,600 atoms of 96 frames need" in text and "are free" in text
  fits = int(text.split(";")[1].split()[0].replace(",", ""))
  # (96 + 49) numbers of four bytes an atom.
  assert 0.85 * 2**20 < fits * 145 * 4 <= 0.9 * 2**20
