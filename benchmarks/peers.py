"""Simulators that `simulate.py` compares, each with the same interface.

`build` makes a function for one sequence and number of states, from T1 and T2
in ms, float32 [atom], to echoes, [atom, frame]. Work that a package does once
for a sequence, such as compilation, is not timed; the packages' own benchmarks
leave it out, too.
"""

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import os
import warnings
from collections.abc import Callable

# Time that threads of torch spin at a barrier. This value is the fastest for
# mrpro on two idle cores (5,300 atoms/s, by default 4,700). It must be set
# before torch is imported, which mrf_jax's NUFFT does if torch is installed.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import jax
import numpy as np
from common import torch_device

from mrf_jax.runtime.threads import map_threads
from mrf_jax.signal.fingerprints import simulate_fingerprints

# Atoms times states of mrpro's fastest batch on a CPU. With 256 states it is
# half as fast for 2,048 atoms at once, which exceed the caches.
_MRPRO_STATES = 131072


@dataclasses.dataclass(frozen=True)
class Simulator:
  """A simulator of gradient-spoiled sequences.

  Attributes:
    package: name of its package on PyPI.
    build: makes the simulating function of a sequence and a number of states;
      see above.
    phase: factor that turns its echoes into ours.
  """

  package: str
  build: Callable
  phase: complex = 1.0

  @property
  def is_installed(self) -> bool:
    """Whether the package can be imported."""
    return importlib.util.find_spec(self.package) is not None

  @property
  def version(self) -> str:
    """Version of the package, for ours that of JAX."""
    if self.package == "mrf_jax":
      return f"jax {jax.__version__}"
    return importlib.metadata.version(self.package)


def build_ours(sequence, n_states):
  """mrf_jax: compiled blocks of atoms, one thread a core."""
  return lambda t1, t2: simulate_fingerprints(
    sequence, t1, t2, n_states=n_states, keep_real=True
  )


def build_blochsim(sequence, n_states, *, package="blochsim"):
  """blochsim: its fused C++ (or CUDA) engine with its own threads."""
  device = torch_device()
  import torch

  # torchsim uses a deprecated function of torch.
  warnings.filterwarnings("ignore", ".*torch.jit.script. is deprecated")
  simulator = importlib.import_module(f"{package}.simulators").MRFSimulator(
    flip=torch.tensor(sequence.flip_angles_deg, dtype=torch.float32).to(device),
    TR=float(sequence.tr_ms[0]),
    TI=sequence.inversion_time_ms,
    states=n_states,
  )

  def simulate(t1, t2):
    t1, t2 = (torch.from_numpy(x).to(device) for x in (t1, t2))
    return simulator.simulate(T1=t1, T2=t2).cpu().numpy()

  return simulate


def build_torchsim(sequence, n_states):
  """torchsim: the former name of blochsim, with the same interface."""
  return build_blochsim(sequence, n_states, package="torchsim")


def build_mrpro(sequence, n_states):
  """mrpro: its EPG blocks, torch operations on [atom, 3, state]; times in s."""
  device = torch_device()
  import torch
  from mrpro.operators.models import EPG

  epg_sequence = EPG.EPGSequence(
    [
      EPG.InversionBlock(sequence.inversion_time_ms * 1e-3),
      EPG.FispBlock(
        torch.tensor(np.deg2rad(sequence.flip_angles_deg), dtype=torch.float32),
        rf_phases=0.0,
        te=float(sequence.te_ms[0]) * 1e-3,
        tr=float(sequence.tr_ms[0]) * 1e-3,
      ),
    ]
  ).to(device)

  @torch.inference_mode()
  def simulate(t1, t2):
    batch = t1.size if device == "cuda" else _MRPRO_STATES // n_states
    t1, t2 = (torch.from_numpy(x).to(device) * 1e-3 for x in (t1, t2))
    parts = []
    for t1_part, t2_part in zip(t1.split(batch), t2.split(batch), strict=True):
      ones = torch.ones_like(t1_part)
      parameters = EPG.Parameters(ones, t1_part, t2_part)
      _, echoes = epg_sequence(parameters, n_states)
      parts.append(torch.stack(echoes, dim=-1))
    return torch.cat(parts).cpu().numpy()

  return simulate


OURS = Simulator("mrf_jax", build_ours)
PEERS = (
  Simulator("blochsim", build_blochsim),
  Simulator("torchsim", build_torchsim),
  Simulator("mrpro", build_mrpro, phase=1j),
)


def reference_echoes(sequence, t1_ms, t2_ms, n_states):
  """Simulates the sequence in float64 with NumPy (Weigel 2015, eq. 15-27).

  Args:
    sequence: gradient-spoiled, after an inversion, constant TR, TE 0.
    t1_ms: longitudinal relaxation times, [atom], ms.
    t2_ms: transverse relaxation times, [atom], ms.
    n_states: configuration orders.

  Returns:
    Echoes, [atom, frame].
  """
  tr_ms = sequence.tr_ms[0]
  flips = np.deg2rad(sequence.flip_angles_deg)

  def simulate_block(start):
    t1 = t1_ms[start : start + 64].astype(np.float64)
    t2 = t2_ms[start : start + 64].astype(np.float64)
    e1, e2 = np.exp(-tr_ms / t1), np.exp(-tr_ms / t2)
    plus, minus, z = np.zeros((3, n_states, t1.size))
    z[0] = 1 - 2 * np.exp(-sequence.inversion_time_ms / t1)
    echoes = np.empty((t1.size, flips.size))
    for frame, flip in enumerate(flips):
      cos2, sin2 = np.cos(flip / 2) ** 2, np.sin(flip / 2) ** 2
      sin, cos = np.sin(flip), np.cos(flip)
      plus, minus, z = (
        cos2 * plus - sin2 * minus + sin * z,
        cos2 * minus - sin2 * plus + sin * z,
        cos * z - sin / 2 * (plus + minus),
      )
      echoes[:, frame] = plus[0]
      z *= e1
      z[0] += 1 - e1
      plus[1:] = e2 * plus[:-1]
      minus[:-1] = e2 * minus[1:]
      minus[-1] = 0
      plus[0] = minus[0]
    return echoes

  return np.concatenate(map_threads(simulate_block, range(0, t1_ms.size, 64)))
