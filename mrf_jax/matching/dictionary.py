"""Dictionaries of simulated fingerprints (Ma 2013)."""

import dataclasses

import jax
import numpy as np
from jaxtyping import Complex64, Float32

from mrf_jax.errors import UserError
from mrf_jax.matching.atom_interpolant import (
  AtomInterpolant,
  InterpolationError,
  make_atom_interpolant,
)
from mrf_jax.runtime.memory import available_bytes, gib
from mrf_jax.runtime.typing import AnyArray
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import Sequence
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.signal.fingerprints import simulate_fingerprints
from mrf_jax.signal.subspace import gram_matrix, temporal_basis

# Compressed dictionaries of more atoms than these are interpolated, if nothing
# is said: fewer are simulated in the time of the nodes.
MOST_SIMULATED = 50_000


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dictionary:
  """Simulated fingerprints with their parameters.

  Attributes:
    atoms: L2-normalised fingerprints, real if all pulses share one phase; of
      `rank` columns if compressed, [atom, frame or rank].
    norms: norms before the normalisation, at proton density one, [atom].
    t1_ms: longitudinal relaxation times, [atom], ms.
    t2_ms: transverse relaxation times, [atom], ms.
    b1: factors on the flip angles, [atom].
    basis: temporal basis on which signals are projected, [frame, rank], or
      None.
    window: frames of the sliding window that the atoms were averaged by.
    stride: frames from one window to the next.
    interpolation_error: bound on the error of the atoms, relative to their
      norms, if they are interpolated: that of the worst of a thousand which
      were simulated. 0 if all were simulated.
  """

  atoms: Float32[AnyArray, "atom frame"] | Complex64[AnyArray, "atom frame"]
  norms: Float32[AnyArray, "atom"]
  t1_ms: Float32[AnyArray, "atom"]
  t2_ms: Float32[AnyArray, "atom"]
  b1: Float32[AnyArray, "atom"]
  basis: AnyArray | None = None
  window: int = dataclasses.field(default=1, metadata={"static": True})
  stride: int = dataclasses.field(default=1, metadata={"static": True})
  interpolation_error: float = dataclasses.field(
    default=0.0, metadata={"static": True}
  )

  @property
  def n_atoms(self) -> int:
    """Number of fingerprints."""
    return len(self.norms)


def build_dictionary(
  sequence: Sequence,
  t1_ms,
  t2_ms,
  *,
  b1=(1.0,),
  window: int = 1,
  stride: int = 1,
  rank: int | None = None,
  n_states: int | None = None,
  interpolate: bool | None = None,
  largest_error: float = 1e-4,
  text: str | None = None,
) -> Dictionary:
  """Fingerprints of every pair of T1 and T2 with T2 ≤ T1.

  Atoms are averaged by the same sliding window as the scan. Large compressed
  dictionaries are interpolated from a few thousand atoms, see
  `atom_interpolant.py`: a million take seconds.

  Args:
    sequence: the pulse sequence.
    t1_ms: values of T1, [n], ms.
    t2_ms: values of T2, [m], ms.
    b1: factors on the flip angles; every pair is simulated with each of them.
    window: frames of the sliding window.
    stride: frames from one window to the next.
    rank: temporal components kept by an SVD (McGivney 2014); None keeps all
      frames.
    n_states: configuration orders of the simulation; None chooses them by T2.
    interpolate: whether to interpolate atoms, which needs a rank; False
      simulates each. None interpolates more than `MOST_SIMULATED`, and
      simulates them if the error would be larger than asked for.
    largest_error: of interpolated atoms, relative to their norms.
    text: label of the progress bar of a simulation; None shows none.

  Returns:
    The dictionary, atoms ordered by B1, then T1, then T2.

  Raises:
    UserError: an axis is empty, no pair has T2 ≤ T1, the sequence is shorter
      than the window, memory is too small, or interpolation is asked for and
      its error is larger than it may be.
  """
  acquisition = Acquisition(sequence, window, stride)
  axes = [np.asarray(v, np.float32).reshape(-1) for v in (b1, t1_ms, t2_ms)]
  columns = atoms_of_axes(*axes)
  if interpolate and (rank is None or n_states is not None):
    raise UserError("dictionary: interpolation needs a rank, and no n_states")
  if interpolate is None and rank is not None and n_states is None:
    may_interpolate = is_interpolated(len(columns[0]))
  else:
    may_interpolate = bool(interpolate)
  if may_interpolate:
    assert rank is not None
    try:
      return _interpolated(acquisition, axes, columns, rank, largest_error)
    except InterpolationError:
      if interpolate:
        raise
  return _simulated(acquisition, columns, rank, n_states, text)


def _interpolated(
  acquisition: Acquisition,
  axes: list[np.ndarray],
  columns: tuple[np.ndarray, np.ndarray, np.ndarray],
  rank: int,
  largest_error: float,
) -> Dictionary:
  """The compressed dictionary of B1, T1 and T2, by interpolation."""
  b1, t1, t2 = axes
  n_bytes = 4 if acquisition.sequence.has_real_echoes else 8
  _check_bytes(len(columns[0]), acquisition, 2 * rank * n_bytes)
  interpolant = make_atom_interpolant(
    acquisition, t1, t2, b1, rank=rank, largest_error=largest_error
  )
  return dictionary_of(interpolant, acquisition, axes, columns)


