"""Exact matching in large dictionaries: groups of atoms that cannot win.

Alike atoms form groups, each within an angle α of its centre. For an angle θ
between a signal and a centre, no atom of the group scores more than

  ‖signal‖ cos(max(0, θ − α)),

so that groups below the best score found so far are left out. Unlike in Cauley
2015, which keeps the groups whose means correlate best, nothing can be missed.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32, Int32

from mrf_jax.errors import UserError
from mrf_jax.maps import Maps
from mrf_jax.matching.dictionary import Dictionary
from mrf_jax.matching.dot_product import (
  best_of_tile,
  check_signals,
  count_not_finite,
  maps_of,
  real_atoms,
  real_signals,
)
from mrf_jax.runtime.threads import map_threads
from mrf_jax.typing import AnyArray

# Atoms of a group: fewer are excluded more sharply, more share a product.
_GROUP = 256
# Voxels whose groups are chosen together, and of one product with a group.
_VOXEL_BLOCK, _PAIRS = 4096, 64
# Products of one compiled call.
_TASKS = 2048
# What float32 may round a score by, relative to its signal.
_ROUNDING = 2e-6


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Groups:
  """A dictionary in groups of alike atoms.

  Attributes:
    dictionary: whose atoms they are.
    members: numbers of the atoms, the first repeated where a group has fewer,
      [group, member].
    atoms: the same as real numbers, [group, member, column].
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
  """Halves the atoms along their strongest direction, again and again.

  Args:
    dictionary: full or, far better, compressed.
    size: most atoms of a group.

  Returns:
    Groups of half that size or more.

  Raises:
    UserError: the size is not positive.
  """
  if size < 1:
    raise UserError(f"groups: size {size} is less than 1")
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
  # Of chords, since the cosine of a small angle says little about it.
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
  """What `match` finds, without the groups that cannot hold it.

  Args:
    groups: of `group_atoms`.
    signals: fingerprints through the same window, complex [voxel, frame].

  Returns:
    Maps, [voxel] each.

  Raises:
    UserError: the number of frames differs, or signals are not finite.
  """
  best, score, _ = best_atoms_of_groups(groups, signals)
  return maps_of(groups.dictionary, best, score)


def best_atoms_of_groups(
  groups: Groups, signals
) -> tuple[np.ndarray, np.ndarray, float]:
  """Index and score |⟨atom, signal⟩| of each voxel's best atom.

  The atoms of `best_atoms`, but where float32 cannot tell two scores apart.

  Args:
    groups: of `group_atoms`.
    signals: complex [voxel, frame].

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
    missing = ((0, size - len(block)), (0, 0))
    found = _search_block(device, np.pad(block, missing))
    return *(x[: len(block)] for x in found[:2]), found[2]

  results = map_threads(search, starts)
  if not results:
    return np.zeros(0, np.int32), np.zeros(0, np.float32), 0.0
  best, squared = (
    np.concatenate([result[part] for result in results]) for part in range(2)
  )
  if not np.isfinite(squared).all():
    raise UserError(
      f"match: {count_not_finite(signals)} voxels have signals that are not "
      "finite"
    )
  searched = sum(result[2] for result in results)
  return best, np.sqrt(squared), searched / (len(signals) * len(groups.members))


def _search_block(groups: Groups, signals):
  """Atoms, squared scores and the number of groups searched, one block."""
  n_voxels = len(signals)
  rows, most, likeliest, finite = _bounds(groups, signals)
  if not finite:
    return np.zeros(n_voxels, np.int32), np.full(n_voxels, np.nan), 0
  so_far = np.zeros(n_voxels, np.int32), np.full(n_voxels, -1, np.float32)
  voxels, first = np.arange(n_voxels), np.asarray(likeliest)
  so_far = _search_pairs(groups, rows, voxels, first, so_far)
  most = np.asarray(most)
  left = most > np.asarray(so_far[1])[:, None]
  left[voxels, first] = False
  left_voxels, left_numbers = np.nonzero(left)
  so_far = _search_pairs(groups, rows, left_voxels, left_numbers, so_far)
  best, squared = (np.array(x) for x in so_far)
  # All atoms score zero.
  best[squared == 0] = 0
  return best, squared, n_voxels + len(left_voxels)


@jax.jit
def _bounds(groups: Groups, signals):
  """Real rows, squared upper bounds of all groups, and the highest one's."""
  rows = real_signals(
    signals,
    groups.dictionary.basis,
    is_complex=jnp.iscomplexobj(groups.dictionary.atoms),
    precision="float32",
  )
  n_voxels = len(rows) // 2
  energy = jnp.sum(rows**2, 1)
  # Both rows of a complex atom's signal hold all of it.
  energy, of_imaginary = energy[:n_voxels], energy[n_voxels:]
  if not jnp.iscomplexobj(groups.dictionary.atoms):
    energy += of_imaginary
  products = jnp.matmul(rows, groups.centres.T, precision="highest")
  squared = products[:n_voxels] ** 2 + products[n_voxels:] ** 2
  inverse = jnp.where(energy > 0, 1 / jnp.where(energy > 0, energy, 1), 0)
  cosine = jnp.sqrt(squared * inverse[:, None]) + _ROUNDING
  sine = jnp.sqrt(jnp.maximum(1 - cosine**2, 0))
  cos_angle, sin_angle = groups.cos_angle[None], groups.sin_angle[None]
  inside = cosine >= cos_angle
  bound = jnp.where(inside, 1, cosine * cos_angle + sine * sin_angle)
  most = (bound + _ROUNDING) ** 2 * energy[:, None]
  numbers = lax.broadcasted_iota(jnp.int32, squared.shape, 1)
  # The centre that is nearest, rather than the widest group.
  there = squared == jnp.max(squared, 1)[:, None]
  likeliest = jnp.min(jnp.where(there, numbers, squared.shape[1] - 1), 1)
  return rows, most, likeliest, jnp.isfinite(rows).all()


def _search_pairs(groups: Groups, rows, voxels, numbers, so_far):
  """Scores pairs of voxel and group, some voxels of a group at a time."""
  order = np.argsort(numbers, kind="stable")
  voxels, numbers = voxels[order], numbers[order]
  group, first, count = np.unique(
    numbers, return_index=True, return_counts=True
  )
  per_group = -(-count // _PAIRS)
  # Tasks: the group, and the rows of its next voxels; the last one repeats.
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
  rows: Float32[Array, "2*voxel column"],
  task_group: Int32[Array, "task"],
  task_voxels: Int32[Array, "task pair"],
  n_tasks: Int32[Array, ""],
  so_far: tuple[Int32[Array, "voxel"], Float32[Array, "voxel"]],
) -> tuple[Int32[Array, "voxel"], Float32[Array, "voxel"]]:
  """Best atoms and squared scores with those of some tasks included."""
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

  Those of one group stay together.
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
  """Rows, the first one repeated up to a width."""
  return np.concatenate([rows, np.full(width - len(rows), rows[0])])
