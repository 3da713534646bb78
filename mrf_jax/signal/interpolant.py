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
# Polynomials in log T1 and in log T2. On the demo's sequence less than 1e-4 of
# the energy of the worst of 500 fingerprints is lost.
_N_NODES = 14
# Configuration orders of the simulation. One number for all atoms needs one
# program. The echoes are within 2e-4 at T2 below 500 ms, and 2 % beyond.
_N_STATES = 64


@dataclasses.dataclass(frozen=True)
class Interpolant:
  """Fingerprints, at one B1 and offset, as polynomials of log T1 and log T2.

  The polynomials are those of Chebyshev in x and y, both from -1 to 1. T1 rises
  with x from end to end. T2 rises with y, from its least value to T1: the
  triangle of T2 ≤ T1 becomes a square.

  Attributes:
    coefficients: of the products of polynomials in x and y, [term, frame], or
      of windows or temporal components instead of frames.
  """

  coefficients: Inexact[np.ndarray, "term frame"]

  def windowed(self, acquisition: Acquisition) -> "Interpolant":
    """The interpolant of sliding-window images, from that of the echoes."""
    return Interpolant(
      sliding_window(
        self.coefficients,
        window=acquisition.window,
        stride=acquisition.stride,
      )
    )

  def projected(
    self, basis: Inexact[np.ndarray, "frame rank"]
  ) -> "Interpolant":
    """The interpolant of `fingerprints @ basis`."""
    return Interpolant(self.coefficients @ basis)

  def __call__(self, t1_ms, t2_ms) -> Inexact[np.ndarray, "voxel frame"]:
    """Fingerprints at proton density one.

    Values outside the range of the polynomials are taken at its edge.

    Args:
      t1_ms: longitudinal relaxation times, [voxel], ms.
      t2_ms: transverse relaxation times, [voxel], ms.
    """
    x, y = _coordinates(np.asarray(t1_ms, float), np.asarray(t2_ms, float))
    terms = _terms(x, y).astype(self.coefficients.real.dtype)
    return terms @ self.coefficients


def make_interpolant(
  sequence: Sequence, *, b1: float = 1.0, off_resonance_hz: float = 0.0
) -> Interpolant:
  """Simulates the fingerprints at the nodes and fits the polynomials.

  Args:
    sequence: the pulse sequence.
    b1: factor on its flip angles.
    off_resonance_hz: offset of the Larmor frequency, Hz.

  Returns:
    The interpolant of its echoes; `windowed` makes that of window images.
  """
  # Roots of the polynomial of the next order.
  nodes = np.cos(np.pi * (np.arange(_N_NODES) + 0.5) / _N_NODES)
  x, y = (v.reshape(-1) for v in np.meshgrid(nodes, nodes, indexing="ij"))
  t1_ms, t2_ms = _times(x, y)
  echoes = simulate_fingerprints(
    sequence,
    t1_ms,
    # Rounding may lift it above T1.
    np.minimum(t2_ms, t1_ms),
    b1=b1,
    off_resonance_hz=off_resonance_hz,
    n_states=_N_STATES,
    keep_real=True,
  )
  coefficients = np.linalg.solve(_terms(x, y), echoes)
  return Interpolant(coefficients.astype(echoes.dtype))


def grid_of_times(side: int) -> tuple[np.ndarray, np.ndarray]:
  """T1 and T2, [atom], ms, of `side` x `side` atoms over the whole range."""
  ends = np.linspace(-1, 1, side)
  x, y = (v.reshape(-1) for v in np.meshgrid(ends, ends, indexing="ij"))
  return _times(x, y)


def _terms(x: np.ndarray, y: np.ndarray) -> Float[np.ndarray, "point term"]:
  """Products of the Chebyshev polynomials in x and in y at some points."""
  in_x, in_y = (
    np.polynomial.chebyshev.chebvander(v, _N_NODES - 1) for v in (x, y)
  )
  return np.einsum("pi,pj->pij", in_x, in_y).reshape(len(x), -1)


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
