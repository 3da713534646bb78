"""Flags that describe a scan to import, checked before JAX starts."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64

from mrf_jax.checks import check_one_of
from mrf_jax.errors import UserError
from mrf_jax.io.ismrmrd_trajectory import TRAJECTORY_UNITS
from mrf_jax.sequence.pulseq_text import ECHOES
from mrf_jax.units import (
  ANGLES_DEG,
  B0_UNITS,
  MAP_UNITS,
  PHASES_DEG,
  TIMES_MS,
  check_field_strength,
  check_sequence_time,
)

# Flags that name files to read.
INPUTS = (
  "scan",
  "imaginary",
  "phase",
  "schedule",
  "schedule_tr",
  "mask",
  "pd",
  "t1",
  "t2",
  "b1_map",
  "affine_from",
  "noise",
  "b0_map",
  "trajectory",
)


# Flags that mean nothing without another.
_NEEDS = {
  "b0_unit": "b0_map",
  "b0_sign": "b0_map",
  "trajectory_variable": "trajectory",
}
# Flags to the words that they may have.
_CHOICES = {
  "t1_unit": MAP_UNITS,
  "t2_unit": MAP_UNITS,
  "time_unit": TIMES_MS,
  "angle_unit": ANGLES_DEG,
  "phase_unit": PHASES_DEG,
  "trajectory_unit": TRAJECTORY_UNITS,
  "echo": ECHOES,
  "b0_unit": B0_UNITS,
}


@dataclasses.dataclass(frozen=True)
class ImportOptions:
  """Flags that describe a scan to import; None for one that is not given.

  Checks itself when it is made. `command_line/flag_table.py` explains each of
  them.

  Raises:
    UserError: the value of a flag is not valid.
  """

  scan: str | None = None
  imaginary: str | None = None
  variable: str | None = None
  imaginary_variable: str | None = None
  phase: str | None = None
  phase_turn: float | None = None
  axes: str | None = None
  affine_from: str | None = None
  voxel_mm: str | None = None
  mask: str | None = None
  pd: str | None = None
  t1: str | None = None
  t2: str | None = None
  t1_unit: str | None = None
  t2_unit: str | None = None
  b1_map: str | None = None
  b0_map: str | None = None
  b0_unit: str | None = None
  b0_sign: int | None = None
  schedule: str | None = None
  schedule_tr: str | None = None
  time_unit: str | None = None
  angle_unit: str | None = None
  phase_unit: str | None = None
  inversion_time_ms: str | None = None
  trajectory: str | None = None
  trajectory_variable: str | None = None
  trajectory_unit: str | None = None
  delay_us: float | None = None
  frame: str | None = None
  noise: str | None = None
  whiten: bool | None = None
  coil_loss: float | None = None
  sample_time_us: float | None = None
  subject: str | None = None
  echo: str | None = None
  tr_ms: float | None = None
  te_ms: float | None = None
  field_strength_t: float | None = None
  n_frames: int | None = None
  window: int | None = None
  stride: int | None = None
  voxel_by_voxel: bool | None = None
  leave_out_invalid: bool | None = None
  align_phases: bool | None = None
  demodulate: bool | None = None

  @classmethod
  def from_flags(cls, values: Mapping[str, Any]) -> "ImportOptions":
    """Import options among the values of all flags by name."""
    return cls(**{f.name: values.get(f.name) for f in dataclasses.fields(cls)})

  def __post_init__(self):
    """Checks the values that can be checked without a file."""
    for name, known in _CHOICES.items():
      value = getattr(self, name)
      if value is not None:
        check_one_of(f"--{name}", value, known)
    if self.phase_turn is not None and not 0 < self.phase_turn < math.inf:
      raise UserError(f"--phase_turn: {self.phase_turn:g} is not above 0")
    if self.coil_loss is not None and not 0 <= self.coil_loss < 1:
      raise UserError(
        f"--coil_loss: {self.coil_loss:g} is not a share from 0 to below 1"
      )
    if self.sample_time_us is not None and not (
      0 < self.sample_time_us < math.inf
    ):
      raise UserError(
        f"--sample_time_us: {self.sample_time_us:g} is not above 0"
      )
    if self.b0_sign not in (None, 1, -1):
      raise UserError(f"--b0_sign: {self.b0_sign} is not 1 or -1")
    for name, other in _NEEDS.items():
      if getattr(self, name) is not None and not getattr(self, other):
        raise UserError(f"--{name} is for --{other}, which is missing")
    if self.noise and self.whiten is False:
      raise UserError("--noise and --nowhiten: only one of them is needed")
    if self.delay_us is not None and not math.isfinite(self.delay_us):
      raise UserError(f"--delay_us: {self.delay_us} is no time")
    self.voxel_sizes_mm()
    if self.affine_from and self.voxel_mm:
      raise UserError(
        "--affine_from and --voxel_mm: only one of them is needed"
      )
    if self.field_strength_t is not None:
      check_field_strength("--field_strength_t", self.field_strength_t)
    times = {"tr_ms": self.tr_ms, "te_ms": self.te_ms, **self.preparation()}
    for name, time_ms in times.items():
      if time_ms is not None:
        check_sequence_time(f"--{name}", name, time_ms)

  def given(self) -> tuple[str, ...]:
    """Names of the flags that have a value."""
    names = (field.name for field in dataclasses.fields(self))
    return tuple(name for name in names if getattr(self, name) is not None)

  def voxel_sizes_mm(self) -> Float64[np.ndarray, "3"] | None:
    """Size of a voxel along x, y and slices, mm; None if it is not given."""
    if not self.voxel_mm:
      return None
    try:
      sizes = np.array([float(size) for size in self.voxel_mm.split(",")])
    except ValueError:
      sizes = np.empty(0)
    if sizes.shape != (3,) or not np.all(sizes > 0):
      raise UserError(
        f"--voxel_mm: {self.voxel_mm!r} is not three sizes in mm, such as 1,1,5"
      )
    return sizes

  def preparation(self) -> dict[str, float | None]:
    """Inversion time, ms, or None for no inversion; empty if not given."""
    text = self.inversion_time_ms
    if text is None:
      return {}
    try:
      return {"inversion_time_ms": None if text == "none" else float(text)}
    except ValueError:
      raise UserError(
        f"--inversion_time_ms: {text!r} is neither a number nor none"
      ) from None

  def check_output(self, path: pathlib.Path, *, flag: str = "output") -> None:
    """Raises `UserError` if an output file is one of the input files."""
    if not path.exists():
      return
    for name in INPUTS:
      source = getattr(self, name)
      if source and os.path.exists(source) and os.path.samefile(source, path):
        raise UserError(f"--{flag}: {path} is --{name} itself")
