"""Slices turned along the axes of the body, and the letters of their sides."""

import nibabel
import numpy as np
import pytest

from mrf_jax.evaluation.orientation import upright

# Directions of x, y and slices in the body, to the letters of both sides.
SIDES = {
  "RAS": ("L", "R"),
  "LAS": ("L", "R"),
  "LPS": ("L", "R"),
  "ARS": ("L", "R"),
  "RSA": ("L", "R"),
  "ASR": ("P", "A"),
  "SPL": ("P", "A"),
}


@pytest.mark.parametrize("codes", SIDES)
def test_right_and_front_after_turning(codes):
  """A voxel further right (or to the front) is right in a turned slice."""
  axes = nibabel.orientations.axcodes2ornt(tuple(codes))
  affine = np.zeros((4, 4))
  for i, (axis, sign) in enumerate(axes):
    affine[int(axis), i] = sign
  affine[3, 3] = 1
  turned = upright(affine)
  assert turned.sides == SIDES[codes]
  x, y = np.meshgrid(np.arange(4), np.arange(3))
  positions = nibabel.affines.apply_affine(
    affine, np.stack([x, y, np.zeros_like(x)], -1)
  )
  across, up = sorted(int(axis) for axis, _ in axes[:2])
  assert np.all(np.diff(turned(positions[..., across]), axis=-1) > 0)
  assert np.all(np.diff(turned(positions[..., up]), axis=-2) > 0)


def test_oblique_slices_turn_to_the_nearest_axes():
  angle = np.deg2rad(30)
  affine = np.eye(4)
  affine[:2, :2] = [
    [-np.cos(angle), np.sin(angle)],
    [np.sin(angle), np.cos(angle)],
  ]
  turned = upright(affine)
  assert turned.flips == (True, False) and not turned.is_swapped
