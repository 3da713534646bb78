"""Helpers of the benchmarks: devices, earlier commits, turns, the last line."""

import json
import os
import pathlib
import subprocess
import time
from collections.abc import Callable, Mapping

import jax
import numpy as np


def torch_device() -> str:
  """Device for PyTorch, the same that JAX uses; of a CPU all cores."""
  import torch

  torch.set_num_threads(os.cpu_count() or 1)
  return "cuda" if jax.default_backend() == "gpu" else "cpu"


def check_out(commit: str, folder: pathlib.Path) -> None:
  """Makes a folder with the code of a commit of this repository."""
  root = pathlib.Path(__file__).parent.parent
  clone = ["git", "clone", "-q", "--no-checkout", str(root), str(folder)]
  subprocess.run(clone, check=True)
  checkout = ["git", "-C", str(folder), "checkout", "-q", commit]
  subprocess.run(checkout, check=True)


def take_turns(
  runs: Mapping[str, Callable[[], object]], *, repeats: int
) -> dict[str, np.ndarray]:
  """Measures the seconds of some functions, which run in turns.

  Other work on the machine then slows all of them alike.

  Args:
    runs: name to a function that returns when its work is done.
    repeats: number of turns.

  Returns:
    Name to seconds, [repeat].
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
  """Prints the result of a benchmark as JSON, for other programs.

  A ratio above one means that ours is better.

  Args:
    question: what is compared.
    ours: our figure.
    peer: figure of the other program, or None if it did not run.
    unit: unit of both. A unit that ends in `/s` is a rate, others are costs.
    digits: digits behind the decimal point.
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
