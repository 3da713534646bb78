"""How well do estimated maps fit the signals they come from, voxel by voxel.

Two measures. The residual of a fingerprint beside the simulated echoes of the
estimated T1 and T2 tells misfit and noise alike. So the estimates are also held
against a quick match with interpolated atoms: its scatter averages out over a
neighbourhood, and a difference that remains is an error of the estimate, or of
the sequence.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Complex64, Float32, Float64, Inexact, Int

from mrf_jax.dataset.standardise import usual_gain
from mrf_jax.maps import Maps
from mrf_jax.runtime.threads import map_threads, one_blas_thread
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.signal.interpolant import (
  Interpolant,
  grid_of_times,
  make_interpolant,
)
from mrf_jax.signal.subspace import projected

# Differences, as logarithms of ratios, above which an estimate is doubtful:
# 49 % of T1, and a factor of e of T2. Of six left-out heads of the demo at most
# 0.3 % and 1.8 % of the voxels are beyond them, by any network or Gómez (T2 of
# the network `spatiotemporal` in CSF; others stay below 0.1 %).
MOST_DIFFERENCE = {"t1_ms": 0.4, "t2_ms": 1.0}
# In a scan with more doubtful voxels than this share, the method does not hold,
# and estimates are doubtful beyond the smaller difference, 15 %.
MOST_DOUBTFUL = 0.1
_DIFFERENCE_THERE = 0.14
# Nor does it if the medians of the differences of all voxels are larger: of six
# left-out heads of the demo, by six methods, they are at most 0.082 and 0.274.
MOST_SHIFT = {"t1_ms": 0.15, "t2_ms": 0.4}
# Local standard deviation of the logarithms of matched T1 and T2 above which a
# match voxel by voxel says little: neighbours differ by a factor of 2.3. In the
# heads of the demo it is at most 0.88 for T1, between CSF and brain, and 0.80
# for T2; in spheres of T2 below 20 ms it is 0.9 to 1 for T2.
_MOST_SCATTER = {"t1_ms": 1.0, "t2_ms": 0.85}
# A fingerprint hardly tells T2 well above this: rates are compared after
# 1 / this is added.
_LONG_T2_MS = 300.0
# Standard deviation of the Gaussian over which differences are averaged.
_NEIGHBOURHOOD_MM = 5.0
# Fingerprints of noise that tell which share the atoms explain by chance, its
# percentile, and the largest that tells noise from signals.
_N_NOISE, _NOISE_PERCENTILE, _MOST_BY_CHANCE = 500, 95, 0.5
# Atoms of the quick match along T1 and T2, those that its temporal components
# are of, and their number.
_SIDE = 40
_BASIS_SIDE = 20
_RANK = 10
# Step of B1 between the atoms, if flip angles are not the nominal ones.
_B1_STEP = 0.05
# Voxels of a block that is matched, whose products with all atoms stay in the
# cache, and of one whose estimates are simulated.
_MATCHED, _SIMULATED = 512, 2048


@dataclasses.dataclass(frozen=True)
class MapsFit:
  """Fit of the maps of one scan.

  Attributes:
    residual: norm of what the simulated echoes of the estimates leave of a
      fingerprint, relative to that of the fingerprint, [voxel]: 0 where all is
      explained, 1 where nothing is.
    t1_difference: mean logarithm of estimated over matched T1 in the
      neighbourhood, [voxel].
    t2_difference: the same of T2, less sensitive above 300 ms, [voxel].
    t1_scatter: standard deviation of the logarithms of T1 in the same
      neighbourhood if the maps do not hold for the scan, else 0, [voxel].
    t2_scatter: the same of T2, [voxel].
    is_doubtful: whether a difference or scatter is larger than left-out heads
      have, or the signal is like noise, [voxel].
    is_noise: whether it is, [voxel].
  """

  residual: Float32[np.ndarray, "voxel"]
  t1_difference: Float64[np.ndarray, "voxel"]
  t2_difference: Float64[np.ndarray, "voxel"]
  t1_scatter: Float64[np.ndarray, "voxel"]
  t2_scatter: Float64[np.ndarray, "voxel"]
  is_doubtful: Bool[np.ndarray, "voxel"]
  is_noise: Bool[np.ndarray, "voxel"]

  @property
  def holds(self) -> bool:
    """Whether few enough voxels are doubtful for the method to be trusted."""
    few = self.is_doubtful.mean() <= MOST_DOUBTFUL
    return bool(few) and not _is_shifted(self.t1_difference, self.t2_difference)


@dataclasses.dataclass(frozen=True)
class QuickMatch:
  """T1 and T2 of the best of some interpolated atoms, and the products.

  Attributes:
    t1_ms: [voxel], ms.
    t2_ms: [voxel], ms.
    components: signals in the basis of `interpolant`, [voxel, rank], times a
      gain if their scale is extreme.
    energies: squared norms of the whole signals, [voxel], at the same scale.
    explained: share of them that the best atom explains, [voxel].
    phases_rad: phase beside the best atom, [voxel].
    noise_share: share that 95 % of noise is explained by less than; 0 where a
      few images do not tell noise from signals.
    interpolants: of fingerprints in the basis, one for each B1.
    kinds: number of the interpolant of each voxel, [voxel].
  """

  t1_ms: Float64[np.ndarray, "voxel"]
  t2_ms: Float64[np.ndarray, "voxel"]
  components: Complex64[np.ndarray, "voxel rank"]
  energies: Float32[np.ndarray, "voxel"]
  explained: Float32[np.ndarray, "voxel"]
  phases_rad: Float32[np.ndarray, "voxel"]
  noise_share: float
  interpolants: tuple[Interpolant, ...]
  kinds: Int[np.ndarray, "voxel"]

  def atoms(self, rows: slice, t1_ms, t2_ms) -> np.ndarray:
    """Fingerprints of some voxels at other T1 and T2, [voxel, rank]."""
    kinds = self.kinds[rows]
    atoms = np.empty((len(kinds), self.components.shape[1]), self._dtype)
    for kind in np.unique(kinds):
      own = kinds == kind
      atoms[own] = self.interpolants[kind](t1_ms[own], t2_ms[own])
    return atoms

  @property
  def _dtype(self) -> np.dtype:
    return self.interpolants[0].coefficients.dtype

  @property
  def is_noise(self) -> Bool[np.ndarray, "voxel"]:
    """Voxels that are explained no better than noise is, or are zero."""
    return self.explained <= self.noise_share


def quick_match(
  acquisition: Acquisition,
  signals: Complex64[np.ndarray, "voxel window"],
  *,
  echoes: Interpolant | None = None,
  b1: Float32[np.ndarray, "voxel"] | None = None,
) -> QuickMatch:
  """Matches signals with interpolated atoms.

  Args:
    acquisition: of the signals.
    signals: the scan.
    echoes: the interpolant of the sequence at nominal flip angles, if it is
      known.
    b1: factors on the flip angles; None for 1.
  """
  factors, kinds = _kinds_of_b1(b1, len(signals))
  if b1 is not None or echoes is None:
    of_b1 = [make_interpolant(acquisition.sequence, b1=f) for f in factors]
  else:
    of_b1 = [echoes]
  interpolants = [own.windowed(acquisition) for own in of_b1]
  t1_ms, t2_ms = grid_of_times(_SIDE)
  basis = _basis(interpolants)
  rank = basis.shape[1]
  compressed = tuple(own.projected(basis) for own in interpolants)
  tables = [own(t1_ms, t2_ms).astype(basis.dtype) for own in compressed]
  for table in tables:
    table /= np.linalg.norm(table, axis=1, keepdims=True)
  gain = np.float32(usual_gain(signals))
  components = np.empty((len(signals), rank), np.complex64)
  energies = np.empty(len(signals), np.float32)
  best = np.empty(len(signals), int)
  products = np.empty(len(signals), np.complex64)

  def match_block(rows: slice | np.ndarray) -> None:
    atoms = tables[kinds[rows][0]]
    block = signals[rows] if gain == 1 else signals[rows] * gain
    components[rows] = projected(block, basis)
    energies[rows] = np.vecdot(block, block).real
    best[rows] = _squares(components[rows], atoms).argmax(1)
    nearest = atoms[best[rows]].conj()
    products[rows] = np.einsum("vr,vr->v", nearest, components[rows])

  with one_blas_thread():
    map_threads(match_block, _blocks_of_kinds(kinds))
  explained = np.abs(products) ** 2 / np.where(energies > 0, energies, 1)
  return QuickMatch(
    t1_ms=t1_ms[best],
    t2_ms=t2_ms[best],
    components=components,
    energies=energies,
    explained=explained.astype(np.float32),
    phases_rad=np.angle(products),
    noise_share=_noise_share(basis, tables[len(tables) // 2]),
    interpolants=compressed,
    kinds=kinds,
  )


def _kinds_of_b1(
  b1: Float32[np.ndarray, "voxel"] | None, n_voxels: int
) -> tuple[list[float], Int[np.ndarray, "voxel"]]:
  """Some values of B1, and which is the nearest of each voxel."""
  if b1 is None or not n_voxels:
    return [1.0], np.zeros(n_voxels, int)
  steps = np.rint(np.asarray(b1, float) / _B1_STEP).astype(int)
  values, kinds = np.unique(steps, return_inverse=True)
  return [_B1_STEP * float(value) for value in values], kinds


def _blocks_of_kinds(kinds: Int[np.ndarray, "voxel"]) -> Iterator:
  """Voxels of each block that is matched, all of one kind."""
  if not kinds.any():
    for start in range(0, len(kinds), _MATCHED):
      yield slice(start, start + _MATCHED)
    return
  for kind in np.unique(kinds):
    own = np.flatnonzero(kinds == kind)
    for start in range(0, len(own), _MATCHED):
      yield own[start : start + _MATCHED]


def _basis(
  interpolants: Sequence[Interpolant],
) -> Inexact[np.ndarray, "window rank"]:
  """Strongest temporal components of the atoms."""
  times = grid_of_times(_BASIS_SIDE)
  atoms = np.concatenate([own(*times) for own in interpolants])
  rank = min(_RANK, atoms.shape[1])
  with one_blas_thread():
    components = np.linalg.svd(atoms, full_matrices=False)[2][:rank]
  return components.conj().T.astype(np.result_type(atoms.dtype, np.float32))


def _noise_share(
  basis: Inexact[np.ndarray, "window rank"],
  atoms: Inexact[np.ndarray, "atom rank"],
) -> float:
  """Share of its energy below which the atoms explain most noise."""
  pairs = np.random.default_rng(0).normal(size=(_N_NOISE, len(basis), 2))
  noise = (pairs[..., 0] + 1j * pairs[..., 1]).astype(np.complex64)
  squares = _squares(projected(noise, basis), atoms).max(1)
  shares = squares / np.sum(np.abs(noise) ** 2, 1)
  most = float(np.percentile(shares, _NOISE_PERCENTILE))
  return most if most < _MOST_BY_CHANCE else 0.0


def fit_maps(
  match: QuickMatch,
  maps: Maps,
  mask: Bool[np.ndarray, "slice y x"],
  voxel_mm: Float64[np.ndarray, "3"],
  *,
  voxelwise: bool = False,
) -> MapsFit:
  """Holds estimated maps against the signals that they come from.

  Args:
    match: of the same scan.
    maps: the estimates.
    mask: voxels of the scan.
    voxel_mm: size of a voxel along x, y and slice, mm.
    voxelwise: whether the maps are a match of each voxel by itself, which is
      doubtful, too, where neighbours scatter much.
  """
  t1_ms, t2_ms = (np.asarray(m, np.float64) for m in (maps.t1_ms, maps.t2_ms))
  widths = _NEIGHBOURHOOD_MM / voxel_mm[::-1]
  with np.errstate(invalid="ignore", divide="ignore"):
    ratios = (
      np.log(np.maximum(t1_ms, 1.0) / match.t1_ms),
      -np.log(_rate(t2_ms) / _rate(match.t2_ms)),
    )
  shares, *means = map_threads(
    lambda values: _local_mean(values, mask, widths),
    (np.ones(len(t1_ms)), *ratios),
  )
  by_t1, by_t2 = (mean / shares for mean in means)

  def variance(values: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Of some values in the neighbourhood, beside their mean there."""
    return _local_mean(values**2, mask, widths) / shares - mean**2

  most = MOST_DIFFERENCE
  doubtful = (np.abs(by_t1) > most["t1_ms"]) | (np.abs(by_t2) > most["t2_ms"])
  scatter = [np.zeros(len(t1_ms)) for _ in ratios]
  if doubtful.mean() > MOST_DOUBTFUL or _is_shifted(by_t1, by_t2):
    doubtful = np.maximum(np.abs(by_t1), np.abs(by_t2)) > _DIFFERENCE_THERE
    scatter = [
      np.sqrt(np.maximum(variance(ratio, mean), 0))
      for ratio, mean in zip(ratios, (by_t1, by_t2), strict=True)
    ]
  if voxelwise:
    for name, values in (
      ("t1_ms", np.log(match.t1_ms)),
      ("t2_ms", np.log(_rate(match.t2_ms))),
    ):
      mean = _local_mean(values, mask, widths) / shares
      doubtful |= variance(values, mean) > _MOST_SCATTER[name] ** 2
  doubtful |= match.is_noise
  return MapsFit(
    residual=_residual(match, t1_ms, t2_ms),
    t1_difference=by_t1,
    t2_difference=by_t2,
    t1_scatter=scatter[0],
    t2_scatter=scatter[1],
    is_doubtful=doubtful,
    is_noise=match.is_noise,
  )


