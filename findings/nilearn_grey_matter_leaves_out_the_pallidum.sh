#!/usr/bin/env bash
# nilearn 0.13.1, numpy 2.4.6.
#
# Guess: the grey and white matter templates that nilearn brings along are those
# of anatomy, so that the deep grey nuclei are grey in them; and as means of 152
# people they differ a little between left and right.
#
# Behaviour: a voxel in the middle of the globus pallidus is 77 % white matter,
# one in the red nucleus 75 %, in the substantia nigra 54 %; putamen and thalamus
# are over a third white, while caudate and accumbens are grey. The templates
# are tissue classes of T1-weighted images, in which iron and fibres make nuclei
# as bright as white matter. And both sides are mirror images of each other.
#
# Why it matters: heads that are simulated from these templates have no pallidum
# and half a thalamus, and T1 and T2 of white matter there. A method that is
# trained on them has never seen the short T2 of these nuclei. A mask of grey
# matter at 0.5 leaves them out, and no test of sides can be made with them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q nilearn==0.13.1 numpy==2.4.6
"$folder/v/bin/python" - <<'PYTHON'
import numpy as np
from nilearn import datasets

grey = datasets.load_mni152_gm_template(resolution=1)
white = datasets.load_mni152_wm_template(resolution=1)
assert np.array_equal(grey.affine, white.affine)
values = [np.asarray(image.dataobj) for image in (grey, white)]
to_voxel = np.linalg.inv(grey.affine)
nuclei_mm = {
  "caudate": (13, 11, 10),
  "accumbens": (10, 12, -7),
  "putamen": (26, 2, 1),
  "thalamus": (11, -18, 8),
  "pallidum": (19, -4, -1),
  "red nucleus": (5, -21, -9),
  "substantia nigra": (10, -18, -10),
}
found = {}
for name, (x, y, z) in nuclei_mm.items():
  for side in (1, -1):
    voxel = np.rint(to_voxel @ [side * x, y, z, 1])[:3].astype(int)
    around = tuple(slice(k - 1, k + 2) for k in voxel)
    shares = [float(v[around].mean()) for v in values]
    found.setdefault(name, []).append(shares)
  (g, w), _ = found[name]
  print(f"{name:>16}: grey {g:.2f}, white {w:.2f}")
for sides in found.values():
  np.testing.assert_allclose(*sides, atol=1e-6)
print("left and right are equal")
for name in ("pallidum", "red nucleus", "substantia nigra"):
  assert found[name][0][1] > 0.5 > found[name][0][0], name
for name in ("putamen", "thalamus"):
  assert 0.3 < found[name][0][1] < 0.5, name
for name in ("caudate", "accumbens"):
  assert found[name][0][0] > 0.9, name
print("as described")
PYTHON
