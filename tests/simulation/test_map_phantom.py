"""Heads from maps: where they lie, and the signals of their voxels."""

import nibabel
import numpy as np
import pytest

from mrf_jax import UserError, simulate_fingerprints
from mrf_jax.importing.map_folder import HeadMaps, read_head_maps
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.sequence.schedules import tailored
from mrf_jax.simulation import sample_signals
from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.map_phantom import (
  check_in_slices,
  make_map_phantom,
  phantom_of,
  sample_counts,
)
from mrf_jax.simulation.subject import _in_both_scans
from mrf_jax.simulation.tissue import mix
from mrf_jax.simulation.true_signals import make_true_signals
from tests.importing.head_maps import AFFINE, head_volumes, save_head

GRID = SliceGrid(
  n_slices=3, matrix=32, fov_mm=256, slice_thickness_mm=6, centre_z_mm=12
)
# Where the centre of a head lies.
CENTRE_MM = (0.0, -18.0, 8.0)
TRAIN = tailored(96)
TURN = np.deg2rad(25)
OBLIQUE = np.array(
  [
    [3 * np.cos(TURN), 0, 2 * np.sin(TURN), 7],
    [0, -4, 0, 20],
    [3 * np.sin(TURN), 0, -2 * np.cos(TURN), -90],
    [0, 0, 0, 1],
  ]
)


@pytest.fixture(scope="module")
def head(tmp_path_factory):
  return read_head_maps(save_head(tmp_path_factory.mktemp("head")))


def phantom(maps, grid=GRID, **options):
  rng = np.random.default_rng(0)
  return make_map_phantom(rng, grid, maps=maps, b1_deviation=0.1, **options)


def volume_of(phantom, values):
  """Values of the masked voxels in the volume, [slice, y, x]."""
  volume = np.zeros(phantom.anatomy.mask.shape)
  volume[phantom.anatomy.mask] = values
  return volume


def blocks(affine):
  """Eight blocks of different constant T1, T2 and PD, in any orientation."""
  shape = (10, 8, 12)
  block = (np.indices(shape) >= np.array(shape).reshape(3, 1, 1, 1) / 2).T.dot(
    [1, 2, 4]
  )
  mask = np.ones(shape, bool)
  mask[0, 0] = False
  number = block.T[mask]
  maps = Maps(
    pd=np.linspace(0.5, 1.2, 8)[number].astype(np.float32),
    t1_ms=np.geomspace(400, 4000, 8)[number].astype(np.float32),
    t2_ms=np.geomspace(400, 40, 8)[number].astype(np.float32),
  )
  return HeadMaps("blocks", affine, mask, maps)


def expected_samples(maps, grid, voxel, counts):
  """Rows of the nearest voxels of a voxel's samples, by a plain loop."""
  numbers = np.full(maps.mask.shape, -1)
  numbers[maps.mask] = np.arange(np.count_nonzero(maps.mask))
  index = np.argwhere(maps.mask)
  places = index @ maps.affine[:3, :3].T + maps.affine[:3, 3]
  slice_, y, x = voxel
  rows = []
  for offset in np.ndindex(*counts):
    part = (np.array(offset) + 0.5) / counts - 0.5
    point = grid.affine @ [*(np.array([x, y, slice_]) + part), 1]
    place = point[:3] - CENTRE_MM + places.mean(0)
    at = np.linalg.inv(maps.affine) @ [*place, 1]
    at = np.round(at[:3]).astype(int)
    inside = np.all((at >= 0) & (at < maps.mask.shape))
    rows.append(numbers[tuple(at)] if inside else -1)
  return np.array(rows)