def _is_shifted(
  t1_difference: Float64[np.ndarray, "voxel"],
  t2_difference: Float64[np.ndarray, "voxel"],
) -> bool:
  """Whether the estimates of a whole scan are too long or too short."""
  return bool(
    abs(np.median(t1_difference)) > MOST_SHIFT["t1_ms"]
    or abs(np.median(t2_difference)) > MOST_SHIFT["t2_ms"]
  )


def enlarged(deviations: Maps, maps: Maps, fit: MapsFit) -> Maps:
  """Standard deviations that are no smaller than a difference in doubt.

  Those of T1 and T2 in doubtful voxels become at least the distance from the
  estimate to the value that the match calls for, with the scatter of matches in
  a scan that the maps do not hold for, and that of noise as large as the
  estimate; that of PD grows with that of T1, in the same proportion.
  """
  values = {}
  for name, difference, scatter in (
    ("t1_ms", fit.t1_difference, fit.t1_scatter),
    ("t2_ms", fit.t2_difference, fit.t2_scatter),
  ):
    estimate = np.asarray(getattr(maps, name), np.float64)
    distance = np.abs(estimate * -np.expm1(-difference))
    distance = np.hypot(distance, estimate * scatter)
    distance = np.where(fit.is_noise, np.maximum(distance, estimate), distance)
    least = np.where(fit.is_doubtful, distance, 0.0)
    own = np.asarray(getattr(deviations, name))
    values[name] = np.maximum(own, least).astype(own.dtype)
  t1_own = np.asarray(deviations.t1_ms)
  growth = values["t1_ms"] / np.where(t1_own > 0, t1_own, 1)
  own = np.asarray(deviations.pd)
  pd = np.where(fit.is_doubtful & (t1_own > 0), own * growth, own)
  return Maps(pd.astype(own.dtype), **values)


