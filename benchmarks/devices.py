"""Where peers that are made of PyTorch compute."""

import os

import jax


def torch_device() -> str:
  """The device that we use, with all cores."""
  import torch

  torch.set_num_threads(os.cpu_count() or 1)
  return "cuda" if jax.default_backend() == "gpu" else "cpu"
