"""Writes the raw k-space of simulated scans as ISMRMRD files.

ISMRMRD sets no unit for trajectories. Cycles per field of view (±N/2) are what
mrpro and BART take without being told; the header says so, too. Frames are
counted by kspace_encode_step_1: readers such as mrpro make an image of each
repetition (set, contrast, …), and one frame is too little for an image.
"""

import os
import pathlib

import numpy as np
from jaxtyping import Complex64, Float, Float32

from mrf_jax.errors import UserError, reason
from mrf_jax.io.atomic import check_room, replacing
from mrf_jax.io.ismrmrd_header import UNIT_PARAMETER

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
    <encodingLimits>
      <kspace_encoding_step_1>
        <minimum>0</minimum><maximum>{last_frame}</maximum><center>0</center>
      </kspace_encoding_step_1>
      <slice>
        <minimum>0</minimum><maximum>{last_slice}</maximum><center>0</center>
      </slice>
    </encodingLimits>
    <trajectory>spiral</trajectory>
    <trajectoryDescription>
      <identifier>{vendor}</identifier>
      <userParameterString>
        <name>{unit_parameter}</name>
        <value>cycles_per_fov</value>
      </userParameterString>
    </trajectoryDescription>
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
  tr_ms: Float[np.ndarray, "frame"],
  field_strength_t: float,
) -> None:
  """Writes the k-space of slices that share one trajectory.

  Each acquisition is one frame of one slice, slice after slice, with their
  counters (slice, kspace_encode_step_1) and a time stamp in ms. The vendor is
  `VENDOR`, which is read as a simulation.

  Args:
    path: the file; an old one is replaced.
    samples: k-space, arbitrary units.
    trajectory: k-space positions of the samples, cycles per voxel, (x, y); in
      the file they are in cycles per field of view.
    matrix: voxels along x and y.
    affine: voxel index (x, y, slice) to RAS, mm.
    tr_ms: time from each frame to the next, ms.
    field_strength_t: main magnetic field, tesla.

  Raises:
    UserError: the file cannot be written.
  """
  import ismrmrd

  steps = affine[:3, :3].T  # [axis, RAS]
  sizes_mm = np.linalg.norm(steps, axis=1)
  directions = steps / sizes_mm[:, None] * _FROM_RAS
  n_slices, n_frames, n_coils, _ = samples.shape
  header = _HEADER.format(
    vendor=VENDOR,
    field_t=field_strength_t,
    n_coils=n_coils,
    proton_hz=round(field_strength_t * _PROTON_HZ_PER_T),
    matrix=matrix,
    x=sizes_mm[0] * matrix,
    y=sizes_mm[1] * matrix,
    z=sizes_mm[2],
    last_slice=n_slices - 1,
    last_frame=n_frames - 1,
    unit_parameter=UNIT_PARAMETER,
  )
  starts_ms = np.concatenate([[0.0], np.cumsum(np.tile(tr_ms, n_slices))])
  path = pathlib.Path(path)
  try:
    with replacing(path) as temporary:
      check_room(
        temporary.parent,
        samples.nbytes
        + n_slices * (trajectory.nbytes + n_frames * _OTHER_BYTES),
      )
      dataset = ismrmrd.Dataset(
        str(temporary), "dataset", create_if_needed=True
      )
      try:
        dataset.write_xml_header(header)
        for readout in range(n_slices * n_frames):
          number, frame = divmod(readout, n_frames)
          acquisition = ismrmrd.Acquisition.from_array(
            np.ascontiguousarray(samples[number, frame], np.complex64),
            np.ascontiguousarray(trajectory[frame] * matrix, np.float32),
          )
          middle = affine @ [matrix // 2, matrix // 2, number, 1]
          acquisition.position[:] = middle[:3] * _FROM_RAS
          acquisition.read_dir[:] = directions[0]
          acquisition.phase_dir[:] = directions[1]
          acquisition.slice_dir[:] = directions[2]
          acquisition.idx.slice = number
          acquisition.idx.kspace_encode_step_1 = frame
          acquisition.scan_counter = readout
          acquisition.acquisition_time_stamp = round(starts_ms[readout])
          for flag in _flags(readout, n_slices, n_frames):
            acquisition.set_flag(flag)
          dataset.append_acquisition(acquisition)
      finally:
        dataset.close()
  except (OSError, RuntimeError, ValueError) as error:
    raise UserError(f"{path}: cannot be written ({reason(error)})") from error


def _flags(readout: int, n_slices: int, n_frames: int) -> list[int]:
  """Flags of a readout at the beginning or end of a slice or of the scan."""
  import ismrmrd

  frame = readout % n_frames
  flags = []
  if frame == 0:
    flags += [ismrmrd.ACQ_FIRST_IN_SLICE, ismrmrd.ACQ_FIRST_IN_ENCODE_STEP1]
  if frame == n_frames - 1:
    flags += [ismrmrd.ACQ_LAST_IN_SLICE, ismrmrd.ACQ_LAST_IN_ENCODE_STEP1]
  if readout == 0:
    flags.append(ismrmrd.ACQ_FIRST_IN_REPETITION)
  if readout == n_slices * n_frames - 1:
    flags += [ismrmrd.ACQ_LAST_IN_REPETITION, ismrmrd.ACQ_LAST_IN_MEASUREMENT]
  return flags
