"""Maps as BIDS derivatives: NIfTI files, sidecars, and the data set's files.

PyBIDS was looked at: it names and finds files, and brings a data base for that;
units, sidecars and `dataset_description.json` would still be written here.

Names, units and sidecars are those of the appendix on quantitative MRI of the
Brain Imaging Data Structure (bids-specification.readthedocs.io).
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mrf_jax.io import nifti
from mrf_jax.io.atomic import replacing_files, write_text, writing_to
from mrf_jax.io.bids_folder import (
  DESCRIPTION,
  PROGRAM,
  SUFFIXES,
  BidsFolder,
  check_dataset,
)
from mrf_jax.maps import Maps

_VERSION = "1.10.0"
# Field of the maps to the unit in its file, what a value is multiplied with,
# and what it is.
_MAPS = {
  "pd": ("arbitrary", 1.0, "Proton density"),
  "t1_ms": ("s", 1e-3, "Longitudinal relaxation time T1"),
  "t2_ms": ("s", 1e-3, "Transverse relaxation time T2"),
}
_README = """# Maps of MR fingerprinting

Written by mrf_jax. For each subject, and each session if there are several:

- `T1map` and `T2map`: relaxation times, s
- `PDmap`: proton density, in arbitrary units

A value of 0 is a voxel outside the mask, which was not estimated. The JSON file
next to each map names the method, the scan and the version of the program; it
says if the scan was simulated. `dataset_description.json` and this file are
written once, and may be completed by hand.
"""


def write_bids(
  folder: BidsFolder,
  maps: Maps,
  mask: Bool[np.ndarray, "slice y x"],
  affine: Float[np.ndarray, "4 4"],
  *,
  metadata: Mapping[str, Any],
) -> None:
  """Writes T1map, T2map and PDmap with their sidecars, complete or not at all.

  Files of the data set itself are written if they are missing.

  Args:
    folder: where they are written.
    maps: the maps, [voxel]; T1 and T2 are written in s.
    mask: voxels of the maps, [slice, y, x]; others are 0.
    affine: voxel index (x, y, slice) to RAS, [4, 4], mm.
    metadata: content of all sidecars, by the names of the specification.

  Raises:
    UserError: see `check_dataset`, or the files cannot be written.
  """
  check_dataset(folder)
  with writing_to(folder.dataset):
    if not (folder.dataset / DESCRIPTION).exists():
      description = {
        "Name": "Maps of MR fingerprinting",
        "BIDSVersion": _VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": PROGRAM}],
      }
      _write_json(description, folder.dataset / DESCRIPTION)
    if not any(folder.dataset.glob("README*")):
      write_text(_README, folder.dataset / "README.md")
  with (
    writing_to(folder.anat) as anat,
    replacing_files(anat, record=folder.name("T1map.json")) as new,
  ):
    for name, (unit, factor, text) in _MAPS.items():
      suffix = SUFFIXES[name]
      nifti.save_map(
        new / folder.name(f"{suffix}.nii.gz"),
        np.float32(factor) * np.asarray(getattr(maps, name)),
        mask,
        affine,
      )
      sidecar = {
        "Description": f"{text}; 0 outside the mask",
        "Units": unit,
        # Required of derivatives: whether voxels outside were set to zero.
        "SkullStripped": True,
        **metadata,
      }
      _write_json(sidecar, new / folder.name(f"{suffix}.json"))


def _write_json(content: Mapping[str, Any], path: pathlib.Path) -> None:
  """Writes a JSON file, complete or not at all."""
  write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", path)
