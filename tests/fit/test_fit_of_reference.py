import numpy as np
import pytest

from mrf_jax import Maps, UserError
from mrf_jax.fit.maps import quick_match
from mrf_jax.fit.orders import mirrored
from mrf_jax.fit.reference import check_reference
from tests.fit.examples import scan


def check(t1_ms):
  match = quick_match(scan().acquisition, scan().signals)
  maps = Maps(scan().maps.pd, t1_ms, scan().maps.t2_ms)
  return check_reference(match, maps, scan().mask)


def test_own_maps_are_accepted():
  assert check(scan().maps.t1_ms) == []
  # Another calibration, or one value everywhere as in a phantom.
  assert check(1.3 * scan().maps.t1_ms) == []
  assert check(np.full(scan().n_voxels, 900.0)) == []


@pytest.mark.parametrize("axis, name", [(0, "z"), (1, "y"), (2, "x")])
def test_mirrored_maps_are_named(axis, name):
  volume = np.full(scan().mask.shape, 900.0, np.float32)
  volume[scan().mask] = scan().maps.t1_ms
  with pytest.raises(UserError, match=f"mirrored along {name}"):
    check(np.flip(volume, axis)[scan().mask])


def test_maps_of_another_scan_are_refused():
  order = np.random.default_rng(0).permutation(scan().n_voxels)
  with pytest.raises(UserError, match="those of another scan"):
    check(scan().maps.t1_ms[order])


def test_maps_that_fit_half_are_doubted():
  t1_ms = scan().maps.t1_ms.copy()
  half = slice(0, scan().n_voxels // 2)
  t1_ms[half] = np.random.default_rng(0).permutation(t1_ms[half])
  (sentence,) = check(t1_ms)
  assert "are the maps those of this scan" in sentence


def test_all_orders_differ():
  volume = np.arange(2 * 3 * 3).reshape(2, 3, 3)
  orders = [tuple(v.ravel()) for _, v in mirrored(volume)]
  assert len(set(orders)) == len(orders) == 15
