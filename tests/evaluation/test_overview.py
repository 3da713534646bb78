"""Overview figure: orientation of the head, and rows of deviations."""

import numpy as np
import pytest

from mrf_jax.evaluation.overview import overview
from mrf_jax.maps import Maps

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


@pytest.fixture
def head():
  """Mask and maps [slice, y, x], different in each direction."""
  z, y, x = np.indices((5, 24, 20))
  mask = (x - 8) ** 2 + 0.7 * (y - 13) ** 2 < 60
  mask[0] = False
  maps = np.stack([x + 1.0, 50.0 * y + x, 10.0 * x + y + z], -1)
  return mask, maps.astype(np.float32)


def draw(path, mask, maps, affine, **options):
  values = Maps.unstack(maps[mask])
  overview(path, values, mask, affine, title="simulated", **options)
  return path.read_bytes()


@pytest.mark.parametrize("turn", ["x", "y", "both", "swap"])
def test_voxel_order_does_not_matter(head, turn, tmp_path):
  """Flipped or swapped voxels with their affine give the same picture."""
  mask, maps = head
  expected = draw(tmp_path / "a.png", mask, maps, AFFINE)
  affine = AFFINE.copy()
  for axis in {"x": [0], "y": [1], "both": [0, 1], "swap": []}[turn]:
    mask, maps = np.flip(mask, 2 - axis), np.flip(maps, 2 - axis)
    flip = np.eye(4)
    flip[axis, axis], flip[axis, 3] = -1, mask.shape[2 - axis] - 1
    affine = affine @ flip
  if turn == "swap":
    mask, maps = mask.swapaxes(1, 2), maps.swapaxes(1, 2)
    affine = affine[:, [1, 0, 2, 3]]
  assert draw(tmp_path / "b.png", mask, maps, affine) == expected
  # With the wrong affine the picture differs.
  assert draw(tmp_path / "c.png", mask, maps, AFFINE) != expected


def test_deviations_have_their_own_rows(head, tmp_path):
  mask, maps = head
  plain = draw(tmp_path / "a.png", mask, maps, AFFINE)
  deviations = Maps.unstack(0.1 * maps[mask])
  more = draw(tmp_path / "b.png", mask, maps, AFFINE, deviations=deviations)

  def height(png):
    return int.from_bytes(png[20:24], "big")

  assert height(more) > 1.7 * height(plain)
