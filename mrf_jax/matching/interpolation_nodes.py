"""Which atoms an interpolation simulates: nodes of ranges of T2.

Nodes are Chebyshev's in log T1, log T2 and B1. How many an axis needs is read
from lines along it, and a combination of two grids leaves out those that only
serve high degrees along several axes at once.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Inexact
from numpy.polynomial.chebyshev import chebpts1

from mrf_jax.errors import UserError
from mrf_jax.signal.chebyshev import (
  Axis,
  along_axis,
  interpolation_weights,
  tail_norms,
  to_polynomials,
)

# Ratio of the ends of a range of T2, at most: the longer T2 lasts, the more
# pulses B1 multiplies, and the more nodes it needs.
_T2_RATIO = 4.0
# Nodes of the lines along which the nodes of an axis are counted: as many as
# the polynomials of the lines before did not suffice for. None gets more.
_LINE_NODES = (16, 144)
# A line whose polynomials are needed up to this part of its nodes is too short.
_MOST_FILLED = 0.95
# Most nodes of the smooth part of the axis that needs most.
_MOST_SMOOTH = 5
# The product of the decays along two axes is taken so many times as large.
_MIXED = 6.0

_ADVICE = "ask for a larger one, or for atoms that are simulated"

# Fingerprints [point, frame] from T1, T2 (ms) and the values of other axes.
Simulator = Callable[..., Inexact[np.ndarray, "point frame"]]


class InterpolationError(UserError):
  """Interpolated atoms err by more than they may.

  Attributes:
    problem: by how much, in words.
  """

  def __init__(self, problem: str):
    super().__init__(f"dictionary: {problem}; {_ADVICE}")
    self.problem = problem


def panel_axes(
  columns: Sequence[np.ndarray],
) -> list[tuple[Axis, ...]]:
  """Axes of each range of T2."""
  t1, t2, *others = columns
  low, high = t2[0], min(t2[-1], t1[-1])
  n_panels = max(1, int(np.ceil(np.log(high / low) / np.log(_T2_RATIO))))
  edges = np.geomspace(low, high, n_panels + 1)
  rest = [Axis(float(v[0]), float(v[-1])) for v in others]
  return [
    (
      Axis(float(max(t1[0], first)), float(t1[-1]), is_logarithmic=True),
      Axis(float(first), float(last), is_logarithmic=True),
      *rest,
    )
    for first, last in itertools.pairwise(edges)
  ]


def decays_of(
  panels: Sequence[tuple[Axis, ...]], simulate: Simulator, tolerance: float
) -> tuple[list[list[Float[np.ndarray, "polynomial"]]], int]:
  """What is lost without a polynomial and all after it, of each axis.

  It is that of the worst of some lines through the middle and the corners of a
  panel, relative to the least norm on the line, down to the tolerance.

  Returns:
    For each panel and axis, and the number of fingerprints simulated for it.

  Raises:
    InterpolationError: an axis needs too many polynomials.
  """
  decays = [[np.ones(1)] * len(panel) for panel in panels]
  n_simulated = 0
  starts = {
    (number, k): _starts(panel, k)
    for number, panel in enumerate(panels)
    for k, axis in enumerate(panel)
    if not axis.is_single
  }
  for n_nodes in _LINE_NODES:
    lines = [
      (number, k, start)
      for (number, k), of_axis in starts.items()
      for start in of_axis
    ]
    if not lines:
      break
    points = [_line(panels[n], k, start, n_nodes) for n, k, start in lines]
    signals = simulate(*np.concatenate(points).T)
    n_simulated += len(signals)
    starts = {}
    for (number, k, start), of_line in zip(
      lines, np.split(signals, len(lines)), strict=True
    ):
      decay = _decay(of_line)
      decay = decay[: max(1, np.count_nonzero(decay > tolerance))]
      longest = len(decays[number][k])
      decays[number][k] = _larger(decays[number][k], decay)
      # Where the last polynomials are small, those beyond are, too. Of lines
      # with as many the last is that of the longest T1 and T2.
      if len(decay) >= max(longest, _MOST_FILLED * n_nodes):
        starts[number, k] = [start]
  if starts:
    raise InterpolationError(
      f"{_LINE_NODES[-1]} polynomials along one axis are too few for so small "
      "an error of interpolated atoms"
    )
  return decays, n_simulated


def _starts(panel: tuple[Axis, ...], k: int) -> list[tuple[float, ...]]:
  """Coordinates of a line's points along the other axes."""
  others = [
    (0.0,) if axis.is_single or j == k else (-1.0, 1.0)
    for j, axis in enumerate(panel)
  ]
  middle = (0.0,) * len(panel)
  return list(dict.fromkeys([middle, *itertools.product(*others)]))


