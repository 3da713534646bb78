"""Places of the samples of a Pulseq file in k-space."""

import os
import pathlib

import numpy as np
from jaxtyping import Float64

from mrf_jax.errors import UserError
from mrf_jax.sequence.pulseq_events import read_events


def pulseq_trajectory(
  path: str | os.PathLike, *, n_samples: int
) -> Float64[np.ndarray, "readout sample 3"]:
  """Positions of all readouts in their order, cycles/m, along x, y and z.

  The moment of the gradients since the centre of the pulse before: pulses that
  refocus are not known. A sample is in the middle of its part of the readout.

  Args:
    path: the `.seq` file.
    n_samples: samples of each readout, evenly spaced over it; fewer or more
      than the file's where a scanner stores others.

  Raises:
    UserError: the file cannot be read, or has no readout behind a pulse, or no
      gradients.
  """
  path = pathlib.Path(path)
  events = read_events(path)
  readouts, gradients = events.readouts, events.gradients
  if not gradients.exist:
    raise UserError(f"{path}: it has no gradients, and so no trajectory")
  centres_ms = np.array([pulse.centre_ms for pulse in events.pulses])
  before = np.searchsorted(centres_ms, readouts.starts_ms) - 1
  if not before.size or before.min() < 0:
    raise UserError(f"{path}: it has no readout, or one before any pulse")
  parts = (np.arange(n_samples) + 0.5) / n_samples
  positions = np.empty((len(before), n_samples, 3))
  for number, pulse in enumerate(before.tolist()):
    block = int(readouts.blocks[number])
    start_s = 1e-3 * readouts.starts_ms[number] - gradients.starts_s[block]
    half_s = 1e-3 * (readouts.centres_ms[number] - readouts.starts_ms[number])
    within = gradients.moments(block, start_s + 2 * half_s * parts)
    own = events.pulses[pulse]
    centre_s = 1e-3 * own.centre_ms - gradients.starts_s[own.block]
    at_pulse = gradients.moments(own.block, np.array([centre_s]))
    positions[number] = within - at_pulse
  return positions
