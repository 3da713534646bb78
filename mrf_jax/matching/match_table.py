"""Some hundred atoms that tell T1, T2 and PD of a voxel in two products.

The best of atoms that are 20 % apart is found by one product, and one step of
Gauss–Newton leads from it to T1 and T2 between the atoms. All that depends on
the atom alone is computed before, so that the match is a function of arrays, in
JAX: a network contains it, and so does an exported model.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Inexact, Int

from mrf_jax.errors import UserError
from mrf_jax.matching.atom_interpolant import make_atom_interpolant
from mrf_jax.matching.dictionary import grid_axis
from mrf_jax.runtime.typing import AnyArray
from mrf_jax.sequence.acquisition import Acquisition

# Rank and error of the interpolation that atoms and derivatives come from.
_RANK, _LARGEST_ERROR = 25, 1e-3
# Steps, %, and times, ms, beyond which no match is made.
_STEPS, _TIMES_MS = (2.0, 100.0), (1.0, 20000.0)
# Components without which T1, T2 and PD are not told apart.
LEAST_RANK = 3
# Half width of central differences, in log T1 and log T2.
_DIFFERENCE = 5e-3
# Least share of a signal's energy that a fit leaves over, and least PD, whose
# logarithms a match tells.
LEAST_SHARE, LEAST_PD = 1e-5, 1e-3
# How rarely an atom leaves over so little of noise that it is taken to be a
# signal; and the share that it must leave over at least: of few components,
# signals that are partly something else leave over as much as noise.
_CHANCE = 1e-6
_LEAST_OF_NOISE = 0.25


class MatchTable(NamedTuple):
  """Atoms of one acquisition, and what leads from each to its neighbours.

  Signals are compressed, real parts and then imaginary parts of their
  components. A fingerprint is a(log T1, log T2), of norm n.

  Attributes:
    products: of the atoms divided by n: a signal times this is the real parts
      and then the imaginary parts of its products with all atoms.
    norms: n.
    growth: derivatives of log n with respect to log T1 and log T2.
    steps: a signal divided by its complex factor, times this, is the step in
      log T1 and log T2 from an atom.
    log_times: log T1 and log T2 of each atom, ms.
    deviations: standard deviations of log T1 and log T2, if each component has
      noise of one in its real and its imaginary part and PD is one.
    longest: the longest step in log T1 and log T2, that to the next atom:
      further away the first order does not hold.
  """

  products: Float32[AnyArray, "channel twice_atom"]
  norms: Float32[AnyArray, "atom"]
  growth: Float32[AnyArray, "atom 2"]
  steps: Float32[AnyArray, "atom 2 channel"]
  log_times: Float32[AnyArray, "atom 2"]
  deviations: Float32[AnyArray, "atom 2"]
  longest: Float32[AnyArray, "2"]


class TableMatch(NamedTuple):
  """What `match_by_table` finds.

  Attributes:
    pd: proton density.
    log_times: log T1 and log T2, ms.
    left_over: share of the signal's energy that the best atom leaves over.
    deviations: standard deviations of log T1 and log T2 if what is left over is
      white noise.
  """

  pd: Float[AnyArray, "*voxel"]
  log_times: Float[AnyArray, "*voxel 2"]
  left_over: Float[AnyArray, "*voxel"]
  deviations: Float[AnyArray, "*voxel 2"]


@functools.lru_cache(maxsize=8)
def atom_times(
  t1_ms: tuple[float, float],
  t2_ms: tuple[float, float],
  step_percent: float,
) -> Float32[np.ndarray, "atom 2"]:
  """T1 and T2 of the atoms, ms: all pairs of the axes with T2 ≤ T1.

  Raises:
    UserError: a range is empty, its ends or the step are far from any that a
      match could need, or no pair has T2 ≤ T1.
  """
  if not _STEPS[0] <= step_percent <= _STEPS[1]:
    raise UserError(
      f"match: steps of {step_percent:g} % are not between {_STEPS[0]:g} and "
      f"{_STEPS[1]:g}"
    )
  for name, (low, high) in (("T1", t1_ms), ("T2", t2_ms)):
    if not _TIMES_MS[0] <= low < high <= _TIMES_MS[1]:
      raise UserError(
        f"match: {name} from {low:g} to {high:g} ms is no range between "
        f"{_TIMES_MS[0]:g} and {_TIMES_MS[1]:g} ms"
      )
  t1, t2 = _axes(t1_ms, t2_ms, step_percent)
  pairs = np.stack(np.meshgrid(t1, t2, indexing="ij"), -1).reshape(-1, 2)
  pairs = pairs[pairs[:, 1] <= pairs[:, 0]]
  # All callers share it.
  pairs.flags.writeable = False
  if not len(pairs):
    raise UserError(
      f"match: no T2 from {t2_ms[0]:g} ms on is as short as a T1 up to "
      f"{t1_ms[1]:g} ms"
    )
  return pairs


def _axes(t1_ms, t2_ms, step_percent: float) -> list[np.ndarray]:
  return [grid_axis(*v, step_percent=step_percent) for v in (t1_ms, t2_ms)]


@dataclasses.dataclass(frozen=True, eq=False)
class MatchAtoms:
  """Fingerprints of one acquisition and their derivatives.

  Attributes:
    times: T1 and T2, ms.
    atoms: fingerprints of all windows.
    slopes: their derivatives with respect to log T1 and log T2.
    longest: see `MatchTable`.
  """

  times: Float[np.ndarray, "atom 2"]
  atoms: Inexact[np.ndarray, "atom window"]
  slopes: Inexact[np.ndarray, "atom 2 window"]
  longest: Float[np.ndarray, "2"]

  def table(
    self, basis: Inexact[np.ndarray, "window rank"] | None = None
  ) -> MatchTable:
    r"""The table for signals of all windows, or projected on a basis.

    With the part :math:`J_\perp` of the derivatives that no factor of the atom
    gives, the step of a signal s with factor c is

    .. math::

      \mathrm{Re} \, (\mathrm{Re} \, J_\perp^H J_\perp)^{-1} J_\perp^H s/c
    """
    atoms, slopes = self.atoms, self.slopes
    if basis is not None:
      atoms, slopes = atoms @ basis, slopes @ basis
    norms = np.linalg.norm(atoms, axis=1)
    units = atoms / norms[:, None]
    along = np.einsum("kr,kjr->kj", units.conj(), slopes)
    growth = along.real / norms[:, None]
    slopes = slopes - along[:, :, None] * units[:, None]
    information = np.einsum("kir,kjr->kij", slopes.conj(), slopes).real
    covariance = np.linalg.inv(information)
    steps = covariance @ slopes.conj()
    arrays = (
      _as_real_product(units.conj().T),
      norms,
      growth,
      np.concatenate([steps.real, -steps.imag], -1),
      np.log(self.times),
      np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)),
      self.longest,
    )
    return MatchTable(*(np.ascontiguousarray(x, np.float32) for x in arrays))


def make_match_atoms(
  acquisition: Acquisition,
  t1_ms: tuple[float, float],
  t2_ms: tuple[float, float],
  step_percent: float,
) -> MatchAtoms:
  """Simulates the atoms of a match, and their derivatives.

  Args:
    acquisition: pulse sequence and sliding window of the signals.
    t1_ms: least and greatest T1, ms.
    t2_ms: least and greatest T2, ms.
    step_percent: step of both in the grid.

  Raises:
    UserError: see `atom_times` and `make_atom_interpolant`.
  """
  times = atom_times(t1_ms, t2_ms, step_percent).astype(np.float64)
  axes = _axes(t1_ms, t2_ms, step_percent)
  interpolant = make_atom_interpolant(
    acquisition,
    *axes,
    rank=min(_RANK, acquisition.n_windows),
    largest_error=_LARGEST_ERROR,
  )
  ends = np.array([(axis[0], axis[-1]) for axis in axes], float).T

  def atoms_at(points):
    columns = np.clip(points, *ends).T
    return interpolant.at(*columns, np.ones(len(points)))

  slopes = []
  for axis in range(2):
    factor = np.ones(2)
    factor[axis] = np.exp(_DIFFERENCE)
    above, below = (np.clip(times * factor**sign, *ends) for sign in (1, -1))
    width = np.log(above / below)[:, axis, None]
    slopes.append((atoms_at(above) - atoms_at(below)) / width)
  windows = interpolant.basis.conj().T
  return MatchAtoms(
    times,
    atoms_at(times) @ windows,
    np.stack(slopes, 1) @ windows,
    np.array([np.log(axis[1] / axis[0]) for axis in axes]),
  )


def _as_real_product(matrix):
  """A complex matrix as that of real parts and then imaginary parts."""
  return np.block([[matrix.real, matrix.imag], [-matrix.imag, matrix.real]])


def match_by_table(
  table: MatchTable, signals: Float[Array, "*voxel channel"]
) -> TableMatch:
  """Matches signals with the atoms and goes a step from the best one.

  Args:
    table: of the acquisition, with the basis of the signals.
    signals: real parts and then imaginary parts of compressed signals.

  Returns:
    The match; a signal of zeros has PD zero and the times of some atom.
  """
  n_atoms = table.norms.shape[0]
  products = signals @ table.products
  real, imaginary = products[..., :n_atoms], products[..., n_atoms:]
  energies = jnp.square(real) + jnp.square(imaginary)
  best = _first_of_largest(energies)

  def of_best(values):
    return jnp.take_along_axis(values, best[..., None], -1)[..., 0]

  norm = jnp.asarray(table.norms)[best]
  explained, energy = of_best(energies), jnp.square(signals).sum(-1)
  # The factor c, and 1/c.
  c_real, c_imaginary = of_best(real) / norm, of_best(imaginary) / norm
  power = jnp.square(c_real) + jnp.square(c_imaginary)
  safe = jnp.where(power > 0, power, 1)
  s_real, s_imaginary = jnp.split(signals, 2, -1)
  turn = (c_real / safe)[..., None], (c_imaginary / safe)[..., None]
  unit = jnp.concatenate(
    [
      s_real * turn[0] + s_imaginary * turn[1],
      s_imaginary * turn[0] - s_real * turn[1],
    ],
    -1,
  )
  step = jnp.einsum("...jc,...c->...j", jnp.asarray(table.steps)[best], unit)
  longest = jnp.broadcast_to(table.longest, step.shape)
  step = jnp.clip(step, -longest, longest)
  log_times = jnp.asarray(table.log_times)[best] + step
  left_over = 1 - explained / jnp.where(energy > 0, energy, 1)
  left_over = jnp.clip(left_over, LEAST_SHARE, 1)
  growth = jnp.asarray(table.growth)[best]
  pd = jnp.sqrt(power) * jnp.exp(-(growth * step).sum(-1))
  noise = jnp.sqrt(left_over * energy / signals.shape[-1])
  relative = noise / jnp.maximum(pd, LEAST_PD)
  deviations = jnp.asarray(table.deviations)[best] * relative[..., None]
  return TableMatch(pd, log_times, left_over, deviations)


def _first_of_largest(
  energies: Float[Array, "*voxel atom"],
) -> Int[Array, "*voxel"]:
  """What `argmax` finds of numbers that are not negative.

  By the bits of the numbers, whose order as integers is the same: XLA makes
  vector instructions of their maximum on a CPU, not of `argmax`, and a match
  takes two thirds of its time.
  """
  n_atoms = energies.shape[-1]
  bits = jax.lax.bitcast_convert_type(energies, jnp.int32)
  numbers = jnp.broadcast_to(jnp.arange(n_atoms, dtype=jnp.int32), bits.shape)
  is_largest = bits == bits.max(-1, keepdims=True)
  return jnp.where(is_largest, numbers, n_atoms).min(-1)


def is_noise(found: TableMatch, n_components: int) -> Bool[AnyArray, "*voxel"]:
  r"""Whether signals are not told from noise, as those of air and bone.

  Of white noise of r complex components, an atom leaves over less than a share
  t of the energy with probability :math:`t^{r - 1}`. The best of hundreds of
  atoms, and noise of windows that overlap, leave over less: at r = 32, where t
  is 0.64, nearly all of such noise is recognised, and no voxel of tissue at
  twenty times the noise of a scanner.

  Args:
    found: the match of the signals.
    n_components: r.
  """
  share = _CHANCE ** (1 / max(n_components - 1, 1))
  return found.left_over >= max(share, _LEAST_OF_NOISE)
