"""Raw files as the package `ismrmrd` writes them."""

import ismrmrd
import numpy as np

_HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <acquisitionSystemInformation>
    <systemFieldStrength_T>1.5</systemFieldStrength_T>
  </acquisitionSystemInformation>
  <experimentalConditions>
    <H1resonanceFrequency_Hz>63870000</H1resonanceFrequency_Hz>
  </experimentalConditions>
  <encoding>
    <encodedSpace>
      <matrixSize><x>{matrix}</x><y>{height}</y><z>{encoded_z}</z></matrixSize>
      <fieldOfView_mm>
        <x>{fov}</x><y>{fov_y}</y><z>{encoded_fov_z}</z>
      </fieldOfView_mm>
    </encodedSpace>
    <reconSpace>
      <matrixSize><x>{matrix}</x><y>{height}</y><z>{depth}</z></matrixSize>
      <fieldOfView_mm>
        <x>{fov}</x><y>{fov_y}</y><z>{fov_z}</z>
      </fieldOfView_mm>
    </reconSpace>
    <encodingLimits/>
    <trajectory>spiral</trajectory>
  </encoding>
</ismrmrdHeader>"""


def write(
  path,
  samples,
  trajectory,
  *,
  matrix,
  height=None,
  fov_mm=220.0,
  counters=None,
  noise=None,
  sample_time_us=0.0,
  partitions=1,
  depth=1,
):
  """Writes axial slices, 6 mm apart, one after another.

  Samples are [slice, acquisition, coil, sample]; the trajectory is
  [acquisition, sample, axis], in any unit; counters are those of `idx`, of each
  acquisition of a slice. The matrix and the field of view are those along x;
  the height is the number of voxels along y, which are as large. Noise is
  [acquisition, coil, sample], before all others. Partitions are those that are
  encoded, each 5 mm thick, and the depth is the number of them in the images.
  """
  dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
  height = height or matrix
  header = _HEADER.format(
    matrix=matrix,
    height=height,
    encoded_z=partitions,
    depth=depth,
    fov=fov_mm,
    fov_y=fov_mm * height / matrix,
    encoded_fov_z=5.0 * partitions,
    fov_z=5.0 * depth,
  )
  dataset.write_xml_header(header)
  for values in () if noise is None else noise:
    acquisition = ismrmrd.Acquisition.from_array(
      np.ascontiguousarray(values, np.complex64)
    )
    acquisition.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    dataset.append_acquisition(acquisition)
  for k, frames in enumerate(samples):
    for number, (frame, positions) in enumerate(
      zip(frames, trajectory, strict=True)
    ):
      acquisition = ismrmrd.Acquisition.from_array(
        np.ascontiguousarray(frame, np.complex64),
        np.ascontiguousarray(positions, np.float32)
        if positions.shape[-1]
        else None,
      )
      acquisition.sample_time_us = sample_time_us
      acquisition.idx.slice = k
      for name, values in (counters or {}).items():
        setattr(acquisition.idx, name, int(values[number]))
      acquisition.position[:] = (0, 0, 6.0 * k)
      acquisition.read_dir[:] = (1, 0, 0)
      acquisition.phase_dir[:] = (0, 1, 0)
      acquisition.slice_dir[:] = (0, 0, 1)
      dataset.append_acquisition(acquisition)
  dataset.close()
  return path
