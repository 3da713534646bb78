"""Fingerprints of any T1 and T2 by interpolation of a few hundred."""

import dataclasses

import numpy as np
from jaxtyping import Float, Inexact

from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import Sequence
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.signal.fingerprints import simulate_fingerprints

# Values between which fingerprints are interpolated: those of any tissue, and
# of the spheres of system phantoms.
T1_MS = (30.0, 8000.0)
LEAST_T2_MS = 2.0
# Polynomials in log T1 and in log T2, and in B1 if it varies. On the demo's
# sequence 1e-4 of the energy of the worst of 500 fingerprints is lost.
_N_NODES = (14, 14)
_N_B1 = 4
# Configuration orders of the simulation. One number for all atoms needs one
# program. The echoes are within 2e-4 at T2 below 500 ms, and 2 % beyond.
_N_STATES = 64


@dataclasses.dataclass(frozen=True)
class Interpolant:
  """Fingerprints as a polynomial of log T1, log T2 and B1.

  The polynomials are those of Chebyshev in x, y and z, each from -1 to 1. T1
  rises with x from end to end. T2 rises with y, from its least value to T1: the
  triangle of T2 ≤ T1 becomes a square.

  Attributes:
    coefficients: of the polynomials in x, y and z, [i, j, k, frame], or of
      windows or temporal components instead of frames.
    b1: first and last factor on the flip angles; equal for a single one.
  """

  coefficients: Inexact[np.ndarray, "i j k frame"]
  b1: tuple[float, float]

  def windowed(self, acquisition: Acquisition) -> "Interpolant":
    """The interpolant of sliding-window images, from that of the echoes."""
    rows = self.coefficients.reshape(-1, self.coefficients.shape[-1])
    windows = sliding_window(
      rows, window=acquisition.window, stride=acquisition.stride
    )
    return dataclasses.replace(
      self,
      coefficients=windows.reshape(*self.coefficients.shape[:-1], -1),
    )

  def projected(self, basis: Inexact[np.ndarray, "frame rank"]):
    """The interpolant of `fingerprints @ basis`."""
    return dataclasses.replace(self, coefficients=self.coefficients @ basis)

  def __call__(
    self, t1_ms, t2_ms, b1=1.0
  ) -> Inexact[np.ndarray, "voxel frame"]:
    """Fingerprints at proton density one.

    Values outside the range of the polynomials are taken at its edge.

    Args:
      t1_ms: longitudinal relaxation times, [voxel], ms.
      t2_ms: transverse relaxation times, [voxel], ms.
      b1: factors on the flip angles, [voxel] or scalar; without effect if the
        interpolant has a single one.
    """
    t1, t2, factor = np.broadcast_arrays(
      *(np.asarray(v, np.float64).reshape(-1) for v in (t1_ms, t2_ms, b1))
    )
    n_i, n_j, n_k, n_frames = self.coefficients.shape
    x, y = _coordinates(t1, t2)
    real = self.coefficients.real.dtype
    terms = np.einsum("vi,vj->vij", _chebyshev(x, n_i), _chebyshev(y, n_j))
    low, high = self.b1
    if n_k == 1:
      table = self.coefficients.reshape(n_i * n_j, n_frames)
      return terms.reshape(len(t1), -1).astype(real) @ table
    z = 2 * (np.clip(factor, low, high) - low) / (high - low) - 1
    terms = np.einsum("vij,vk->vijk", terms, _chebyshev(z, n_k))
    table = self.coefficients.reshape(-1, n_frames)
    return terms.reshape(len(t1), -1).astype(real) @ table


def make_interpolant(
  sequence: Sequence, *, b1: tuple[float, float] = (1.0, 1.0)
) -> Interpolant:
  """Simulates the fingerprints at the nodes and fits the polynomials.

  Args:
    sequence: the pulse sequence.
    b1: first and last factor on the flip angles.

  Returns:
    The interpolant of its echoes; `windowed` makes that of window images.
  """
  n_k = 1 if b1[0] == b1[1] else _N_B1
  shape = (*_N_NODES, n_k)
  axes = [_nodes(n) for n in shape]
  x, y, z = (v.reshape(-1) for v in np.meshgrid(*axes, indexing="ij"))
  t1_ms, t2_ms = _times(x, y)
  echoes = simulate_fingerprints(
    sequence,
    t1_ms,
    # Rounding may lift it above T1.
    np.minimum(t2_ms, t1_ms),
    b1=b1[0] + (z + 1) / 2 * (b1[1] - b1[0]),
    n_states=_N_STATES,
    keep_real=True,
  )
  coefficients = echoes.reshape(*shape, -1).astype(
    np.result_type(echoes.dtype, np.float64)
  )
  for axis, nodes in enumerate(axes):
    inverse = np.linalg.inv(_chebyshev(nodes, len(nodes)))
    coefficients = np.moveaxis(
      np.tensordot(inverse, coefficients, (1, axis)), 0, axis
    )
  return Interpolant(coefficients.astype(echoes.dtype), b1)


def grid_of_times(side: int) -> tuple[np.ndarray, np.ndarray]:
  """T1 and T2, [atom], ms, of `side` x `side` atoms over the whole range."""
  ends = np.linspace(-1, 1, side)
  x, y = (v.reshape(-1) for v in np.meshgrid(ends, ends, indexing="ij"))
  return _times(x, y)


def _nodes(n: int) -> Float[np.ndarray, "n"]:
  """Roots of the Chebyshev polynomial of order n; 0 for one."""
  return np.cos(np.pi * (np.arange(n) + 0.5) / n)


def _chebyshev(x: np.ndarray, n: int) -> Float[np.ndarray, "point n"]:
  """The first n Chebyshev polynomials at some points."""
  return np.polynomial.chebyshev.chebvander(x, n - 1)


def _times(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """T1 and T2, ms, at coordinates from -1 to 1."""
  low, high = np.log(T1_MS)
  log_t1 = low + (x + 1) / 2 * (high - low)
  least = np.log(LEAST_T2_MS)
  log_t2 = least + (y + 1) / 2 * (log_t1 - least)
  return np.exp(log_t1), np.exp(log_t2)


def _coordinates(
  t1_ms: np.ndarray, t2_ms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Coordinates of T1 and T2, the nearest inside the range."""
  low, high = np.log(T1_MS)
  log_t1 = np.log(np.clip(t1_ms, *T1_MS))
  least = np.log(LEAST_T2_MS)
  log_t2 = np.log(np.clip(t2_ms, LEAST_T2_MS, np.exp(log_t1)))
  y = 2 * (log_t2 - least) / (log_t1 - least) - 1
  return 2 * (log_t1 - low) / (high - low) - 1, y