def dictionary_of(
  interpolant: AtomInterpolant,
  acquisition: Acquisition,
  axes: list[np.ndarray],
  columns: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Dictionary:
  """The compressed dictionary of an interpolant.

  Args:
    interpolant: of the acquisition.
    acquisition: pulse sequence and sliding window.
    axes: values of B1, of T1 (ms) and of T2 (ms).
    columns: T1, T2 and B1 of each atom, as `atoms_of_axes` orders them.
  """
  b1, t1, t2 = axes
  atoms = interpolant.on_grid(t1, t2, b1)
  norms = _normalise(atoms)
  return Dictionary(
    atoms,
    norms,
    *columns,
    basis=interpolant.basis,
    window=acquisition.window,
    stride=acquisition.stride,
    interpolation_error=interpolant.error,
  )


def atoms_of_axes(
  b1, t1_ms, t2_ms
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """T1, T2 and B1 of all atoms with T2 ≤ T1, ordered by B1, T1 and T2.

  Raises:
    UserError: there are none.
  """
  factor, t1, t2 = (
    grid.reshape(-1) for grid in np.meshgrid(b1, t1_ms, t2_ms, indexing="ij")
  )
  physical = t2 <= t1
  if not physical.any():
    raise UserError("dictionary: no pair of T1 and T2 with T2 ≤ T1")
  return t1[physical], t2[physical], factor[physical]


def _simulated(
  acquisition: Acquisition,
  columns: tuple[np.ndarray, np.ndarray, np.ndarray],
  rank: int | None,
  n_states: int | None,
  text: str | None,
) -> Dictionary:
  """The dictionary of some T1, T2 and B1, each simulated."""
  t1, t2, factor = columns
  check_memory(len(t1), acquisition)
  window, stride = acquisition.window, acquisition.stride
  echoes = simulate_fingerprints(
    acquisition.sequence,
    t1,
    t2,
    b1=factor,
    n_states=n_states,
    keep_real=True,
    text=text,
  )
  atoms = sliding_window(echoes, window=window, stride=stride)
  del echoes
  norms = _normalise(atoms)
  dictionary = Dictionary(
    atoms, norms, t1, t2, factor, window=window, stride=stride
  )
  return dictionary if rank is None else compress(dictionary, rank=rank)


def _normalise(atoms: np.ndarray) -> np.ndarray:
  """Scales atoms to norm one, in place, and returns their norms."""
  # By einsum, so that no array of squares is made.
  norms = np.sqrt(np.einsum("ij,ij->i", atoms, atoms.conj()).real)
  atoms /= norms[:, None]
  return norms


def is_interpolated(n_atoms: int) -> bool:
  """Whether a compressed dictionary of this size is, if nothing is said."""
  return n_atoms > MOST_SIMULATED


def check_memory(n_atoms: int, acquisition: Acquisition) -> None:
  """Raises `UserError` if memory cannot hold a dictionary while it is made.

  The message says which size would fit.
  """
  sequence = acquisition.sequence
  # Echoes and windows are in memory at the same time.
  n_bytes = 4 if sequence.has_real_echoes else 8
  per_atom = (sequence.n_frames + acquisition.n_windows) * n_bytes
  _check_bytes(n_atoms, acquisition, per_atom)


def _check_bytes(n_atoms: int, acquisition: Acquisition, per_atom: int) -> None:
  """Raises `UserError` if memory cannot hold so many bytes for each atom."""
  free = available_bytes()
  if n_atoms * per_atom > free:
    raise UserError(
      f"dictionary: {n_atoms:,} atoms of "
      f"{acquisition.sequence.n_frames} frames need "
      f"{gib(n_atoms * per_atom)} of memory, {gib(free)} are free; "
      f"{int(0.9 * free) // per_atom:,} atoms would fit"
    )


def square_axes(
  t1_ms: tuple[float, float], t2_ms: tuple[float, float], *, n_atoms: int
) -> list[np.ndarray]:
  """Geometric axes of equal length, of the smallest grid of so many atoms.

  T1 and T2 are given by their first and last values; an atom has T2 ≤ T1.
  """

  def axes(side):
    return [
      np.geomspace(low_ms, high_ms, side).astype(np.float32)
      for low_ms, high_ms in (t1_ms, t2_ms)
    ]

  low, high = 1, 2
  while count_atoms(*axes(high)) < n_atoms:
    low, high = high, 2 * high
  while high - low > 1:
    middle = (low + high) // 2
    if count_atoms(*axes(middle)) < n_atoms:
      low = middle
    else:
      high = middle
  return axes(high)


def count_atoms(t1_ms, t2_ms) -> int:
  """Number of pairs with T2 ≤ T1, of ascending values."""
  return int(np.searchsorted(t2_ms, t1_ms, side="right").sum())


def grid_axis(low: float, high: float, *, step_percent: float) -> np.ndarray:
  """A geometric axis from low to high with steps of at most step_percent.

  Raises:
    UserError: a number is not above 0 or not finite, or low is above high.
  """
  if not (0 < low <= high < np.inf and 0 < step_percent < np.inf):
    raise UserError(
      f"no axis goes from {low:g} to {high:g} in steps of {step_percent:g} %"
    )
  ratio = np.log(high / low) / np.log1p(step_percent / 100)
  return np.geomspace(low, high, int(np.ceil(ratio)) + 1).astype(np.float32)


def compress(dictionary: Dictionary, *, rank: int) -> Dictionary:
  """Projects a dictionary on its first temporal components (McGivney 2014).

  Atoms are scaled to norm one again after the projection. `match` projects the
  signals.

  Args:
    dictionary: a dictionary that is not compressed.
    rank: number of components.

  Returns:
    The compressed dictionary with its basis.

  Raises:
    UserError: the rank is not between 1 and the number of frames.
  """
  atoms = np.asarray(dictionary.atoms)
  basis = temporal_basis(gram_matrix(atoms), rank=rank).astype(atoms.dtype)
  projected = atoms @ basis
  length = np.linalg.norm(projected, axis=1)
  return dataclasses.replace(
    dictionary,
    atoms=projected / length[:, None],
    norms=np.asarray(dictionary.norms) * length,
    basis=basis,
  )
