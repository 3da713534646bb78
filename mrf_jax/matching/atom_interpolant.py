"""Atoms of any T1, T2 and B1 by interpolation of a few thousand.

A fingerprint is a smooth function of log T1, log T2 and B1. It is simulated at
the Chebyshev nodes of a few ranges of T2, compressed, and interpolated; atoms
that are simulated for this alone tell the error. A further parameter is one
more axis.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Inexact

from mrf_jax.errors import UserError
from mrf_jax.matching.interpolation_nodes import (
  InterpolationError,
  Simulator,
  combined,
  decays_of,
  grid_points,
  grids_of,
  panel_axes,
)
from mrf_jax.runtime.threads import map_threads, one_blas_thread
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.signal.chebyshev import Axis
from mrf_jax.signal.fingerprints import simulate_fingerprints
from mrf_jax.signal.subspace import check_rank, gram_matrix, temporal_basis

# Parts of the error asked for that the polynomials left out may have, along one
# axis, and whether polynomials of high degree along several axes at once are
# left out; the next is tried if the error is too large.
_ATTEMPTS = ((0.55, True), (0.7, False), (0.35, False))
# Truncation of the extended phase graphs, relative to the largest echo: of the
# nodes, and of the atoms that tell the error.
_NODE_TOLERANCE, _CHECK_TOLERANCE = 2e-5, 1e-6
# Norm of the fingerprints, relative to all, that the space of the nodes may
# lose.
_SPACE_TOLERANCE = 1e-6
# Values of each axis of the atoms whose strongest components are kept.
_SAMPLED = 16


@dataclasses.dataclass(frozen=True)
class Panel:
  """Fingerprints of one range of T2.

  Attributes:
    axes: of T1, T2 (ms) and further parameters.
    values: compressed fingerprints at the nodes, [*node, rank].
  """

  axes: tuple[Axis, ...]
  values: Inexact[np.ndarray, "*node rank"]

  def on_grid(
    self, t1_ms, t2_ms, *others: float
  ) -> Inexact[np.ndarray, "t1 t2 rank"]:
    """Compressed fingerprints of all pairs of T1 and T2."""
    values = self.values
    rank = values.shape[-1]
    # The last axis first: it has most nodes, and one value.
    for k in reversed(range(2, len(self.axes))):
      (weights,) = self._weights(k, others[k - 2 : k - 1])
      values = np.tensordot(weights, values, (0, k))
    of_t2 = np.matmul(self._weights(1, t2_ms), values)
    of_both = self._weights(0, t1_ms) @ of_t2.reshape(len(values), -1)
    return of_both.reshape(len(t1_ms), len(t2_ms), rank)

  def at(self, *columns) -> Inexact[np.ndarray, "point rank"]:
    """Compressed fingerprints at points, one column for each axis."""
    values = np.tensordot(self._weights(0, columns[0]), self.values, (1, 0))
    for k, column in enumerate(columns[1:], 1):
      weights = self._weights(k, column)[:, None]
      flat = values.reshape(*values.shape[:2], -1)
      values = (weights @ flat)[:, 0].reshape(len(flat), *values.shape[2:])
    return values

  def _weights(self, k: int, values) -> Float[np.ndarray, "point node"]:
    weights = self.axes[k].weights(values, self.values.shape[k])
    return weights.astype(self.values.real.dtype)


@dataclasses.dataclass(frozen=True)
class AtomInterpolant:
  """Compressed fingerprints of an acquisition as a function of T1, T2 and B1.

  Attributes:
    panels: ranges of T2, ascending.
    basis: temporal components, [frame, rank].
    error: of interpolation, of the worst of the atoms that were simulated for
      this; relative to the norm of the atom.
    left_out: norm that the components do not hold, of the worst of the same
      atoms and relative to their norms.
    n_simulated: fingerprints that were simulated.
  """

  panels: tuple[Panel, ...]
  basis: Inexact[np.ndarray, "frame rank"]
  error: float
  left_out: float
  n_simulated: int

  def panel_of(self, t2_ms) -> np.ndarray:
    """Number of the range that each T2 is in."""
    edges = [panel.axes[1].low for panel in self.panels[1:]]
    return np.searchsorted(edges, t2_ms, side="right")

  def on_grid(self, t1_ms, t2_ms, *others) -> Inexact[np.ndarray, "atom rank"]:
    """Compressed fingerprints of all pairs with T2 ≤ T1, at all other values.

    Args:
      t1_ms: values of T1, ms.
      t2_ms: values of T2, ascending, ms.
      *others: values of the other axes, each.

    Returns:
      Ordered by the other axes, then T1, then T2.
    """
    t1, t2 = np.asarray(t1_ms), np.asarray(t2_ms)
    physical = t2[None] <= t1[:, None]
    number = np.cumsum(physical).reshape(physical.shape) - 1
    n_pairs = int(physical.sum())
    points = list(itertools.product(*others))
    shape = (len(points), n_pairs, self.basis.shape[1])
    atoms = np.empty(shape, self.basis.dtype)
    of_panel = self.panel_of(t2)
    # Of each panel, its T1, its T2, and which of their pairs are which atoms.
    pieces = []
    for k in range(len(self.panels)):
      own = np.flatnonzero(of_panel == k)
      long = np.flatnonzero(physical[:, own].any(1))
      block = np.ix_(long, own)
      pairs = np.flatnonzero(physical[block])
      pieces.append((t1[long], t2[own], pairs, number[block].flat[pairs]))

    def fill(task: tuple[int, int]) -> None:
      place, k = task
      of_t1, of_t2, pairs, rows = pieces[k]
      if pairs.size:
        values = self.panels[k].on_grid(of_t1, of_t2, *points[place])
        atoms[place, rows] = values.reshape(-1, shape[-1])[pairs]

    with one_blas_thread():
      map_threads(
        fill, itertools.product(range(len(points)), range(len(self.panels)))
      )
    return atoms.reshape(-1, shape[-1])

  def at(self, *columns) -> Inexact[np.ndarray, "point rank"]:
    """Compressed fingerprints at points, one column for each axis.

    Args:
      *columns: T1 and T2 (ms), and values of the other axes, [point] each.
    """
    points = np.stack([np.asarray(column, float) for column in columns])
    values = np.empty((points.shape[1], self.basis.shape[1]), self.basis.dtype)
    of_panel = self.panel_of(points[1])

    def fill(rows: np.ndarray) -> None:
      panel = self.panels[of_panel[rows[0]]]
      values[rows] = panel.at(*points[:, rows])

    pieces = []
    for k in range(len(self.panels)):
      rows = np.flatnonzero(of_panel == k)
      pieces += np.array_split(rows, -(-len(rows) // 64)) if len(rows) else []
    with one_blas_thread():
      map_threads(fill, pieces)
    return values


def make_atom_interpolant(
  acquisition: Acquisition,
  t1_ms,
  t2_ms,
  b1=(1.0,),
  *,
  rank: int | None,
  largest_error: float = 1e-4,
  n_checks: int = 1024,
  seed: int = 0,
  n_states: int | None = None,
) -> AtomInterpolant:
  """Simulates as many fingerprints as an interpolation needs.

  Args:
    acquisition: the pulse sequence and its sliding window.
    t1_ms: values of T1 that will be asked for, ascending, ms.
    t2_ms: values of T2, ascending, ms.
    b1: factors on the flip angles, ascending.
    rank: temporal components kept; they are those of the pairs of T1 and T2
      with T2 ≤ T1 at each B1, and fewer if these span fewer. None keeps
      all, but for 1e-6 of the norm.
    largest_error: of interpolation, relative to the norm of the atom.
    n_checks: atoms between the ends of the axes, drawn at random, that are
      simulated to tell the error.
    seed: of their choice.
    n_states: configuration orders that are simulated, counting order 0; None
      chooses them by T2.

  Returns:
    The interpolant; its `error` is at most the one asked for.

  Raises:
    InterpolationError: the error is larger.
    UserError: no pair has T2 ≤ T1, or the rank is not between 1 and the number
      of windows.
  """
  if rank is not None:
    check_rank("compression: rank", rank, n_frames=acquisition.n_windows)
  columns = [np.unique(np.asarray(v, float)) for v in (t1_ms, t2_ms, b1)]
  if not columns[1][0] <= columns[0][-1]:
    raise UserError("dictionary: no pair of T1 and T2 with T2 ≤ T1")
  simulate = functools.partial(_simulate, acquisition, n_states=n_states)
  panels = panel_axes(columns)
  checks = _random_atoms(columns, n_checks, np.random.default_rng(seed))
  exact = simulate(*checks, tolerance=_CHECK_TOLERANCE)
  n_simulated = n_checks
  for number, (share, is_sparse) in enumerate(_ATTEMPTS, 1):
    tolerance = share * largest_error
    try:
      decays, n_probes = decays_of(panels, simulate, tolerance)
    except InterpolationError:
      if number == len(_ATTEMPTS):
        raise
      continue
    grids = [grids_of(of_panel, tolerance, is_sparse) for of_panel in decays]
    space, at_nodes, n_nodes = _in_their_space(panels, grids, simulate)
    n_simulated += n_probes + n_nodes
    result = AtomInterpolant(at_nodes, space, 0.0, 0.0, n_simulated)
    if rank is not None:
      # Fewer components hold all of the fingerprints of a plain sequence.
      gram = _gram_of_sample(result, columns)
      basis = temporal_basis(gram, rank=min(rank, len(gram)))
      basis = basis.astype(space.dtype)
      narrow = tuple(Panel(p.axes, p.values @ basis) for p in at_nodes)
      result = AtomInterpolant(narrow, space @ basis, 0.0, 0.0, n_simulated)
    error, left_out = _errors(result, checks, exact)
    if error <= largest_error:
      return dataclasses.replace(result, error=error, left_out=left_out)
  raise InterpolationError(
    f"interpolated atoms err by up to {error:.1e} of their norm, above the "
    f"largest error of {largest_error:g}"
  )


def _simulate(
  acquisition: Acquisition,
  t1_ms,
  t2_ms,
  b1,
  *,
  n_states: int | None,
  tolerance: float = _NODE_TOLERANCE,
) -> Inexact[np.ndarray, "point frame"]:
  """Sliding-window fingerprints, of T2 > T1 too."""
  echoes = simulate_fingerprints(
    acquisition.sequence,
    t1_ms,
    t2_ms,
    b1=b1,
    n_states=n_states,
    tolerance=tolerance,
    keep_real=True,
    is_tissue=False,
  )
  return sliding_window(
    echoes, window=acquisition.window, stride=acquisition.stride
  )


def _in_their_space(
  panels: Sequence[tuple[Axis, ...]],
  grids: Sequence[tuple[tuple[int, ...], ...]],
  simulate: Simulator,
) -> tuple[np.ndarray, tuple[Panel, ...], int]:
  """Fingerprints at all nodes, in the space that they span.

  Returns:
    Its orthonormal basis, [frame, rank], the panels, and the number of nodes.
  """
  points = [
    grid_points(panel, counts)
    for panel, of_panel in zip(panels, grids, strict=True)
    for counts in of_panel
  ]
  signals = simulate(*np.concatenate(points).T)
  norms = np.linalg.norm(signals, axis=1)
  gram = gram_matrix(signals / norms[:, None])
  energy, space = np.linalg.eigh(gram)
  rest = np.cumsum(energy.clip(0))
  space = space[:, rest > _SPACE_TOLERANCE**2 * rest[-1]].astype(signals.dtype)
  ends = np.cumsum([len(grid) for grid in points])[:-1]
  pieces = iter(np.split(signals @ space, ends))
  return (
    space,
    tuple(
      Panel(
        panel,
        combined([next(pieces).reshape(*counts, -1) for counts in of_panel]),
      )
      for panel, of_panel in zip(panels, grids, strict=True)
    ),
    len(signals),
  )


def _gram_of_sample(
  wide: AtomInterpolant, columns: Sequence[np.ndarray]
) -> np.ndarray:
  """Gram matrix of normalised atoms, spread over the values of all axes."""
  some = [
    v[np.unique(np.linspace(0, len(v) - 1, _SAMPLED).round().astype(int))]
    for v in columns
  ]
  atoms = wide.on_grid(*some)
  norms = np.linalg.norm(atoms, axis=1)
  return gram_matrix(atoms / norms[:, None])


def _random_atoms(
  columns: Sequence[np.ndarray], count: int, rng: np.random.Generator
) -> list[np.ndarray]:
  """Points with T2 ≤ T1, spread over log T1, log T2 and the other axes."""
  t1, t2, *others = columns
  log_t1 = rng.uniform(np.log(max(t1[0], t2[0])), np.log(t1[-1]), count)
  most = np.minimum(log_t1, np.log(t2[-1]))
  log_t2 = np.log(t2[0]) + rng.random(count) * (most - np.log(t2[0]))
  return [
    np.exp(log_t1),
    np.exp(log_t2),
    *(rng.uniform(v[0], v[-1], count) for v in others),
  ]


def _errors(
  interpolant: AtomInterpolant,
  atoms: Sequence[np.ndarray],
  exact: Inexact[np.ndarray, "atom frame"],
) -> tuple[float, float]:
  """Largest error of interpolation, and largest norm that is left out."""
  norms = np.linalg.norm(exact, axis=1)
  projected = exact @ interpolant.basis
  found = interpolant.at(*atoms)
  error = np.linalg.norm(found - projected, axis=1) / norms
  rest = np.linalg.norm(exact - projected @ interpolant.basis.conj().T, axis=1)
  return float(error.max()), float((rest / norms).max())
