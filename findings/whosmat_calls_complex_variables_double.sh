#!/usr/bin/env bash
# SciPy 1.15.3, NumPy 2.2.6.
#
# Guess: scipy.io.whosmat lists what loadmat would return, so a reader can tell
# from it which variables of a MATLAB file hold complex numbers, without loading
# any.
#
# Behaviour: it gives name, shape and MATLAB class, and MATLAB has no class for
# complex numbers: a complex vector and a real one are both "double". Only
# loadmat tells them apart. In files of version 7.3 a complex variable is visible
# in its HDF5 type.
#
# Why it matters: pulses and images of MR are complex. A reader that chooses
# variables by whosmat takes a complex vector for a real one, estimates half of
# its memory, and behaves differently for the two versions of the same file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q scipy==1.15.3 numpy==2.2.6
"$folder/v/bin/python" - "$folder/pulses.mat" <<'PYTHON'
import sys

import numpy as np
import scipy.io

path = sys.argv[1]
pulses = {"real": np.array([10.0, 20.0]), "complex": np.array([10.0, 20j])}
scipy.io.savemat(path, pulses)
listed = scipy.io.whosmat(path)
read = {name: scipy.io.loadmat(path)[name].dtype for name in pulses}
print("whosmat:", listed)
print("loadmat:", read)
assert [kind for _, _, kind in listed] == ["double", "double"]
assert read["real"] == np.float64 and read["complex"] == np.complex128
PYTHON
echo "as described"
