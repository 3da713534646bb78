"""Network outputs: maps, and logarithms of their standard deviations."""

from typing import Any

# Below this natural logarithm a predicted deviation, of maps on the scale of
# [0, 1], hardly falls: e^-7 of T2's range of a second or two is a ms or two,
# and a network that knew a voxel by heart would divide by zero.
_LEAST_LOG_DEVIATION = -7.0


def split_deviations(outputs: Any) -> tuple[Any, Any]:
  """Maps, and the logarithms of their deviations, of a likelihood's network.

  Args:
    outputs: of the network, on the scale of [0, 1], [..., output], NumPy's or
      JAX's.

  Returns:
    [..., map] each.
  """
  xp = outputs.__array_namespace__()
  half = outputs.shape[-1] // 2
  least = outputs.dtype.type(_LEAST_LOG_DEVIATION)
  return outputs[..., :half], xp.logaddexp(outputs[..., half:], least)
