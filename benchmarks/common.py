"""What the benchmarks share: devices, turns, and the last line."""

import json
import os
import time
from collections.abc import Callable, Mapping

import jax
import numpy as np


def torch_device() -> str:
  """The device that we use, with all cores, for peers made of PyTorch."""
  import torch

  torch.set_num_threads(os.cpu_count() or 1)
  return "cuda" if jax.default_backend() == "gpu" else "cpu"


def take_turns(
  runs: Mapping[str, Callable[[], object]], *, repeats: int
) -> dict[str, np.ndarray]:
  """Seconds of each function, [repeat].

  They take turns, so that a machine that is busy for a moment slows them all.

  Args:
    runs: name to a function that returns when its work is done.
    repeats: turns.
  """
  seconds = {name: np.empty(repeats) for name in runs}
  for repeat in range(repeats):
    for name, run in runs.items():
      start = time.perf_counter()
      run()
      seconds[name][repeat] = time.perf_counter() - start
  return seconds


def print_ratio(
  question: str, ours: float, peer: float | None, unit: str, *, digits: int = 3
) -> None:
  """A benchmark's line for other programs; above one is better.

  Args:
    question: what was asked.
    ours: our figure.
    peer: the other's, or None where there was none.
    unit: of both; what ends in `/s` is a rate, all else a cost.
    digits: behind the point.
  """
  from mrf_jax.timing.machine import device_name

  ratio = None
  if peer is not None:
    ratio = round(ours / peer if unit.endswith("/s") else peer / ours, 2)
  line = {
    "question": question,
    "ours": round(ours, digits),
    "peer": None if peer is None else round(peer, digits),
    "unit": unit,
    "ratio": ratio,
    "device": device_name(),
  }
  print(json.dumps(line, ensure_ascii=False))
