#!/usr/bin/env bash
# nibabel 5.3.2, NumPy 2.2.6.
#
# Guess: get_fdata() of a NIfTI image of complex numbers returns complex numbers,
# or refuses: "floating-point data" would not be what the file holds.
#
# Behaviour: it returns the real part in float64, with no more than NumPy's
# ComplexWarning, which is shown once and easily lost. The data object, and
# get_fdata(dtype=np.complex64), have both parts.
#
# Why it matters: images of MR fingerprinting are complex, and their real part
# alone is a plausible fingerprint: matched with a dictionary it gives plausible
# and wrong T1 and T2, where the phase of a voxel is not zero.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q nibabel==5.3.2 numpy==2.2.6
"$folder/v/bin/python" - "$folder/images.nii" <<'PYTHON'
import sys
import warnings

import nibabel
import numpy as np

path = sys.argv[1]
phases = np.exp(1j * np.linspace(0, 3, 24).reshape(2, 3, 4))
images = phases.astype(np.complex64)
nibabel.save(nibabel.Nifti1Image(images, np.eye(4)), path)
stored = nibabel.load(path)
with warnings.catch_warnings(record=True) as caught:
  warnings.simplefilter("always")
  read = stored.get_fdata()
print("in the file:", stored.get_data_dtype(), "get_fdata():", read.dtype)
print("warnings:", [str(warning.message) for warning in caught])
assert read.dtype == np.float64
assert np.array_equal(read, images.real)
assert [w.category for w in caught] == [np.exceptions.ComplexWarning]
assert np.array_equal(np.asarray(stored.dataobj), images)
assert stored.get_fdata(dtype=np.complex64).dtype == np.complex64
PYTHON
echo "as described"
