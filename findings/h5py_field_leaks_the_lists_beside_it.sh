#!/usr/bin/env bash
# h5py 3.16.0 (HDF5 2.0.0) and h5py 3.13.0 (HDF5 1.14.6), NumPy 2.2.6.
#
# Guess: one field of fixed size, read from a dataset whose rows also hold lists of
# variable length, costs the memory of that field: it is what `fields` is for.
#
# Behaviour: the lists of all rows are read into memory, too, and are never freed;
# each time the field is read, as much again. Reading the lists themselves, or
# whole rows, leaves nothing behind.
#
# Why it matters: the acquisitions of raw MR data (ISMRMRD) are such rows, a header
# of some hundred bytes beside all samples. A reader that looks at the headers
# first, to know counters and sizes, holds the scan once more for each look: 1.5
# GiB of k-space became 5.8. Headers of unfiltered chunks can be read as bytes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/memory.py" <<'PYTHON'
import gc
import resource
import sys

import h5py
import numpy as np

N_ROWS, N_VALUES = 400, 100_000
path = sys.argv[1]
lists = h5py.vlen_dtype(np.float32)
rows = np.empty(N_ROWS, [("head", np.int64, 40), ("data", lists)])
for number in range(N_ROWS):
  rows[number] = (number, np.zeros(N_VALUES, np.float32))
with h5py.File(path, "w") as file:
  file.create_dataset("rows", data=rows, chunks=(1,))
del rows
mib_of_lists = N_ROWS * N_VALUES * 4 / 2**20


def resident_mib():
  gc.collect()
  pages = int(open("/proc/self/statm").read().split()[1])
  return pages * resource.getpagesize() / 2**20


def grown(read):
  """Memory that a second reading leaves behind, MiB."""
  read()
  before = resident_mib()
  read()
  return resident_mib() - before


with h5py.File(path) as file:
  dataset = file["rows"]
  left = {
    "lists": grown(lambda: [dataset.fields("data")[k] for k in range(N_ROWS)]),
    "rows": grown(lambda: [dataset[k] for k in range(N_ROWS)]),
    "head": grown(lambda: dataset.fields("head")[()]),
  }
print(
  f"h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}; lists of "
  f"{mib_of_lists:.0f} MiB; left behind by reading, MiB:",
  {name: round(value) for name, value in left.items()},
)
assert left["head"] > 0.8 * mib_of_lists
assert left["rows"] < 0.3 * mib_of_lists
assert left["lists"] < 0.3 * mib_of_lists
PYTHON
for version in 3.13.0 3.16.0; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install -q "h5py==$version" numpy==2.2.6
  "$folder/$version/bin/python" "$folder/memory.py" "$folder/$version.h5"
done
echo "as described"
