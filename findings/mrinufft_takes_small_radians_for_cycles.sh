#!/usr/bin/env bash
# mri-nufft 1.5.1, finufft 2.5.1, NumPy 2.2.6.
#
# Guess: an operator takes the unit of a trajectory, radians per voxel, for all of
# its samples alike. Its part within some radius, such as the centre of k-space
# from which sensitivities of coils are made, gives a smooth version of the image.
#
# Behaviour: samples that are all within ±0.5 are taken as cycles per voxel and
# multiplied by 2π, with a warning; one sample beyond it, and all of them are
# radians. So the centre alone is stretched over k-space, and what comes out is
# the transform at other places.
#
# Why it matters: a trajectory in radians is right for the whole scan and wrong for
# its centre, by the values alone. Sensitivities and calibration from the centre
# then belong to an image 2π times as small, which still looks like coils.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q mri-nufft==1.5.1 finufft==2.5.1 numpy==2.2.6
"$folder/v/bin/python" - <<'PYTHON'
import warnings

import mrinufft
import numpy as np

N = 32
image = np.zeros((N, N), np.complex64)
image[10:20, 12:25] = 1
x = np.arange(N) - N // 2
rng = np.random.default_rng(0)


def sums(k):
  """The transform at angular frequencies, by its definition."""
  return np.array(
    [np.sum(image * np.exp(-1j * (a * x[:, None] + b * x))) for a, b in k]
  )


def error(found, expected):
  """Relative, but for a factor."""
  expected = expected * np.linalg.norm(found) / np.linalg.norm(expected)
  return np.linalg.norm(found - expected) / np.linalg.norm(found)


for edge, is_radians in ((0.6, True), (0.45, False)):
  samples = rng.uniform(-edge, edge, (50, 2)).astype(np.float32)
  samples[0] = edge
  with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    operator = mrinufft.get_operator("finufft")(samples, (N, N), n_coils=1)
  found = operator.op(image).ravel()
  errors = [error(found, sums(k)) for k in (samples, 2 * np.pi * samples)]
  print(
    f"samples within {edge}: error as radians {errors[0]:.2g}, as cycles "
    f"{errors[1]:.2g}; {[str(w.message) for w in said]}"
  )
  assert (errors[0] < 1e-3) == is_radians
  assert (errors[1] < 1e-3) != is_radians
PYTHON
echo "as described"
