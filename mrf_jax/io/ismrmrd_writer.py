"""Writes the raw k-space of simulated scans as ISMRMRD files."""

import os
import pathlib

import ismrmrd
import numpy as np
from jaxtyping import Complex64, Float, Float32

from mrf_jax.errors import UserError, reason
from mrf_jax.io.atomic import check_room, replacing

# The `systemVendor` of our files.
VENDOR = "mrf_jax"
_PROTON_HZ_PER_T = 42577478.0
# Bytes of an acquisition besides its samples: its header, and HDF5's index.
_OTHER_BYTES = 2048
_HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <acquisitionSystemInformation>
    <systemVendor>{vendor}</systemVendor>
    <systemModel>simulation</systemModel>
    <systemFieldStrength_T>{field_t:g}</systemFieldStrength_T>
    <receiverChannels>{n_coils}</receiverChannels>
  </acquisitionSystemInformation>
  <experimentalConditions>
    <H1resonanceFrequency_Hz>{proton_hz}</H1resonanceFrequency_Hz>
  </experimentalConditions>
  <encoding>
    <encodedSpace>
      <matrixSize><x>{matrix}</x><y>{matrix}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>{x}</x><y>{y}</y><z>{z}</z></fieldOfView_mm>
    </encodedSpace>
    <reconSpace>
      <matrixSize><x>{matrix}</x><y>{matrix}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>{x}</x><y>{y}</y><z>{z}</z></fieldOfView_mm>
    </reconSpace>
    <encodingLimits/>
    <trajectory>spiral</trajectory>
  </encoding>
</ismrmrdHeader>"""
# RAS to the patient coordinates of ISMRMRD: left, posterior, superior.
_FROM_RAS = np.array([-1.0, -1.0, 1.0])


def write_raw_data(
  path: str | os.PathLike,
  samples: Complex64[np.ndarray, "slice frame coil sample"],
  trajectory: Float32[np.ndarray, "frame sample 2"],
  *,
  matrix: int,
  affine: Float[np.ndarray, "4 4"],
  field_strength_t: float,
) -> None:
  """Writes the k-space of slices that share one trajectory.

  Each acquisition is one frame of one slice, slice after slice. The vendor is
  `VENDOR`, which is read as a simulation.

  Args:
    path: the file; an old one is replaced.
    samples: k-space, arbitrary units.
    trajectory: k-space positions of the samples, cycles per voxel, (x, y).
    matrix: voxels along x and y.
    affine: voxel index (x, y, slice) to RAS, mm.
    field_strength_t: main magnetic field, tesla.

  Raises:
    UserError: the file cannot be written.
  """
  steps = affine[:3, :3].T  # [axis, RAS]
  sizes_mm = np.linalg.norm(steps, axis=1)
  directions = steps / sizes_mm[:, None] * _FROM_RAS
  header = _HEADER.format(
    vendor=VENDOR,
    field_t=field_strength_t,
    n_coils=samples.shape[2],
    proton_hz=round(field_strength_t * _PROTON_HZ_PER_T),
    matrix=matrix,
    x=sizes_mm[0] * matrix,
    y=sizes_mm[1] * matrix,
    z=sizes_mm[2],
  )
  path = pathlib.Path(path)
  try:
    with replacing(path) as temporary:
      n_acquisitions = samples.shape[0] * samples.shape[1]
      check_room(
        temporary.parent,
        samples.nbytes
        + samples.shape[0] * trajectory.nbytes
        + n_acquisitions * _OTHER_BYTES,
      )
      dataset = ismrmrd.Dataset(
        str(temporary), "dataset", create_if_needed=True
      )
      try:
        dataset.write_xml_header(header)
        for number, frames in enumerate(samples):
          middle = affine @ [matrix // 2, matrix // 2, number, 1]
          for frame, positions in zip(frames, trajectory, strict=True):
            acquisition = ismrmrd.Acquisition.from_array(
              np.ascontiguousarray(frame, np.complex64),
              np.ascontiguousarray(positions, np.float32),
            )
            acquisition.idx.slice = number
            acquisition.position[:] = middle[:3] * _FROM_RAS
            acquisition.read_dir[:] = directions[0]
            acquisition.phase_dir[:] = directions[1]
            acquisition.slice_dir[:] = directions[2]
            dataset.append_acquisition(acquisition)
      finally:
        dataset.close()
  except (OSError, RuntimeError, ValueError) as error:
    raise UserError(f"{path}: cannot be written ({reason(error)})") from error
