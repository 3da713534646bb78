import jax
import numpy as np
import pytest

from mrf_jax.dataset.signal_rows import (
  BLOCK,
  empty_signals,
  rounded,
  signal_rows,
)
from mrf_jax.dataset.subject import load_subject, save_subject
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored
from tests.dataset.examples import make_subject
from tests.laws import complex_noise


@pytest.fixture
def loaded(tmp_path):
  """Signals of a subject file, and those that were written to it."""
  acquisition = Acquisition(tailored(18), window=1, stride=1)
  subject = make_subject(np.ones((2, 5, 6), bool), acquisition)
  save_subject(subject, tmp_path / "a.h5")
  return load_subject(tmp_path / "a.h5").signals, subject.signals


def numbers(signals):
  """Real and imaginary part of each frame in turn."""
  return np.stack([signals.real, signals.imag], -1).reshape(len(signals), -1)


def test_signals_of_a_file_are_not_copied(loaded):
  signals, written = loaded
  rows = signal_rows(signals)
  np.testing.assert_array_equal(rows[1:61], numbers(written))
  assert np.shares_memory(rows, signals)
  # Not even by a CPU that computes with them.
  with jax.default_device(jax.devices("cpu")[0]):
    on_device = jax.device_put(rows)
  assert on_device.unsafe_buffer_pointer() == rows.ctypes.data


@pytest.mark.parametrize(
  "part",
  [np.s_[1:], np.s_[:40], np.s_[::2], np.s_[::-1], np.s_[:, 1:], np.s_[:, ::2]],
  ids=str,
)
def test_parts_of_a_scan_are_rows_of_their_own(loaded, part):
  signals = loaded[0][part]
  rows = signal_rows(signals)
  assert rows.shape == (BLOCK, 2 * signals.shape[1])
  np.testing.assert_array_equal(rows[1 : 1 + len(signals)], numbers(signals))


def test_other_signals_are_copied_to_whole_blocks():
  signals = complex_noise(BLOCK, 3)
  rows = signal_rows(signals)
  assert rows.shape == (2 * BLOCK, 6)
  np.testing.assert_array_equal(rows[1 : 1 + BLOCK], numbers(signals))
  assert not np.shares_memory(rows, signals)
  # Rows of a copy are as they lie, too.
  again = signal_rows(rows[1 : 1 + BLOCK].view(np.complex64))
  assert again.ctypes.data == rows.ctypes.data


def test_two_scans_have_two_memories():
  first, second = empty_signals(3, 2), empty_signals(3, 2)
  first[:] = 1
  assert not second.any()
  assert not signal_rows(second)[1:4].any()


def test_counts_are_rounded_to_three_digits():
  assert [rounded(k) for k in (1, 2, 7, 8, 9, 11, 70, 96, 97)] == [
    1, 2, 7, 8, 10, 12, 80, 96, 112,
  ]  # fmt: skip
