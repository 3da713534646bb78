#!/usr/bin/env bash
# nibabel 5.4.2, NumPy 2.4.6.
#
# Guess: a NIfTI file without a place (sform_code and qform_code 0) that is loaded
# and saved again with its own affine, `Nifti1Image(values, image.affine)`, still
# has none.
#
# Behaviour: the affine of a file without a place is invented, centred and with x
# to the left, as ANALYZE had it; and an image that is made of values and an
# affine gets sform_code 2, "aligned". The saved file states a place, which
# nothing in the first one did. A file of the same voxels whose scanner's axes go
# to the right is now mirrored to it: an array index on the right of the one is
# on the left of the other, and resampling exchanges the hemispheres.
#
# Why it matters: masks and maps from Python or MATLAB often have codes 0, and
# tools that check the codes refuse them. After any step that loads and saves
# them with nibabel the codes no longer tell. A head is so symmetric that the
# mirrored mask overlaps with the right one by 0.94 (Dice).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q nibabel==5.4.2 numpy==2.4.6
cd "$folder"
"$folder/v/bin/python" - <<'PYTHON'
import nibabel
import numpy as np

values = np.zeros((64, 48, 8), np.float32)
values[10, 20, 4] = 1  # a lesion
first = nibabel.Nifti1Image(values, None)
first.header.set_zooms((3, 3, 5))
nibabel.save(first, "mask.nii")
codes = lambda image: [int(image.header[f"{k}form_code"]) for k in "sq"]
first = nibabel.load("mask.nii")
print("written without a place: codes", codes(first))
assert codes(first) == [0, 0]
again = nibabel.Nifti1Image(first.get_fdata(), first.affine)
nibabel.save(again, "again.nii")
again = nibabel.load("again.nii")
print("loaded and saved: codes", codes(again), "axes", nibabel.aff2axcodes(again.affine))
assert codes(again) == [2, 0]
assert nibabel.aff2axcodes(again.affine) == ("L", "A", "S")
# A scan of these voxels, centred, with x to the right.
scan = np.diag([3.0, 3.0, 5.0, 1.0])
scan[:3, 3] = -scan[:3, :3] @ ((np.array(values.shape) - 1) / 2)
place = again.affine @ [10, 20, 4, 1]
voxel = np.linalg.inv(scan) @ place
print("voxel (10, 20, 4) of the file is voxel", np.round(voxel[:3], 3), "of the scan")
assert np.allclose(voxel[:3], [63 - 10, 20, 4])
PYTHON
echo "as described"
