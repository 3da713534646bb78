import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.evaluation.tissues import TISSUES, tissue_masks

THRESHOLDS = {"csf": (4103, 5400), "wm": (608, 756), "gm": (756, 1304)}


def test_ranges_are_half_open():
  """Brain is every voxel."""
  t1_ms = np.array([607.9, 608, 755.9, 756, 1304, 4103, 5400, np.nan])
  masks = tissue_masks(t1_ms, thresholds_ms=THRESHOLDS)
  # A lesion is known by where it was put, not by its T1.
  assert tuple(masks) == tuple(t for t in TISSUES if t != "lesion")
  for tissue, places in {"wm": [1, 2], "gm": [3], "csf": [5]}.items():
    assert np.flatnonzero(masks[tissue]).tolist() == places
  assert masks["brain"].all() and masks["brain"].shape == t1_ms.shape


def test_tissues_without_thresholds_are_left_out():
  masks = tissue_masks(np.ones(3), thresholds_ms={"gm": (0, 2)})
  assert tuple(masks) == ("gm", "brain")


@pytest.mark.parametrize(
  ("thresholds", "message"),
  [
    ({"fat": (200, 300)}, "fat"),
    ({"brain": (0, 1)}, "brain"),
    ({"wm": (756, 608)}, "low < high"),
    ({"wm": (608, 608)}, "low < high"),
    ({"wm": (float("nan"), 608)}, "low < high"),
    ({"wm": (608,)}, "low < high"),
  ],
)
def test_bad_thresholds_are_refused(thresholds, message):
  with pytest.raises(UserError, match=message):
    tissue_masks(np.ones(3), thresholds_ms=thresholds)
