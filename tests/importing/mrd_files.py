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
      <matrixSize><x>{matrix}</x><y>{matrix}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>{fov}</x><y>{fov}</y><z>5</z></fieldOfView_mm>
    </encodedSpace>
    <reconSpace>
      <matrixSize><x>{matrix}</x><y>{matrix}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>{fov}</x><y>{fov}</y><z>5</z></fieldOfView_mm>
    </reconSpace>
    <encodingLimits/>
    <trajectory>spiral</trajectory>
  </encoding>
</ismrmrdHeader>"""


def write(path, samples, trajectory, *, matrix, fov_mm=220.0):
  """Writes axial slices, 6 mm apart, one after another.

  Samples are [slice, frame, coil, sample]; the trajectory is
  [frame, sample, axis], in any unit.
  """
  dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
  dataset.write_xml_header(_HEADER.format(matrix=matrix, fov=fov_mm))
  for k, frames in enumerate(samples):
    for frame, positions in zip(frames, trajectory, strict=True):
      acquisition = ismrmrd.Acquisition.from_array(
        np.ascontiguousarray(frame, np.complex64),
        np.ascontiguousarray(positions, np.float32),
      )
      acquisition.idx.slice = k
      acquisition.position[:] = (0, 0, 6.0 * k)
      acquisition.read_dir[:] = (1, 0, 0)
      acquisition.phase_dir[:] = (0, 1, 0)
      acquisition.slice_dir[:] = (0, 0, 1)
      dataset.append_acquisition(acquisition)
  dataset.close()
  return path
