#!/usr/bin/env bash
# bids-validator-deno 3.0.2 (PyPI), the validator of the BIDS schema; nibabel
# 5.3.2, numpy 2.2.6.
#
# Guess: the Brain Imaging Data Structure says that a T1map is in seconds, and so
# a map in ms, whose sidecar even says so, is an error for the validator, or a
# warning at least.
#
# Behaviour: T1 values around 1000 with "Units": "ms" are valid, without a word,
# as are those of a sidecar without units. What it insists on is SkullStripped,
# which says nothing of T1: without it the same data set is not valid.
#
# Why it matters: that a data set is valid tells nothing of the unit of its maps,
# and one that mixes s and ms passes. A reader has to look at Units and at the
# values, and a writer has to test the factor 1000 himself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q bids-validator-deno==3.0.2 nibabel==5.3.2 numpy==2.2.6
cat >"$folder/write.py" <<'PYTHON'
import json
import pathlib
import sys

import nibabel
import numpy as np

root, sidecar = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
anat = root / "sub-01/anat"
anat.mkdir(parents=True)
t1_ms = np.random.default_rng(0).uniform(600, 1400, (16, 16, 4))
image = nibabel.Nifti1Image(t1_ms.astype(np.float32), np.diag([2.0, 2, 4, 1]))
image.header.set_xyzt_units("mm")
nibabel.save(image, anat / "sub-01_T1map.nii.gz")
(anat / "sub-01_T1map.json").write_text(json.dumps(sidecar))
description = {
  "Name": "T1 maps",
  "BIDSVersion": "1.10.0",
  "DatasetType": "derivative",
  "GeneratedBy": [{"Name": "by hand"}],
  "Authors": ["A. Author", "B. Author"],
}
(root / "dataset_description.json").write_text(json.dumps(description))
(root / "README.md").write_text("T1 maps of a head, written by hand. " * 10)
PYTHON
check() {  # name, sidecar: prints exit status and what mentions units
  "$folder/v/bin/python" "$folder/write.py" "$folder/$1" "$2"
  status=0
  "$folder/v/bin/bids-validator-deno" --no-color "$folder/$1" >"$folder/$1.txt" || status=$?
  echo "$1: exit status $status," \
    "$(grep -c '\[ERROR\]' "$folder/$1.txt" || true) errors," \
    "$(grep -ciE 'units|seconds' "$folder/$1.txt" || true) lines on units"
}
check seconds '{"Units": "s", "SkullStripped": true}'
in_s=$status
check milliseconds '{"Units": "ms", "SkullStripped": true}'
in_ms=$status
if grep -qiE 'units|seconds' "$folder/milliseconds.txt"; then exit 1; fi
check without_units '{"SkullStripped": true}'
none=$status
check without_skull '{"Units": "s"}'
bare=$status
grep -A1 'SIDECAR_KEY_REQUIRED' "$folder/without_skull.txt" | head -2
[ "$in_s" -eq 0 ] && [ "$in_ms" -eq 0 ] && [ "$none" -eq 0 ] && [ "$bare" -ne 0 ]
echo "as described"
