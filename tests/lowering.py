"""Compiled functions of a call, lowered for accelerators that are absent.

Within `recorded`, public functions take this CPU for an accelerator and choose
its sizes of blocks. Each compiled function that they call is kept, traced with
its arguments; it is not run, and returns ones.
"""

import contextlib
import dataclasses
import re
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

PLATFORMS = ("cuda", "tpu")
_JITTED = type(jax.jit(lambda: 0))


@dataclasses.dataclass(frozen=True)
class Call:
  """A compiled function with the shapes of its arguments.

  Attributes:
    name: of the function.
    traced: the function of these arguments.
  """

  name: str
  traced: jax.stages.Traced

  def text(self, platform: str) -> str:
    """Its StableHLO for a platform."""
    return self.lower(platform).as_text()

  def lower(self, platform: str) -> jax.stages.Lowered:
    """The function for a platform."""
    return self.traced.lower(lowering_platforms=(platform,))

  @property
  def flop(self) -> float:
    """Operations as XLA counts them: a complex product as a real one.

    The body of a loop counts once, however often it runs, and one device of
    all, whose work is the same on each.
    """
    return self.cost("flops")

  @property
  def n_bytes(self) -> float:
    """Bytes that all operations read and write if none are fused."""
    return self.cost("bytes accessed")

  def cost(self, name: str, platform: str = PLATFORMS[0]) -> float:
    """A cost by its name in XLA; library functions cost nothing."""
    costs = self.lower(platform).cost_analysis()
    assert costs is not None
    return costs[name]

  @property
  def least_bytes(self) -> int:
    """Bytes of its arguments and results."""
    leaves = [*jax.tree.leaves(self.traced.args_info)]
    leaves += jax.tree.leaves(self.traced.out_info)
    return sum(
      int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves
    )


class _Recorder:
  """Stands for a jitted function: keeps its calls, and returns ones."""

  def __init__(self, function, calls: list[Call]):
    self._function = function
    self._calls = calls

  def __call__(self, *arguments, **options):
    leaves = jax.tree.leaves((arguments, options))
    # Within another compiled function it is a part of that.
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
      return self._function(*arguments, **options)
    traced = self._function.trace(*arguments, **options)
    self._calls.append(Call(self._function.__name__, traced))
    return jax.tree.map(lambda x: np.ones(x.shape, x.dtype), traced.out_info)

  def __getattr__(self, name: str) -> Any:
    return getattr(self._function, name)


@contextlib.contextmanager
def recorded() -> Iterator[list[Call]]:
  """List to which the package's compiled functions add their calls."""
  calls: list[Call] = []
  with pytest.MonkeyPatch.context() as patch:
    for name, module in list(sys.modules.items()):
      if name.split(".")[0] == "mrf_jax":
        for key, value in list(vars(module).items()):
          if isinstance(value, _JITTED):
            patch.setattr(module, key, _Recorder(value, calls))
    patch.setattr(jax, "default_backend", lambda: "gpu")
    yield calls


def targets(text: str) -> set[str]:
  """Names of the library functions that StableHLO calls."""
  return set(re.findall(r"custom_call @([\w.]+)", text))


def products(text: str) -> set[tuple[str, str]]:
  """Precision and type of the factors of all matrix products in StableHLO."""
  lines = re.findall(r"stablehlo\.(?:dot_general|convolution).*", text)
  return {
    (
      re.findall(r"precision = \[(\w+), (?:\w+)\]", line)[0],
      re.findall(r": \(tensor<(?:\d+x)*([\w<>]+)>, ", line)[0],
    )
    for line in lines
  }


def n_donated(text: str) -> int:
  """Number of arguments of the program whose memory is reused."""
  return len(re.findall(r"tf\.aliasing_output|jax\.buffer_donor", text))
