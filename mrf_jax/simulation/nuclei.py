"""Deep grey nuclei: where they are in MNI space, and their T1, T2 and PD.

The MNI152 templates know white and grey matter only, and count much of these
nuclei as white matter.
"""

import numpy as np
from jaxtyping import Float, Float32, Int

# Centre and semi-axes along x, y and z of ellipsoids about as large as the
# nuclei of the right side, mm; the left side is their mirror image.
_RIGHT_MM = {
  "thalamus": ((11.0, -18.0, 8.0), (9.0, 14.0, 9.0)),
  "caudate": ((13.0, 11.0, 10.0), (5.0, 13.0, 10.0)),
  "putamen": ((26.0, 2.0, 1.0), (5.5, 15.0, 10.0)),
  "pallidum": ((19.0, -4.0, -1.0), (4.5, 9.0, 6.5)),
}
NUCLEI = tuple(_RIGHT_MM)

# T1 (ms), T2 (ms), PD relative to water, at 1.5 T. T1 of putamen and caudate
# head: Wright 2008, where cortex has 1197 and white matter 646 ms. T2 of the
# caudate is about that of cortex (Georgiades 2001). The other values are
# estimates: iron shortens T2 of putamen and pallidum, and fibres both times of
# thalamus and pallidum.
NUCLEI_AT_1_5T = {
  "thalamus": (930.0, 78.0, 0.79),
  "caudate": (1109.0, 86.0, 0.81),
  "putamen": (1084.0, 78.0, 0.81),
  "pallidum": (850.0, 64.0, 0.76),
}


def nearest_nuclei(
  points_mm: Float[np.ndarray, "point 3"],
) -> tuple[Int[np.ndarray, "point"], Float32[np.ndarray, "point"]]:
  """The nearest nucleus of each point in MNI space.

  Returns:
    Its number in `NUCLEI`, and the distance in semi-axes of its ellipsoid: up
    to one inside it.
  """
  points = points_mm.astype(np.float32)
  points = np.concatenate([np.abs(points[:, :1]), points[:, 1:]], 1)
  distances = np.stack(
    [
      np.linalg.norm((points - centre) / axes, axis=1)
      for centre, axes in np.array(list(_RIGHT_MM.values()), np.float32)
    ]
  )
  return distances.argmin(0), distances.min(0)
