"""Sequences, acquisitions and subjects as a notebook shows them."""

import dataclasses

import jax
import numpy as np
import pytest

from mrf_jax import (
  Acquisition,
  make_sequence,
  rf_spoiling_phases_deg,
  tailored,
)
from tests.dataset.examples import make_subject


@pytest.mark.parametrize(
  ("sequence", "lines"),
  [
    (
      tailored(720),
      [
        "Sequence: 720 frames in 10.3 s, gradient-spoiled (FISP)",
        "  before the first pulse: inversion 20 ms",
        "  flip angles 6 to 75°, TR 14 to 17 ms, TE 2 ms, phases 0°",
      ],
    ),
    (
      make_sequence(
        np.full(10, 30.0),
        5.0,
        2.5,
        saturation_time_ms=8,
        t2_preparation_ms=40,
        balanced=True,
      ),
      [
        "Sequence: 10 frames in 0.05 s, balanced (bSSFP)",
        "  before the first pulse: saturation 8 ms, T2 preparation 40 ms",
        "  flip angles 30°, TR 5 ms, TE 2.5 ms, phases 0°",
      ],
    ),
    (
      make_sequence([10, 20, 30], 5.0, 2.5, rf_spoiling_phases_deg(3)),
      [
        "Sequence: 3 frames in 0.015 s, gradient-spoiled, pulses of different "
        "phases",
        "  before the first pulse: nothing",
        "  flip angles 10 to 30°, TR 5 ms, TE 2.5 ms, phases 0 to 351°",
      ],
    ),
  ],
)
def test_sequence_prints_in_three_lines(sequence, lines):
  assert str(sequence).splitlines() == lines


def test_sequence_prints_whatever_jax_puts_in_it():
  """Shapes, tracers and nothing at all."""
  sequence = tailored(18)
  shapes = jax.tree.map(np.shape, sequence)
  assert "flip_angles_deg=(18,)" in repr(shapes)
  printed = []

  @jax.jit
  def duration(sequence):
    printed.append(repr(sequence))
    return sequence.tr_ms.sum()

  duration(sequence)
  assert printed[0].startswith("Sequence(flip_angles_deg=")


def test_acquisition_and_subject():
  acquisition = Acquisition(tailored(18), window=4, stride=2)
  assert repr(acquisition).startswith(
    "Acquisition: 8 images, windows of 4 frames with stride 2\nSequence: 18 "
  )
  subject = make_subject(np.ones((2, 3, 4), bool), acquisition)
  assert repr(subject).splitlines() == [
    "Subject subject 0: 24 voxels of 4 × 3 × 2, reference maps, 1.5 T",
    "  8 images, windows of 4 frames with stride 2",
    "  simulated",
  ]
  imported = dataclasses.replace(subject, provenance="imported from a; no mask")
  assert repr(imported).splitlines()[-1] == (
    "  imported from a (provenance says what was assumed)"
  )
  without = dataclasses.replace(subject, signals=None, maps=None)
  assert "no reference maps" in repr(without)
  assert "not loaded" in repr(without)