def _line(
  panel: tuple[Axis, ...], k: int, start: tuple[float, ...], n_nodes: int
) -> Float[np.ndarray, "point axis"]:
  """Values of all axes at the nodes of a line along axis `k`."""
  columns = [
    axis.nodes(n_nodes) if j == k else axis.values([start[j]] * n_nodes)
    for j, axis in enumerate(panel)
  ]
  return np.stack(columns, 1)


def _decay(signals: np.ndarray) -> Float[np.ndarray, "polynomial"]:
  """What a line loses without a polynomial and those after it."""
  coefficients = to_polynomials(len(signals)) @ signals
  return (
    tail_norms(coefficients, axis=0) / np.linalg.norm(signals, axis=1).min()
  )


def _larger(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """The larger of two decays at each polynomial, as long as the longer one."""
  size = max(len(first), len(second))
  return np.maximum(*(np.pad(x, (0, size - len(x))) for x in (first, second)))


def grids_of(
  decays: Sequence[np.ndarray], tolerance: float, is_sparse: bool
) -> tuple[tuple[int, ...], ...]:
  """Nodes along each axis of the grids that a panel is interpolated from.

  One grid has all nodes. A sparse set has two grids, one with few nodes along
  the axis that needs most, and one with few along all others: what is smooth
  along the one and what is smooth along the others. The rest is small, and the
  product of both decays tells how small.
  """
  full = tuple(len(decay) for decay in decays)
  best: tuple[tuple[int, ...], ...] = (full,)
  least = int(np.prod(full))
  if not is_sparse:
    return best
  longest = int(np.argmax(full))
  for few in range(1, min(full[longest], 1 + _MOST_SMOOTH)):
    # Without the last of the few, too, to be on the safe side.
    rest = _MIXED * decays[longest][few - 1]
    fine = tuple(
      n
      if k == longest
      else max(1, int(np.count_nonzero(decay * rest / decay[0] > tolerance)))
      for k, (n, decay) in enumerate(zip(full, decays, strict=True))
    )
    coarse = (*full[:longest], few, *full[longest + 1 :])
    n_nodes = int(np.prod(fine) + np.prod(coarse))
    if n_nodes < least:
      best, least = (coarse, fine), n_nodes
  return best


def grid_points(
  panel: tuple[Axis, ...], counts: tuple[int, ...]
) -> Float[np.ndarray, "point axis"]:
  """Values of all axes at the nodes of a grid."""
  nodes = [axis.nodes(n) for axis, n in zip(panel, counts, strict=True)]
  mesh = np.meshgrid(*nodes, indexing="ij")
  return np.stack([m.reshape(-1) for m in mesh], 1)


def combined(
  values: Sequence[Inexact[np.ndarray, "..."]],
) -> Inexact[np.ndarray, "..."]:
  """Values at the nodes of the grid that has all, from those of one or two.

  The interpolants of two grids are added, less that of what both have: the
  second at the nodes of neither more than the first (combination technique,
  Griebel 1992).
  """
  if len(values) == 1:
    return values[0]
  coarse, fine = values
  pairs = list(zip(coarse.shape[:-1], fine.shape[:-1], strict=True))
  full, common = [max(pair) for pair in pairs], [min(pair) for pair in pairs]
  return (
    _at_nodes(coarse, full)
    + _at_nodes(fine, full)
    - _at_nodes(_at_nodes(fine, common), full)
  )


def _at_nodes(
  values: Inexact[np.ndarray, "..."], counts: Sequence[int]
) -> Inexact[np.ndarray, "..."]:
  """The interpolant of some nodes at others, so many along each axis."""
  for k, count in enumerate(counts):
    n_nodes = values.shape[k]
    if count == n_nodes:
      continue
    weights = interpolation_weights(chebpts1(count), n_nodes)
    values = along_axis(weights.astype(values.real.dtype), values, k)
  return np.ascontiguousarray(values)
