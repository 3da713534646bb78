#!/usr/bin/env bash
# ismrmrd 1.14.1, h5py 3.13.0, NumPy 2.2.6.
#
# Guess: HDF5 files are read by h5py, so the complex images of an ISMRMRD file
# arrive as complex numbers, as arrays do that h5py itself has written.
#
# Behaviour: they arrive as records of the fields "real" and "imag". h5py takes a
# compound type for complex numbers only if its fields are called "r" and "i".
# The ismrmrd package looks at the bytes again as complex numbers.
#
# Why it matters: a reader that asks whether the type is complex takes
# reconstructed images for none. And np.abs or a product of the records raises an
# error that names neither file nor images; `data["real"]` alone is magnitude
# and phase thrown away.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q ismrmrd==1.14.1 h5py==3.13.0 numpy==2.2.6
"$folder/v/bin/python" - "$folder/images.h5" <<'PYTHON'
import sys

import h5py
import ismrmrd
import numpy as np

path = sys.argv[1]
values = (np.arange(16).reshape(1, 4, 4) * (1 + 2j)).astype(np.complex64)
dataset = ismrmrd.Dataset(path, "dataset")
image = ismrmrd.Image.from_array(values, transpose=False)
dataset.append_image("image_0", image)
dataset.close()
with h5py.File(path, "a") as file:
  file["by_h5py"] = values
  types = {
    name: file[place][:].dtype
    for name, place in (
      ("ismrmrd", "dataset/image_0/data"),
      ("h5py", "by_h5py"),
    )
  }
  records = file["dataset/image_0/data"][:]
print("type of images, by who wrote them:", types)
assert types["h5py"] == np.complex64
assert types["ismrmrd"].names == ("real", "imag")
try:
  np.abs(records)
except TypeError as error:
  print("np.abs:", error)
else:
  raise AssertionError("np.abs takes records")
assert np.array_equal(records.view(np.complex64).ravel(), values.ravel())
PYTHON
echo "as described"
