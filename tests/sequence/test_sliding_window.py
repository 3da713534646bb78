"""Windows of frames, and errors that say how they are made."""

import dataclasses

import numpy as np
import pytest

import mrf_jax
from mrf_jax import Acquisition, UserError, sliding_window, tailored
from tests.dataset.examples import make_subject
from tests.inference.examples import NETWORKS, make_model
from tests.laws import complex_noise

HOW = r"mrf_jax.sliding_window\(frames, window=4, stride=2\) makes windows"


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (), (0,)])
def test_means_along_the_last_axis(shape):
  frames = complex_noise(*shape, 11)
  windows = sliding_window(frames, window=4, stride=3)
  expected = [frames[..., k : k + 4].mean(-1) for k in (0, 3, 6)]
  assert windows.dtype == np.complex64
  np.testing.assert_allclose(windows, np.stack(expected, -1), atol=1e-6)


def test_whole_numbers_are_not_cut():
  windows = sliding_window(np.array([[0, 1, 1]]), window=2)
  np.testing.assert_array_equal(windows, [[0.5, 1.0]])


def test_a_single_voxel():
  assert sliding_window(np.ones(6), window=6).tolist() == [1.0]


@pytest.mark.parametrize(
  ("window", "stride"), [(0, 1), (12, 1), (4, 0), (4, -1)]
)
def test_window_must_fit(window, stride):
  with pytest.raises(UserError, match=f"window {window} and stride {stride}"):
    sliding_window(np.ones((3, 11)), window=window, stride=stride)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_frames_must_be_finite(value):
  """One bad frame would spoil all windows behind it, not its own alone."""
  frames = np.zeros((5000, 2, 7))
  frames[4500, 1, 2] = value
  with pytest.raises(UserError, match=r"frames\[4500, 1\] has values that are"):
    sliding_window(frames, window=2)


def test_match_says_how():
  sequence = tailored(18)
  dictionary = mrf_jax.build_dictionary(
    sequence, [800, 1200], [50, 90], window=4, stride=2, rank=2
  )
  frames = complex_noise(3, 18)
  with pytest.raises(UserError, match=r"needs \[voxel, 8\]; " + HOW):
    mrf_jax.match(dictionary, frames)
  mrf_jax.match(dictionary, sliding_window(frames, window=4, stride=2))


def test_match_takes_double_precision():
  """As NumPy makes it of other arrays."""
  sequence = tailored(18)
  dictionary = mrf_jax.build_dictionary(sequence, [800, 1200], [50, 90])
  signals = 2j * dictionary.norms[:, None] * dictionary.atoms
  maps = mrf_jax.match(dictionary, signals.astype(np.complex128))
  np.testing.assert_array_equal(maps.t1_ms, dictionary.t1_ms)
  np.testing.assert_allclose(maps.pd, 2.0, rtol=1e-5)


def test_subject_of_frames_says_how(tmp_path):
  mask = np.ones((1, 2, 2), bool)
  acquisition = Acquisition(tailored(18), window=4, stride=2)
  frames = complex_noise(4, 18)
  subject = make_subject(mask, acquisition, signals=frames)
  with pytest.raises(UserError, match="18 columns, .* make 8; " + HOW):
    mrf_jax.save_subject(subject, tmp_path / "a.h5")


def test_model_of_windows_says_how():
  sequence = tailored(18)
  model = dataclasses.replace(
    make_model(NETWORKS["cohen"]),
    acquisition=Acquisition(sequence, window=4, stride=2),
  )
  subject = make_subject(np.ones((1, 2, 2), bool), Acquisition(sequence))
  with pytest.raises(UserError, match="the model needs 4; " + HOW):
    mrf_jax.reconstruct(model, subject)
