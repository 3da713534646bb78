"""Network outputs: maps, and logarithms of their standard deviations."""

from typing import Any

# Soft lower bound on the natural logarithm of a standard deviation, of maps on
# the scale of [0, 1]: e^-7 of T2's range of a second or two is a ms or two.
# Without it, a network that has memorised a voxel would divide by zero.
_LEAST_LOG_DEVIATION = -7.0


def split_deviations(outputs: Any) -> tuple[Any, Any]:
  """Splits outputs into maps and logarithms of their standard deviations.

  For networks that were trained with a likelihood. Outputs are on the scale of
  [0, 1], [..., output], in NumPy or JAX. The logarithm s of an output becomes
  log(exp(s) + exp(−7)).
  """
  xp = outputs.__array_namespace__()
  half = outputs.shape[-1] // 2
  least = outputs.dtype.type(_LEAST_LOG_DEVIATION)
  return outputs[..., :half], xp.logaddexp(outputs[..., half:], least)