def _rate(t2_ms: Float64[np.ndarray, "voxel"]) -> Float64[np.ndarray, "voxel"]:
  """Rate, 1/ms, that does not tell long T2 apart."""
  return 1 / np.maximum(t2_ms, 1.0) + 1 / _LONG_T2_MS


def _residual(
  match: QuickMatch, t1_ms: np.ndarray, t2_ms: np.ndarray
) -> Float32[np.ndarray, "voxel"]:
  """Relative norm of what the echoes of T1 and T2 leave of each signal."""
  explained = np.empty(len(t1_ms))

  def explain_block(start: int) -> None:
    rows = slice(start, start + _SIMULATED)
    atoms = match.atoms(rows, t1_ms[rows], t2_ms[rows])
    products = np.einsum("vr,vr->v", atoms.conj(), match.components[rows])
    norms = np.einsum("vr,vr->v", atoms, atoms.conj()).real
    explained[rows] = np.abs(products) ** 2 / norms

  with one_blas_thread():
    map_threads(explain_block, range(0, len(t1_ms), _SIMULATED))
  energies = match.energies
  shares = explained / np.where(energies > 0, energies, 1)
  return np.sqrt(np.clip(1 - shares, 0, 1)).astype(np.float32)


def _local_mean(
  values: np.ndarray, mask: np.ndarray, widths: np.ndarray
) -> Float64[np.ndarray, "voxel"]:
  """Gaussian mean over all voxels, of which those outside the mask are zero."""
  volume = np.zeros(mask.shape, np.float32)
  volume[mask] = values
  from scipy import ndimage

  smooth = ndimage.gaussian_filter(volume, widths, mode="constant")
  return smooth[mask].astype(np.float64)


def _squares(
  components: Complex64[np.ndarray, "voxel rank"],
  atoms: Inexact[np.ndarray, "atom rank"],
) -> Float32[np.ndarray, "voxel atom"]:
  """|⟨atom, signal⟩|² of normalised atoms."""
  if np.iscomplexobj(atoms):
    products = components @ atoms.conj().T
    return products.real**2 + products.imag**2
  squares = components.real @ atoms.T
  squares *= squares
  imaginary = components.imag @ atoms.T
  imaginary *= imaginary
  squares += imaginary
  return squares