@pytest.mark.parametrize(
  ("affine", "counts"),
  [
    (np.diag([4.0, 3.0, 2.0, 1.0]), (2, 3, 3)),
    (np.diag([12.0, 9.0, 20.0, 1.0]), (1, 1, 1)),
    (OBLIQUE, (2, 2, 3)),
  ],
)
def test_signals_are_sums_over_samples(affine, counts):
  """Of direct simulations, each with its own T1, T2 and PD."""
  maps = blocks(affine)
  assert sample_counts(maps, GRID) == counts
  here = phantom(maps)
  truth = mix(here.fractions, here.tissues)
  signals_of = make_true_signals(here, TRAIN)
  n_mixed = 0
  for z in range(GRID.n_slices):
    signals = signals_of.of_slice(z)
    first = here.rows(z).start
    for row, (y, x) in enumerate(np.argwhere(here.anatomy.mask[z])):
      rows = expected_samples(maps, GRID, (z, y, x), counts)
      own = rows[rows >= 0]
      t1, t2, pd = (
        getattr(maps.maps, name)[own] for name in ("t1_ms", "t2_ms", "pd")
      )
      b1 = np.repeat(here.b1[first + row], len(own))
      echoes = simulate_fingerprints(TRAIN, t1, t2, b1=b1).real
      expected = pd @ echoes / len(rows)
      np.testing.assert_allclose(signals[row], expected, atol=2e-6)
      n_mixed += len(set(t1)) > 1
      assert truth.pd[first + row] == pytest.approx(pd.sum() / len(rows))
      rate = np.sum(pd / t1) / pd.sum()
      assert truth.t1_ms[first + row] == pytest.approx(1 / rate, rel=1e-4)
  assert (n_mixed > 0) == (max(counts) > 1)


def test_partial_volume_is_not_of_mean_parameters(head):
  here = phantom(head)
  truth = mix(here.fractions, here.tissues)
  rows = here.rows(1)
  signals = make_true_signals(here, TRAIN).of_slice(1)
  of_means = truth.pd[rows, None] * (
    simulate_fingerprints(
      TRAIN, truth.t1_ms[rows], truth.t2_ms[rows], b1=here.b1[rows]
    ).real
  )
  error = np.linalg.norm(signals - of_means, axis=1)
  assert error.max() > 0.01 * np.linalg.norm(signals, axis=1).max()


@pytest.mark.parametrize(
  ("order", "flips"),
  [((2, 0, 1), ()), ((0, 1, 2), (0,)), ((1, 0, 2), (1, 2)), ((0, 2, 1), (2,))],
)
def test_any_order_and_direction_of_axes(order, flips, head, tmp_path):
  affine = AFFINE[:, [*order, 3]]
  volumes = {k: v.transpose(order) for k, v in head_volumes().items()}
  for axis in flips:
    mirror = np.eye(4)
    mirror[axis, axis] = -1
    mirror[axis, 3] = volumes["t1"].shape[axis] - 1
    affine = affine @ mirror
    volumes = {k: np.flip(v, axis) for k, v in volumes.items()}
  turned = read_head_maps(save_head(tmp_path, affine=affine, volumes=volumes))
  assert turned.mask.shape != head.mask.shape or flips
  found, expected = phantom(turned), phantom(head)
  np.testing.assert_array_equal(found.anatomy.mask, expected.anatomy.mask)
  np.testing.assert_array_equal(found.fractions, expected.fractions)
  for key, tissue in expected.tissues.items():
    np.testing.assert_allclose(
      found.tissues[key].stack(), tissue.stack(), rtol=1e-6
    )


def test_axes_are_those_of_the_scanner(head, tmp_path):
  """T1 that grows to the right grows with x, and so on."""
  volumes = head_volumes()
  index = np.indices(volumes["t1"].shape)
  for axis, last in enumerate((2, 1, 0)):  # of [slice, y, x]
    steep = {**volumes, "t1": volumes["t1"] * (1 + 0.05 * index[axis])}
    steep["t1"] = steep["t1"].astype(np.float32)
    here = phantom(read_head_maps(save_head(tmp_path, volumes=steep)))
    t1, flat = (
      mix(p.fractions, p.tissues).t1_ms for p in (here, phantom(head))
    )
    place = np.argwhere(here.anatomy.mask)[:, last]
    assert np.corrcoef(place, t1 / flat)[0, 1] > 0.95


@pytest.mark.parametrize("shift_mm", [(0, 0, 0), (500, -33.3, 7.7)])
def test_the_head_is_centred(shift_mm, tmp_path):
  affine = AFFINE.copy()
  affine[:3, 3] += shift_mm
  maps = read_head_maps(save_head(tmp_path, affine=affine))
  whole = SliceGrid(
    n_slices=110, matrix=128, fov_mm=128, slice_thickness_mm=1, centre_z_mm=10
  )
  here = phantom(maps, whole)
  index = np.argwhere(here.anatomy.mask)[:, ::-1]
  places = nibabel.affines.apply_affine(whole.affine, index)
  # The nearest voxel is at most half a sample away.
  np.testing.assert_allclose(places.mean(0), CENTRE_MM, atol=0.51)
  # All of it is there.
  volume_mm3 = here.fractions.sum() * np.prod(whole.voxel_mm)
  assert volume_mm3 == pytest.approx(64 * np.count_nonzero(maps.mask), rel=0.01)
  assert here.anatomy.head_to_atlas is None


