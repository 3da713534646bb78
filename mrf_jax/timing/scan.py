"""Simulates a scan for timing, of any size, within seconds."""

import dataclasses

import numpy as np

from mrf_jax.dataset.subject import Subject
from mrf_jax.maps import Maps
from mrf_jax.matching.dictionary import Dictionary, build_dictionary, grid_axis
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sliding_window import sliding_window
from mrf_jax.simulation import tissue
from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.map_phantom import phantom_of

# Steps of T1 and T2 of the simulated fingerprints, percent.
_STEP_PERCENT = 10.0
# Voxels whose noise is simulated at a time.
_ROWS = 8192


@dataclasses.dataclass(frozen=True)
class Scene:
  """Simulated heads with the fingerprint of each voxel.

  Attributes:
    subjects: subjects with maps and mask; the first has signals too.
    signals: signals of the first subject, [voxel, window].
    maps: true maps of each subject.
    atoms: fingerprints at steps of T1 and T2.
    nearest: index of each voxel's atom, [voxel], of each subject.
  """

  subjects: list[Subject]
  signals: np.ndarray
  maps: list[Maps]
  atoms: Dictionary
  nearest: list[np.ndarray]

  def compressed(self, number: int, basis, *, noise: float) -> np.ndarray:
    """Signals of a subject in temporal components, [voxel, rank]."""
    rows = self.nearest[number]
    table = np.asarray(self.atoms.atoms) @ basis
    signals = (self.maps[number].pd * self.atoms.norms[rows])[:, None] * table[
      rows
    ]
    rng = np.random.default_rng([number, 1])
    white = rng.standard_normal((*signals.shape, 2), np.float32)
    scale = np.float32(noise * np.abs(signals).mean())
    return signals + scale * white.view(np.complex64)[..., 0]


def make_scene(
  acquisition: Acquisition,
  *,
  seed: int,
  n_subjects: int,
  grid: dict,
  phantom: dict,
  noise_level: float,
) -> Scene:
  """Heads whose voxels give the nearest simulated fingerprint, with noise.

  No k-space, no coils, no B1: time does not depend on these. `grid` and
  `phantom` have the arguments of `SliceGrid` and `phantom_of`.
  """
  slices = SliceGrid(**grid)
  heads = [
    phantom_of(np.random.default_rng([seed, k]), slices, **phantom)
    for k in range(n_subjects)
  ]
  truths = [tissue.mix(head.fractions, head.tissues) for head in heads]
  axes = [
    grid_axis(
      min(float(getattr(t, name).min()) for t in truths),
      max(float(getattr(t, name).max()) for t in truths),
      step_percent=_STEP_PERCENT,
    )
    for name in ("t1_ms", "t2_ms")
  ]
  atoms = build_dictionary(
    acquisition.sequence,
    *axes,
    window=acquisition.window,
    stride=acquisition.stride,
  )
  nearest = [_nearest(atoms, axes, truth) for truth in truths]
  signals = _signals(
    np.random.default_rng([seed, n_subjects]),
    atoms,
    nearest[0],
    truths[0].pd,
    acquisition,
    noise_level=noise_level,
  )
  return Scene(
    [
      Subject(
        subject=f"benchmark-{k:02d}",
        mask=head.anatomy.mask,
        signals=None if k else signals,
        affine=slices.affine,
        acquisition=acquisition,
        field_strength_t=1.5,
        provenance="simulated for timing",
        maps=truth,
        head_to_atlas=head.anatomy.head_to_atlas,
      )
      for k, (head, truth) in enumerate(zip(heads, truths, strict=True))
    ],
    signals,
    truths,
    atoms,
    nearest,
  )


def _nearest(atoms: Dictionary, axes, truth: Maps) -> np.ndarray:
  """Index of the atom of nearest T1 and of nearest T2 not above this T1."""
  t1, t2 = (
    np.searchsorted(np.sqrt(axis[1:] * axis[:-1]), values)
    for axis, values in zip(axes, (truth.t1_ms, truth.t2_ms), strict=True)
  )
  numbers = np.full((len(axes[0]), len(axes[1])), -1)
  physical = axes[1][None] <= axes[0][:, None]
  numbers[physical] = np.arange(physical.sum())
  # Atoms have no T2 above T1: take the longest T2 that exists for this T1.
  longest = np.maximum(physical.sum(1) - 1, 0)
  return numbers[t1, np.minimum(t2, longest[t1])]


def _signals(
  rng, atoms, rows, pd, acquisition: Acquisition, *, noise_level
) -> np.ndarray:
  """Fingerprints with the noise that a sliding window leaves."""
  window, stride = acquisition.window, acquisition.stride
  n_frames = acquisition.sequence.n_frames
  table = np.asarray(atoms.atoms) * np.asarray(atoms.norms)[:, None]
  signals = np.empty((len(rows), table.shape[1]), np.complex64)
  level = noise_level * float((np.abs(table).mean(1)[rows] * pd).mean())
  for start in range(0, len(rows), _ROWS):
    part = slice(start, start + _ROWS)
    count = len(rows[part])
    white = rng.standard_normal((count, n_frames, 2), np.float32)
    noise = sliding_window(
      white.view(np.complex64)[..., 0], window=window, stride=stride
    )
    noise *= np.float32(level * np.sqrt(window))
    signals[part] = pd[part, None] * table[rows[part]] + noise
  return signals
