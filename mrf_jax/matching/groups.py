r"""Exact matching in large dictionaries, by groups of similar atoms.

All atoms of a group are within an angle α of its centre. For an angle θ between
a signal s and a centre, the score of an atom of the group is at most

.. math:: \lVert s \rVert \cos(\max(0, \theta - \alpha)),

so groups whose bound is below the best score so far are skipped. Unlike Cauley
2015, which keeps the groups whose means correlate best, this misses no atom.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32, Int32

from mrf_jax.checks import check_at_least
from mrf_jax.maps import Maps
from mrf_jax.matching.dictionary import Dictionary
from mrf_jax.matching.dot_product import (
  best_of_tile,
  check_signals,
  maps_of,
  not_finite,
  real_atoms,
  real_signals,
  usual_scale,
)
from mrf_jax.runtime.threads import map_threads
from mrf_jax.runtime.typing import AnyArray

# Atoms of a group: smaller groups have tighter bounds, larger ones need fewer
# products.
_GROUP = 256
# Voxels whose groups are chosen together, and voxels of one product.
_VOXEL_BLOCK, _PAIRS = 4096, 64
# Products of one compiled call.
_TASKS = 2048
# Rounding error of a score in float32, relative to its signal.
_ROUNDING = 2e-6


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Groups:
  """A dictionary in groups of similar atoms.

  Attributes:
    dictionary: the dictionary.
    members: numbers of the atoms, [group, member]; a smaller group repeats its
      first atom.
    atoms: the atoms as real numbers, [group, member, column].
    centres: unit vectors, [group, column].
    cos_angle: cosine of the largest angle between a centre and its atoms,
      [group].
    sin_angle: its sine, [group].
  """

  dictionary: Dictionary
  members: Int32[AnyArray, "group member"]
  atoms: Float32[AnyArray, "group member column"]
  centres: Float32[AnyArray, "group column"]
  cos_angle: Float32[AnyArray, "group"]
  sin_angle: Float32[AnyArray, "group"]

  @property
  def n_atoms(self) -> int:
    """Number of fingerprints."""
    return self.dictionary.n_atoms


def group_atoms(dictionary: Dictionary, *, size: int = _GROUP) -> Groups:
  """Groups atoms by halving them along their strongest direction, repeatedly.

  Groups have at most `size` atoms and at least half of it. A compressed
  dictionary is much faster.

  Raises:
    UserError: the size is not positive.
  """
  check_at_least("groups: size", size, 1)
  atoms = np.asarray(real_atoms(dictionary.atoms))
  parts = [np.arange(len(atoms))]
  while max(map(len, parts)) > size:
    halves = map_threads(lambda rows: _halves(atoms, rows, size), parts)
    parts = [half for pair in halves for half in pair]
  width = max(map(len, parts))
  members = np.stack([_filled(rows, width) for rows in parts])
  grouped = atoms[members]
  centres = grouped.mean(1, dtype=np.float64)
  centres /= np.linalg.norm(centres, axis=1, keepdims=True).clip(1e-30)
  centres = centres.astype(np.float32)
  # Angles from chords, which keep the digits of a small angle; its cosine does
  # not.
  chords = np.concatenate(
    [
      np.linalg.norm(a.astype(np.float64) - c[:, None], axis=2).max(1)
      for a, c in zip(
        np.array_split(grouped, len(grouped) // 64 + 1),
        np.array_split(centres, len(grouped) // 64 + 1),
        strict=True,
      )
    ]
  )
  angles = 2 * np.arcsin(np.minimum(chords / 2 + 1e-6, 1))
  return Groups(
    dictionary,
    members.astype(np.int32),
    grouped,
    centres,
    np.cos(angles).astype(np.float32),
    np.sin(angles).astype(np.float32),
  )


def match_groups(groups: Groups, signals) -> Maps:
  """The maps of `match`, without searching groups that cannot contain them.

  Args:
    groups: the dictionary in groups.
    signals: fingerprints of the same window, complex [voxel, frame].

  Returns:
    Maps, [voxel] each.

  Raises:
    UserError: the number of frames differs, or signals are not finite.
  """
  signals, gain = usual_scale(signals)
  best, score, _ = best_atoms_of_groups(groups, signals)
  return maps_of(groups.dictionary, best, score / gain)


def best_atoms_of_groups(
  groups: Groups, signals
) -> tuple[np.ndarray, np.ndarray, float]:
  r"""Index and score :math:`|\langle d, s \rangle|` of each voxel's best atom.

  The atoms of `best_atoms`, unless two scores are equal in float32.

  Returns:
    Atom indices [voxel], scores [voxel], and the mean share of the groups that
    were searched.

  Raises:
    UserError: the number of frames differs, or signals are not finite.
  """
  signals = check_signals(groups.dictionary, signals)
  size = min(_VOXEL_BLOCK, max(1, len(signals)))
  starts = range(0, len(signals), size)
  device = jax.device_put(groups)

  def search(start):
    block = signals[start : start + size]
    padding = ((0, size - len(block)), (0, 0))
    best, squared, searched = _search_block(device, np.pad(block, padding))
    return best[: len(block)], squared[: len(block)], searched

  results = map_threads(search, starts)
  if not results:
    return np.zeros(0, np.int32), np.zeros(0, np.float32), 0.0
  best, squared = (
    np.concatenate([result[part] for result in results]) for part in range(2)
  )
  if not np.isfinite(squared).all():
    raise not_finite(signals)
  searched = sum(result[2] for result in results)
  return best, np.sqrt(squared), searched / (len(signals) * len(groups.members))


def _search_block(groups: Groups, signals):
  """Atoms, squared scores and number of searched groups of one block."""
  n_voxels = len(signals)
  rows, bounds, nearest, finite = _bounds(groups, signals)
  if not finite:
    return np.zeros(n_voxels, np.int32), np.full(n_voxels, np.nan), 0
  so_far = np.zeros(n_voxels, np.int32), np.full(n_voxels, -1, np.float32)
  voxels, first = np.arange(n_voxels), np.asarray(nearest)
  so_far = _search_pairs(groups, rows, voxels, first, so_far)
  # The other groups whose bound is above the best score in the nearest group.
  remaining = np.asarray(bounds) > np.asarray(so_far[1])[:, None]
  remaining[voxels, first] = False
  other_voxels, other_groups = np.nonzero(remaining)
  so_far = _search_pairs(groups, rows, other_voxels, other_groups, so_far)
  best, squared = (np.array(x) for x in so_far)
  # A score of zero is that of all atoms: the first one is taken.
  best[squared == 0] = 0
  return best, squared, n_voxels + len(other_voxels)


@jax.jit
def _bounds(groups: Groups, signals):
  """Real rows, squared bounds of all groups, nearest group, whether finite."""
  rows = real_signals(
    signals,
    groups.dictionary.basis,
    is_complex=jnp.iscomplexobj(groups.dictionary.atoms),
    precision="float32",
  )
  n_voxels = len(rows) // 2
  energy = jnp.sum(rows**2, 1)
  # If atoms are complex, each of the two rows of a signal has all its energy.
  energy, of_imaginary = energy[:n_voxels], energy[n_voxels:]
  if not jnp.iscomplexobj(groups.dictionary.atoms):
    energy += of_imaginary
  products = jnp.matmul(rows, groups.centres.T, precision="highest")
  squared = products[:n_voxels] ** 2 + products[n_voxels:] ** 2
  inverse = jnp.where(energy > 0, 1 / jnp.where(energy > 0, energy, 1), 0)
  cosine = jnp.sqrt(squared * inverse[:, None]) + _ROUNDING
  sine = jnp.sqrt(jnp.maximum(1 - cosine**2, 0))
  cos_angle, sin_angle = groups.cos_angle[None], groups.sin_angle[None]
  is_inside = cosine >= cos_angle
  # cos(θ − α) = cos θ cos α + sin θ sin α
  bound = jnp.where(is_inside, 1, cosine * cos_angle + sine * sin_angle)
  bounds = (bound + _ROUNDING) ** 2 * energy[:, None]
  numbers = lax.broadcasted_iota(jnp.int32, squared.shape, 1)
  # Nearest by the centre: by the bound it would be the widest group.
  is_nearest = squared == jnp.max(squared, 1)[:, None]
  nearest = jnp.min(jnp.where(is_nearest, numbers, squared.shape[1] - 1), 1)
  return rows, bounds, nearest, jnp.isfinite(rows).all()


def _search_pairs(groups: Groups, rows, voxels, numbers, so_far):
  """Computes the scores of pairs of voxel and group, by tasks.

  A task is a group with some of its voxels; the last one repeats a voxel.
  """
  order = np.argsort(numbers, kind="stable")
  voxels, numbers = voxels[order], numbers[order]
  group, first, count = np.unique(
    numbers, return_index=True, return_counts=True
  )
  per_group = -(-count // _PAIRS)
  task_group = np.repeat(group, per_group)
  within = np.arange(len(task_group)) - np.repeat(
    np.cumsum(per_group) - per_group, per_group
  )
  start = np.repeat(first, per_group) + within * _PAIRS
  stop = np.repeat(first + count, per_group)
  places = np.minimum(start[:, None] + np.arange(_PAIRS), stop[:, None] - 1)
  task_voxels = voxels[places]
  for begin in range(0, len(task_group), _TASKS):
    part = slice(begin, begin + _TASKS)
    n_tasks = len(task_group[part])
    filled = [
      np.resize(x[part], (_TASKS, *x.shape[1:])).astype(np.int32)
      for x in (task_group, task_voxels)
    ]
    so_far = _score_tasks(groups, rows, *filled, np.int32(n_tasks), so_far)
  return so_far


@jax.jit
def _score_tasks(
  groups: Groups,
  rows: Float32[Array, "row column"],
  task_group: Int32[Array, "task"],
  task_voxels: Int32[Array, "task pair"],
  n_tasks: Int32[Array, ""],
  so_far: tuple[Int32[Array, "voxel"], Float32[Array, "voxel"]],
) -> tuple[Int32[Array, "voxel"], Float32[Array, "voxel"]]:
  """Best atoms and squared scores after some tasks."""
  n_voxels = len(rows) // 2

  def add_task(i, so_far):
    best, squared = so_far
    group, voxels = task_group[i], task_voxels[i]
    pairs = rows[jnp.concatenate([voxels, n_voxels + voxels])]
    highest, index = best_of_tile(
      pairs, groups.atoms[group], precision="float32"
    )
    atom = groups.members[group, index]
    old_best, old = best[voxels], squared[voxels]
    better = (highest > old) | ((highest == old) & (atom < old_best))
    return (
      best.at[voxels].set(jnp.where(better, atom, old_best)),
      squared.at[voxels].set(jnp.where(better, highest, old)),
    )

  return lax.fori_loop(0, n_tasks, add_task, so_far)


def _halves(atoms, rows, size: int) -> list[np.ndarray]:
  """Rows below and above the median along the strongest direction.

  Rows that fit into one group stay together.
  """
  if len(rows) <= size:
    return [rows]
  vectors = atoms[rows]
  vectors -= vectors.mean(0, keepdims=True)
  direction = vectors[np.argmax(np.einsum("ij,ij->i", vectors, vectors))]
  for _ in range(4):
    direction = vectors.T @ (vectors @ direction)
    direction /= max(float(np.linalg.norm(direction)), 1e-30)
  order = np.argsort(vectors @ direction, kind="stable")
  middle = len(rows) // 2
  return [np.sort(rows[order[:middle]]), np.sort(rows[order[middle:]])]


def _filled(rows, width: int) -> np.ndarray:
  """Rows, filled up to a width by repeating the first one."""
  return np.concatenate([rows, np.full(width - len(rows), rows[0])])