def test_a_shift_of_whole_voxels_moves_the_head_by_them(head):
  dx, dy, dz = GRID.voxel_mm
  poses = np.tile(np.eye(4), (3, 1, 1))
  poses[:, :3, 3] = 2 * dx, -dy, dz
  there, here = phantom(head, poses=poses), phantom(head)

  def volume(phantom):
    return np.stack(
      [
        volume_of(phantom, share * maps.t1_ms)
        for share, maps in zip(
          phantom.fractions, phantom.tissues.values(), strict=True
        )
      ]
    )

  expected = np.roll(volume(here), (1, -1, 2), (1, 2, 3))[:, 1:]
  np.testing.assert_allclose(volume(there)[:, 1:], expected, rtol=1e-6)


def test_both_scans_of_a_moving_head_have_the_same_voxels(head):
  motion = dict.fromkeys(
    ("between_scans_deg", "between_slices_mm", "between_slices_deg"), 0.0
  )
  options = {"maps": head, "b1_deviation": 0.1, "b0": None, "phase_deg": 5.0}
  there, at_rest = _in_both_scans(
    np.random.default_rng(1), GRID, options, {**motion, "between_scans_mm": 5.0}
  )
  np.testing.assert_array_equal(there.anatomy.mask, at_rest.anatomy.mask)
  assert np.abs(there.fractions - at_rest.fractions).mean() > 1e-3
  assert there.is_sampled and there.fractions.sum(0).min() >= 0.5


def test_fields_are_those_of_other_heads(head):
  """B1 is simulated, or that of the map; fluid does not decay."""
  field = {"shim_hz": 20.0, "air_cavities": False, "r2_prime_per_s": 10.0}
  here = phantom(head, b0=field, phase_deg=10.0)
  assert np.abs(here.b1 - 1).max() <= 0.1
  assert np.ptp(here.phases_rad) > 0.1
  truth = mix(here.fractions, here.tissues)
  decay = -here.rates_per_s.real
  assert decay.min() >= 0 and decay.max() == pytest.approx(10)
  white = truth.t1_ms < 800
  np.testing.assert_allclose(decay[white], 10, rtol=1e-6)
  assert decay[truth.t1_ms > 3500].max() < 3
  values = np.linspace(0.8, 1.2, len(head.maps.pd)).astype(np.float32)
  given = HeadMaps(head.folder, head.affine, head.mask, head.maps, values)
  there = phantom(given)
  assert 0.8 <= there.b1.min() < there.b1.max() <= 1.2
  assert np.std(there.b1) > 0.05
  assert "B1 maps in" in there.origin


def test_interpolated_bands_are_near_to_simulated_samples(head, monkeypatch):
  exact = make_true_signals(phantom(head), TRAIN)
  monkeypatch.setattr(sample_signals, "_INTERPOLATED", 500)
  signals_of = make_true_signals(phantom(head), TRAIN, tolerance=1e-4)
  kinds = {i is None for i in signals_of.interpolants}
  assert kinds == {True, False}
  expected = exact.of_slice(1)
  error = np.linalg.norm(signals_of.of_slice(1) - expected, axis=1)
  assert (error / np.linalg.norm(expected, axis=1)).max() < 1e-4


def test_slices_beside_the_head(head):
  high = SliceGrid(
    n_slices=3, matrix=32, fov_mm=256, slice_thickness_mm=6, centre_z_mm=80
  )
  words = r"no voxel of the slices is half head; it lies at z = -.* to .* mm, "
  for call in (check_in_slices, lambda m, g: phantom(m, g)):
    with pytest.raises(UserError, match=words + r"the slices at 71 to 89 mm"):
      call(head, high)
  assert not check_in_slices(head, GRID)
  (note,) = check_in_slices(
    head,
    SliceGrid(
      n_slices=9, matrix=32, fov_mm=256, slice_thickness_mm=6, centre_z_mm=50
    ),
  )
  assert "of 9 slices have voxels of the head" in note


def test_options_tell_which_phantom_it_is(head):
  made = phantom_of(np.random.default_rng(0), GRID, maps=head, b1_deviation=0.1)
  np.testing.assert_array_equal(made.b1, phantom(head).b1)
  assert list(MAP_NAMES) == ["pd", "t1_ms", "t2_ms"]
