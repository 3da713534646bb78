"""Summaries of subjects and maps, printed on the terminal."""

import nibabel
import numpy as np

from mrf_jax.dataset.subject import Subject
from mrf_jax.maps import Maps


def medians(name: str, maps: Maps) -> str:
  """Medians of T1, T2 and proton density in one line after a short name."""
  return (
    f"{name:<12} T1 {np.median(maps.t1_ms):.0f} ms, "
    f"T2 {np.median(maps.t2_ms):.0f} ms, PD {np.median(maps.pd):.3g} (medians)"
  )


def describe(subject: Subject) -> str:
  """Mask, voxel size, axes, windows and reference medians of a subject."""
  axes = "".join(nibabel.aff2axcodes(subject.affine))
  sizes = np.linalg.norm(subject.affine[:3, :3], axis=0)
  lines = [
    f"Voxels       {subject.n_voxels:,}, {subject.mask.mean():.0%} of "
    f"{' × '.join(map(str, subject.mask.shape[::-1]))}, "
    f"{' × '.join(f'{size:.3g}' for size in sizes)} mm, axes towards {axes}",
    f"Images       {subject.n_windows}, windows of {subject.window} frames",
  ]
  if subject.maps is not None:
    lines.append(medians("References", subject.maps))
  return "\n".join(lines)
