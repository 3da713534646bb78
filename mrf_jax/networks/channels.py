"""What a network sees of each voxel: components of its signal, and its B1."""

from typing import Any

import flax.linen as nn
import numpy as np
from jaxtyping import Float, Float32

from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError

# So that the channel of B1 is of the order of one.
_PER_B1 = np.float32(5)


def sees_b1(network: nn.Module) -> bool:
  """Whether a network sees a measured B1 map besides the signals."""
  return getattr(network, "sees_b1", False)


def channel_count(network: nn.Module, *, n_components: int) -> int:
  """Numbers of each voxel that a network sees.

  Args:
    network: the Flax module.
    n_components: complex components of a signal, or its windows.
  """
  return 2 * n_components + sees_b1(network)


def b1_channel(b1: Any) -> Any:
  """What a network sees of B1, factors on the flip angles: 0 where it is 1.

  Both are float32 arrays, of NumPy or JAX.
  """
  return (b1 - 1) * _PER_B1


def with_b1_channel(
  signals: Float32[np.ndarray, "voxel channel"],
  b1: Float[np.ndarray, "voxel"],
) -> Float32[np.ndarray, "voxel channel_and_b1"]:
  """Standardised signals, with the channel of B1 as the last."""
  return np.concatenate([signals, b1_channel(b1)[:, None]], 1)


def known_b1(name: object, subject: Subject) -> Float32[np.ndarray, "voxel"]:
  """B1 of a scan; raises `UserError`, which begins with a name, without one."""
  if subject.b1 is None:
    raise UserError(
      f"{name}: has no B1 map, which the network sees besides the signals; "
      "--b1_map of import and reconstruct gives it"
    )
  return subject.b1
