import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.evaluation.errors import map_errors
from mrf_jax.maps import MAP_NAMES, Maps

REFERENCE = Maps(
  pd=np.array([0.5, 0.5, 0.5, 1.0], np.float32),
  t1_ms=np.array([700, 700, 700, 4500], np.float32),
  t2_ms=np.array([60, 60, 60, 1000], np.float32),
)
MASKS = {
  "wm": np.array([True, True, False, False]),
  "csf": np.zeros(4, bool),
  "brain": np.ones(4, bool),
}


def _estimate(**changes):
  values = {n: getattr(REFERENCE, n) for n in MAP_NAMES} | changes
  return Maps(**values)


def test_known_numbers():
  estimate = _estimate(
    pd=REFERENCE.pd + np.float32(0.25),
    t1_ms=REFERENCE.t1_ms + np.array([30, -40, 0, 0], np.float32),
  )
  errors = map_errors(estimate, REFERENCE, MASKS)
  assert set(errors) == {(t, n) for t in MASKS for n in MAP_NAMES}
  assert errors["wm", "pd"] == (0.25, 0.25)
  assert errors["wm", "t1_ms"] == pytest.approx((35, np.sqrt(1250)))
  assert errors["brain", "t1_ms"] == pytest.approx((17.5, 25))
  assert errors["brain", "t2_ms"] == (0, 0)


def test_empty_tissue_is_nan():
  errors = map_errors(REFERENCE, REFERENCE, MASKS)
  assert np.isnan(errors["csf", "t1_ms"]).tolist() == [True, True]


def test_sums_are_float64():
  # In float32 the increments of 1e-4 beside 1e4 would be lost.
  error = np.full(200_000, 1e-4)
  error[0] = 1e4
  zero = Maps(*(np.zeros_like(error) for _ in MAP_NAMES))
  one = Maps(error, error, error)
  mae, _ = map_errors(one, zero, {"brain": error > 0})["brain", "pd"]
  assert mae == pytest.approx((1e4 + 199_999e-4) / 200_000, rel=1e-12)


def test_non_finite_values_are_counted():
  bad = REFERENCE.t2_ms.copy()
  bad[[0, 2]] = np.nan, np.inf
  with pytest.raises(UserError, match=r"t2_ms: the estimate .* 2 of 4"):
    map_errors(_estimate(t2_ms=bad), REFERENCE, MASKS)
  with pytest.raises(UserError, match=r"t2_ms: the reference .* 2 of 4"):
    map_errors(REFERENCE, _estimate(t2_ms=bad), MASKS)


def test_shapes_must_agree():
  # One voxel would broadcast silently.
  with pytest.raises(UserError, match="t1_ms"):
    map_errors(_estimate(t1_ms=np.ones(1)), REFERENCE, MASKS)
  with pytest.raises(UserError, match="tissue wm"):
    map_errors(REFERENCE, REFERENCE, {"wm": np.ones(3, bool)})
