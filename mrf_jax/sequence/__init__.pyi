"""Pulse sequences: what the scanner plays."""

from .files import load_sequence, save_sequence
from .schedules import jiang_type, rf_spoiling_phases_deg, tailored
from .sequence import Sequence, make_sequence

__all__ = [
  "Sequence",
  "jiang_type",
  "load_sequence",
  "make_sequence",
  "rf_spoiling_phases_deg",
  "save_sequence",
  "tailored",
]
