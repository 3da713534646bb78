import dataclasses

import numpy as np

from mrf_jax.dataset.identity import identify
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored
from tests.dataset.examples import make_subject

ACQUISITION = Acquisition(tailored(18), window=1, stride=1)
MASK = np.ones((2, 6, 7), bool)


def scan(seed=0, **fields):
  """A scan without maps, which would tell it, too."""
  return make_subject(MASK, ACQUISITION, seed, maps=None, **fields)


def drawing():
  """A scan whose voxels are alike: it has no sketch."""
  return scan(signals=np.ones((MASK.sum(), 18), np.complex64))


def test_sketches_tell_scans_without_a_checksum_of_signals():
  known = [identify(scan(seed)) for seed in range(3)]
  same, other = (identify(scan(k), beside=known) for k in (1, 3))
  assert "signals" not in same.parts
  assert [same.is_same_scan(own) for own in known] == [False, True, False]
  assert not any(other.is_same_scan(own) for own in known)
  # Nor are two scans the same because neither has a checksum.
  assert not same.is_same_scan(other)


def test_scans_without_a_sketch_are_told_by_their_checksum():
  known = [identify(scan()), identify(drawing())]
  assert not known[1].sketch
  own = identify(drawing(), beside=known)
  assert [own.is_same_scan(other) for other in known] == [False, True]
  changed = drawing()
  changed.signals[0] = 2
  own = identify(changed, beside=known)
  assert not any(own.is_same_scan(other) for other in known)
  # A scan with a sketch is compared with one without by the checksum.
  whole = identify(scan(), beside=known)
  hidden = dataclasses.replace(known[0], sketch=())
  assert whole.is_same_scan(hidden)


def test_nothing_to_compare_with_needs_no_checksum():
  assert "signals" not in identify(drawing(), beside=[]).parts
  assert "signals" in identify(scan()).parts
