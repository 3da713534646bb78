#!/usr/bin/env bash
# mrpro 0.261015, ismrmrd 1.15.0, CPU (PyTorch is a download of some GB).
#
# Guess: mrpro reads a raw file whose trajectory is within ±0.5, in cycles per
# voxel, as KomaMRI writes it and Gadgetron takes it: the header has the
# matrix, so that the scale is known, or else the reader says that it is not.
#
# Behaviour: ISMRMRD defines no unit for trajectories. `KTrajectoryIsmrmrd()`
# takes the numbers as cycles per field of view, ±N/2. With ±0.5 all samples
# lie within one cell of k-space, and the image is nearly constant: no error
# and no warning about it. `normalize=True` scales by the largest position.
#
# Why it matters: a file that is right for one reader is an empty picture in
# another. Between the two, a spread of a few cells gives a smooth blob that
# looks like a coil's shading. Write ±N/2, or tell the reader.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q mrpro==0.261015 ismrmrd==1.15.0
cat >"$folder/program.py" <<'PYTHON'
import sys
import warnings

import ismrmrd
import numpy as np
from mrpro.algorithms.reconstruction import DirectReconstruction
from mrpro.data import KData
from mrpro.data.traj_calculators import KTrajectoryIsmrmrd

N, SPOKES, SAMPLES = 64, 101, 128
SPACE = (
  "<{0}><matrixSize><x>64</x><y>64</y><z>1</z></matrixSize><fieldOfView_mm>"
  "<x>256</x><y>256</y><z>5</z></fieldOfView_mm></{0}>"
)
HEADER = (
  '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
  "<experimentalConditions><H1resonanceFrequency_Hz>63870000"
  "</H1resonanceFrequency_Hz></experimentalConditions><encoding>"
  + SPACE.format("encodedSpace") + SPACE.format("reconSpace")
  + "<encodingLimits/><trajectory>radial</trajectory></encoding>"
  "</ismrmrdHeader>"
)
# A disc of 40 voxels, and its k-space on radial spokes in cycles per voxel.
axis = np.arange(N) - N // 2
y, x = np.nonzero(np.hypot(axis[:, None], axis) < 20) - np.array([[N // 2]])
disc = np.hypot(axis[:, None], axis) < 20
radius = (np.arange(SAMPLES) - SAMPLES // 2) / SAMPLES
angles = np.pi * np.arange(SPOKES) / SPOKES
spokes = np.stack(
  [radius * np.cos(angles)[:, None], radius * np.sin(angles)[:, None]], -1
)


def image(path, factor, **options):
  """The disc as mrpro shows it, if the trajectory is times a factor."""
  dataset = ismrmrd.Dataset(path, "dataset")
  dataset.write_xml_header(HEADER)
  for number, spoke in enumerate(spokes):
    phase = spoke[:, :1] * x + spoke[:, 1:] * y
    samples = np.exp(-2j * np.pi * phase).sum(1)
    acquisition = ismrmrd.Acquisition.from_array(
      samples[None].astype(np.complex64), (factor * spoke).astype(np.float32)
    )
    acquisition.read_dir[:], acquisition.phase_dir[:] = np.eye(3)[:2]
    acquisition.slice_dir[:] = np.eye(3)[2]
    acquisition.idx.kspace_encode_step_1 = number
    acquisition.center_sample = SAMPLES // 2
    dataset.append_acquisition(acquisition)
  dataset.close()
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    data = KData.from_file(path, KTrajectoryIsmrmrd(**options))
    shown = DirectReconstruction(data, csm=None)(data).data.abs().numpy()
  said = [str(w.message) for w in caught]
  assert not [text for text in said if "traject" in text.lower()], said
  return shown.squeeze()


def contrast(shown):
  """Mean within the disc over mean without it."""
  return float(shown[disc].mean() / shown[~disc].mean())


half = contrast(image(f"{sys.argv[1]}/half.h5", 1.0))
scaled = contrast(image(f"{sys.argv[1]}/scaled.h5", 1.0, normalize=True))
cells = contrast(image(f"{sys.argv[1]}/cells.h5", float(N)))
print("brightness of the disc relative to its surroundings, no warnings")
print(f"  ±0.5                  {half:.2f}")
print(f"  ±0.5, normalize=True  {scaled:.2f}")
print(f"  ±N/2                  {cells:.2f}")
assert half < 1.5 and scaled > 10 and cells > 10
print("as described")
PYTHON
mkdir "$folder/files"
"$folder/v/bin/python" "$folder/program.py" "$folder/files"
