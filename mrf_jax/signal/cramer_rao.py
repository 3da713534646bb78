"""Cramér–Rao bounds of PD, T1 and T2: the least error of any method."""

import numpy as np
from jaxtyping import Float64

from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import Sequence
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.signal.fingerprints import fingerprint_derivatives

# Voxels whose derivatives are in memory at once.
_BLOCK = 4096


def cramer_rao_bounds(
  sequence: Sequence,
  t1_ms,
  t2_ms,
  *,
  noise_sd,
  pd=1.0,
  b1=1.0,
  window: int = 1,
  stride: int = 1,
  b1_known: bool = True,
) -> Maps:
  r"""Least standard deviations of unbiased estimates from one fingerprint.

  .. math::

    \mathrm{cov} \ge F^{-1}, \quad F_{ij} = \mathrm{Re} \left\langle
    \frac{\partial s}{\partial \theta_i},
    C^{-1} \frac{\partial s}{\partial \theta_j} \right\rangle

  for the signal s with the parameters θ = (PD, phase, T1, T2), where F is the
  Fisher information and C the covariance of the sliding window's images: frames
  have independent noise, and neighbouring windows share frames. A method that
  uses more than one fingerprint (neighbours, prior knowledge of tissue) is not
  unbiased in this sense, and its errors may be smaller.

  Args:
    sequence: the pulse sequence.
    t1_ms: longitudinal relaxation times, [voxel], ms.
    t2_ms: transverse relaxation times, [voxel], ms.
    noise_sd: standard deviation of the noise on the real and on the imaginary
      part of a window's image, [voxel] or scalar, units of the signal.
    pd: proton density, [voxel] or scalar.
    b1: factors on the flip angles, [voxel] or scalar.
    window: frames of the sliding window.
    stride: frames from one window to the next.
    b1_known: whether B1 is known; otherwise it is estimated too.

  Returns:
    Standard deviations of PD, T1 and T2, [voxel]; infinite where the windows
    do not determine them.

  Raises:
    UserError: shapes differ or a value is not possible.
  """
  acquisition = Acquisition(sequence, window, stride)
  given = [np.atleast_1d(x) for x in (t1_ms, t2_ms, noise_sd, pd, b1)]
  try:
    atoms = np.stack(np.broadcast_arrays(*given)).astype(np.float64)
  except ValueError as error:
    shapes = ", ".join(str(x.shape) for x in given)
    raise UserError(
      f"Cramér–Rao bound: t1_ms, t2_ms, noise_sd, pd, b1 have shapes {shapes}"
    ) from error
  for name, values in (("noise_sd", atoms[2]), ("pd", atoms[3])):
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
      k = int(np.argmax(bad))
      raise UserError(
        f"Cramér–Rao bound: {name}[{k}] is {values[k]:g}, not positive"
      )
  # Frames have √window times the noise of their mean.
  basis = _window_basis(acquisition)
  basis /= np.sqrt(window)
  parts = [
    _bounds_of_block(
      sequence, atoms[:, start : start + _BLOCK], basis, b1_known=b1_known
    )
    for start in range(0, atoms.shape[1], _BLOCK)
  ]
  return Maps.unstack(np.concatenate(parts))


def _window_basis(
  acquisition: Acquisition,
) -> Float64[np.ndarray, "frame window"]:
  """Orthonormal basis of the combinations of frames in the windows' images.

  In this basis C is that of the frames: the identity, times the noise variance.
  """
  window, stride = acquisition.window, acquisition.stride
  frames = np.eye(acquisition.sequence.n_frames)
  if window == 1 and stride == 1:
    return frames
  weights = sliding_window(frames, window=window, stride=stride)
  return np.linalg.qr(weights)[0]


def _bounds_of_block(sequence, atoms, basis, *, b1_known) -> np.ndarray:
  """Standard deviations, [voxel, 3], in the order of `MAP_NAMES`."""
  t1_ms, t2_ms, noise_sd, pd, b1 = atoms
  fingerprints = fingerprint_derivatives(
    sequence, t1_ms, t2_ms, b1=b1, with_b1=not b1_known
  )
  signals = fingerprints.signals @ basis
  # θ ∂s/∂θ, relative changes, so that the information matrix is well scaled.
  changes = [
    signals,
    1j * signals,
    (t1_ms[:, None] * fingerprints.by_t1_ms) @ basis,
    (t2_ms[:, None] * fingerprints.by_t2_ms) @ basis,
  ]
  if fingerprints.by_b1 is not None:
    changes.append((b1[:, None] * fingerprints.by_b1) @ basis)
  jacobian = np.stack(changes, 1)  # [voxel, parameter, window]
  jacobian *= (pd / noise_sd)[:, None, None]
  information = (jacobian @ jacobian.conj().swapaxes(1, 2)).real
  covariance = _inverse(information)
  relative = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
  return relative[:, [0, 2, 3]] * np.stack([pd, t1_ms, t2_ms], 1)


def _inverse(matrices: np.ndarray) -> np.ndarray:
  """Inverses of symmetric matrices; infinite where a matrix is singular."""
  length = np.sqrt(np.diagonal(matrices, axis1=1, axis2=2))
  length = np.where(length > 0, length, 1.0)
  scale = length[:, :, None] * length[:, None, :]
  correlation = matrices / scale
  is_regular = np.linalg.eigvalsh(correlation)[:, 0] > 1e-10
  regular = np.where(
    is_regular[:, None, None], correlation, np.eye(matrices.shape[1])
  )
  inverse = np.linalg.inv(regular) / scale
  return np.where(is_regular[:, None, None], inverse, np.inf)
