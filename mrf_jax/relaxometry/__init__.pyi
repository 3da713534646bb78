"""Conventional T1 and T2 maps: variable flip angles and multi-echo fits."""

from .fits import fit_t2, fit_vfa_t1
from .nifti_series import T1Maps, T2Maps, t2_maps, vfa_t1_maps

__all__ = [
  "T1Maps",
  "T2Maps",
  "fit_t2",
  "fit_vfa_t1",
  "t2_maps",
  "vfa_t1_maps",
]
