"""Atlas matching against a direct gather, and its invariances."""

import dataclasses

import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.matching import atlas as atlas_module
from mrf_jax.matching.atlas import AtlasScan, match_atlas
from tests.laws import check_blocks, check_scale_and_phase, complex_noise

SHAPE = (3, 9, 10)
OPTIONS = dict(window=(5, 3, 3), patch=(3, 3, 3), n_neighbours=3)


ONE_NAN = np.zeros((7, *SHAPE), np.complex64)
ONE_NAN[0, 1, 2, 3] = np.nan


def scan(seed, n_channels=7, shape=SHAPE):
  rng = np.random.default_rng(seed)
  mask = rng.random(shape) < 0.7
  return AtlasScan(
    signals=complex_noise(n_channels, *shape, seed=seed) * mask,
    maps=(rng.random((3, *shape)) * mask).astype(np.float32),
    mask=mask,
  )


def matched(query, atlas, **changes):
  """Maps of a query by `OPTIONS`, [map, slice, y, x]."""
  return match_atlas(query.signals, query.mask, atlas, **OPTIONS | changes)


def patches(volume, size):
  """Unit patches around every voxel, zero outside, [slice, y, x, value]."""
  margin = [n // 2 for n in size[::-1]]
  wide = np.pad(volume, [(0, 0), *((m, m) for m in margin)])
  views = [
    wide[:, z : z + SHAPE[0], y : y + SHAPE[1], x : x + SHAPE[2]]
    for z in range(size[2])
    for y in range(size[1])
    for x in range(size[0])
  ]
  flat = np.moveaxis(np.concatenate(views), 0, -1)
  length = np.linalg.norm(flat, axis=-1, keepdims=True)
  return flat / np.where(length > 0, length, 1)


def by_direct_gather(query, atlas, *, window, patch, n_neighbours, alpha=0.5):
  """Two iterations over gathered patches, in double precision."""
  wide = [n // 2 for n in window[::-1]]
  scans = [
    (
      patches(s.signals.astype(np.complex128), patch),
      patches(s.maps.astype(np.float64), patch),
      s,
    )
    for s in atlas
  ]
  own = patches(query.signals.astype(np.complex128), patch)
  estimate = np.zeros((3, *SHAPE))
  for iteration in range(2):
    prior = patches(estimate, patch)
    new = np.zeros_like(estimate)
    for at in np.argwhere(query.mask):
      candidates = []
      low = np.maximum(at - wide, 0)
      high = np.minimum(at + wide + 1, SHAPE)
      for atoms, maps, s in scans:
        for other in np.ndindex(*(high - low)):
          place = tuple(low + other)
          if not s.mask[place]:
            continue
          score = abs(np.vdot(atoms[place], own[tuple(at)]))
          if iteration:
            map_score = maps[place] @ prior[tuple(at)]
            score = (1 - alpha) * score + alpha * map_score
          candidates.append((score, s.maps[(slice(None), *place)]))
      candidates.sort(key=lambda pair: -pair[0])
      best = candidates[:n_neighbours]
      weights = np.array([score for score, _ in best])
      values = np.array([values for _, values in best])
      new[(slice(None), *at)] = weights @ values / weights.sum()
    estimate = new
  return estimate


@pytest.mark.parametrize("n_channels", [4, 7])
def test_box_sums_equal_direct_gather(n_channels):
  query, *atlas = (scan(seed, n_channels) for seed in range(4))
  estimate = matched(query, atlas)
  expected = by_direct_gather(query, atlas, **OPTIONS)
  np.testing.assert_allclose(estimate, expected, atol=1e-5)


def test_scan_gets_its_own_maps():
  query = scan(0)
  estimate = matched(query, [scan(1), query], n_neighbours=1)
  np.testing.assert_allclose(estimate, query.maps, atol=1e-6)


def test_scale_and_phase_change_nothing():
  query, atlas = scan(0), [scan(1), scan(2)]
  check_scale_and_phase(
    lambda signals: (
      match_atlas(signals, query.mask, atlas, **OPTIONS)[:, query.mask].T
    ),
    query.signals,
    factor=300 * np.exp(0.7j),
    scales_pd=False,
  )


@pytest.mark.parametrize(("step", "inside"), [(2, True), (3, False)])
def test_window_has_its_size(step, inside):
  query = scan(0)
  moved = AtlasScan(
    *(np.roll(a, step, -1) for a in (query.signals, query.maps, query.mask))
  )
  estimate = matched(query, [moved], n_neighbours=1)
  # Away from the edge that `roll` wraps around.
  inner = query.mask.copy()
  inner[..., -step - 1 :] = inner[..., :1] = False
  same = np.isclose(estimate, query.maps, atol=1e-6).all(0)[inner]
  assert (same.mean() > 0.99) == inside


def test_one_iteration_without_map_weight():
  query, atlas = scan(0), [scan(1)]
  single = matched(query, atlas, n_iterations=1)
  double = matched(query, atlas, alpha=0.0)
  np.testing.assert_allclose(single, double, atol=1e-6)


def test_voxel_without_candidates_gets_mean():
  query, other = scan(0), scan(1)
  mask = other.mask.copy()
  mask[..., 4:] = False
  maps = np.where(mask, other.maps, 0)
  cut = AtlasScan(np.where(mask, other.signals, 0), maps, mask)
  estimate = matched(query, [cut])
  far = query.mask.copy()
  far[..., :6] = False
  mean = maps[:, mask].mean(1)
  np.testing.assert_allclose(
    estimate[:, far], np.tile(mean[:, None], far.sum()), rtol=1e-5
  )


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"window": (4, 3, 3)}, "window.*odd"),
    ({"patch": (3, 3)}, "patch.*odd"),
    ({"n_neighbours": 0}, "n_neighbours"),
    ({"n_iterations": 0}, "n_iterations"),
    ({"alpha": 1.5}, "alpha"),
  ],
)
def test_options_that_are_not_valid(change, message):
  with pytest.raises(UserError, match=message):
    matched(scan(0), [scan(1)], **change)


