#!/usr/bin/env bash
# ismrmrd 1.14.1, h5py 3.13.0, NumPy 2.2.6.
#
# Guess: a converter that writes a file again, with its header and all of its
# acquisitions, leaves the new scan there, as files that are written do; or it
# ends in an error.
#
# Behaviour: the header is the new one, but the acquisitions stand behind those of
# the scan before. No error is raised, in writing or in reading.
#
# Why it matters: a conversion that is run twice, or broke off and is repeated,
# leaves a file of two scans under one header, with every counter twice. Readers
# that sort by counters take one frame from each, or average both: a fingerprint
# of two scans is a plausible one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q ismrmrd==1.14.1 h5py==3.13.0 numpy==2.2.6
"$folder/v/bin/python" - "$folder/scan.mrd" <<'PYTHON'
import sys

import ismrmrd
import numpy as np

path = sys.argv[1]


def convert(value, n_frames, header):
  """Writes a scan of one coil and four samples."""
  dataset = ismrmrd.Dataset(path, "dataset")
  dataset.write_xml_header(header)
  for frame in range(n_frames):
    samples = np.full((1, 4), value, np.complex64)
    acquisition = ismrmrd.Acquisition.from_array(samples)
    acquisition.idx.repetition = frame
    dataset.append_acquisition(acquisition)
  dataset.close()


convert(1, 3, "<first/>")
convert(2, 3, "<second/>")
dataset = ismrmrd.Dataset(path, "dataset", create_if_needed=False)
every = [dataset.read_acquisition(k) for k in range(dataset.number_of_acquisitions())]
rows = [(a.idx.repetition, a.data[0, 0].real) for a in every]
print("header:", dataset.read_xml_header())
print("repetition and value of each acquisition:", rows)
assert dataset.read_xml_header() == b"<second/>"
assert rows == [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)]
PYTHON
echo "as described"
