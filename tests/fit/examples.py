"""A scan of a few hundred voxels without k-space, for tests of the fit."""

import dataclasses
import functools

import numpy as np

from mrf_jax import (
  Acquisition,
  Maps,
  Sequence,
  Subject,
  simulate_fingerprints,
  tailored,
)
from mrf_jax.sequence.sliding_window import sliding_window

ACQUISITION = Acquisition(tailored(240), window=24, stride=4)
VOXEL_MM = np.array([2.0, 2.0, 3.0])
# White matter, grey matter and a long one.
_TISSUES = ((0.7, 600.0, 70.0), (0.8, 1100.0, 90.0), (1.0, 3000.0, 800.0))


def tissue_maps(shape=(3, 24, 24)) -> tuple[np.ndarray, Maps]:
  """A mask [slice, y, x] and its maps, without any symmetry."""
  z, y, x = np.indices(shape)
  mask = (x - 11) ** 2 + (y - 12) ** 2 < 100
  label = np.zeros(shape, int)
  label[(x + 2 * y + 3 * z) % 17 > 9] = 1
  label[(x - 6) ** 2 + (y - 8) ** 2 < 8 + 6 * z] = 2
  values = np.array(_TISSUES, np.float32)[label[mask]]
  return mask, Maps(*values.T.copy())


def make_scan(
  acquisition: Acquisition = ACQUISITION,
  *,
  noise: float = 0.02,
  sequence: Sequence | None = None,
  mask=None,
  maps: Maps | None = None,
) -> Subject:
  """A simulated scan with noise of so much of the mean magnitude.

  Args:
    acquisition: what the scan says of itself.
    noise: standard deviation of real and imaginary part.
    sequence: what was played; None for that of the acquisition.
    mask: voxels, [slice, y, x].
    maps: their true values, which are its reference maps too.
  """
  if maps is None:
    mask, maps = tissue_maps()
  echoes = simulate_fingerprints(
    sequence or acquisition.sequence, maps.t1_ms, maps.t2_ms
  )
  signals = maps.pd[:, None] * sliding_window(
    echoes, window=acquisition.window, stride=acquisition.stride
  )
  rng = np.random.default_rng(0)
  pairs = rng.normal(size=(*signals.shape, 2))
  spread = noise * np.abs(signals).mean()
  signals = signals + spread * (pairs[..., 0] + 1j * pairs[..., 1])
  return Subject(
    subject="simulated",
    mask=mask,
    signals=signals.astype(np.complex64),
    affine=np.diag([*VOXEL_MM, 1.0]),
    acquisition=acquisition,
    field_strength_t=1.5,
    provenance="simulated voxel by voxel",
    maps=maps,
  )


@functools.cache
def scan() -> Subject:
  """`make_scan()`, made once."""
  return make_scan()


def with_signals(subject: Subject, signals) -> Subject:
  """The subject with other signals."""
  return dataclasses.replace(subject, signals=signals.astype(np.complex64))