def test_query_must_fit_the_atlas():
  query, other = scan(0), scan(1)
  with pytest.raises(UserError, match="no scans"):
    matched(query, [])
  empty = dataclasses.replace(other, mask=np.zeros(SHAPE, bool))
  with pytest.raises(UserError, match="no masked voxels"):
    matched(query, [empty])
  with pytest.raises(UserError, match=r"signals of .* scan 0 has shape"):
    matched(scan(0, n_channels=3), [other])


def test_tiles_change_nothing(monkeypatch):
  query, *others = (scan(seed) for seed in range(3))
  check_blocks(
    lambda: matched(query, others),
    monkeypatch,
    [(atlas_module, "_TILE", (2, 4, 3))],
  )


def test_values_outside_masks_change_nothing():
  clean = scan(0), scan(1)
  dirty = [
    AtlasScan(s.signals + ~s.mask, s.maps + ~s.mask, s.mask) for s in clean
  ]
  estimates = [matched(query, [other]) for query, other in (clean, dirty)]
  np.testing.assert_allclose(*estimates, atol=1e-5)


def test_first_of_equal_scores():
  query = scan(0)
  other = AtlasScan(query.signals, 1 - query.maps, query.mask)
  for first, second in ((query, other), (other, query)):
    estimate = matched(query, [first, second], n_neighbours=1, n_iterations=1)
    expected = np.where(query.mask, first.maps, 0)
    np.testing.assert_allclose(estimate, expected, atol=1e-6)


def test_candidates_without_signal_weigh_equally():
  mask = np.ones(SHAPE, bool)
  maps = scan(0).maps
  dark = AtlasScan(np.zeros((2, *SHAPE), np.complex64), maps, mask)
  estimate = match_atlas(
    scan(1, 2).signals,
    mask,
    [dark],
    window=(3, 1, 1),
    n_neighbours=3,
    n_iterations=1,
  )
  middle = (maps[..., :-2] + maps[..., 1:-1] + maps[..., 2:]) / 3
  np.testing.assert_allclose(estimate[..., 1:-1], middle, atol=1e-6)
  edge = (maps[..., 0] + maps[..., 1]) / 2  # of two candidates
  np.testing.assert_allclose(estimate[..., 0], edge, atol=1e-6)


def test_empty_mask_gives_zeros():
  query = scan(0)
  estimate = match_atlas(query.signals, np.zeros(SHAPE, bool), [scan(1)])
  assert estimate.shape == (3, *SHAPE) and not estimate.any()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"signals": np.zeros((6, *SHAPE), np.complex64)}, "signals of .* scan 1"),
    ({"maps": np.zeros((2, *SHAPE), np.float32)}, "maps of .* scan 1"),
    ({"mask": np.zeros((1, 9, 10), bool)}, "mask of .* scan 1"),
    ({"maps": np.full((3, *SHAPE), np.inf, np.float32)}, "maps.*infinite"),
    ({"signals": ONE_NAN}, r"1 values are NaN .* first at \[0, 1, 2, 3\]"),
    ({"maps": np.full((3, *SHAPE), 1.1, np.float32)}, r"within \[0, 1\]"),
  ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_scans_must_fit_the_query(change, message):
  query = scan(0)
  other = dataclasses.replace(query, **change)
  with pytest.raises(UserError, match=message):
    matched(query, [query, other])
