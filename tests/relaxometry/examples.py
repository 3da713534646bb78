"""Signals by their closed form in float64."""

import numpy as np


def spgr(m0, t1_ms, flips_deg, tr_ms: float) -> np.ndarray:
  """M0 sin(a) (1 - E1) / (1 - E1 cos(a)), [..., flip] (Ernst 1966)."""
  m0, e1 = np.asarray(m0), np.exp(-tr_ms / np.asarray(t1_ms, float))[..., None]
  a = np.deg2rad(flips_deg)
  return m0[..., None] * np.sin(a) * (1 - e1) / (1 - e1 * np.cos(a))
