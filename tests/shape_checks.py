"""Checks the array shapes in the package's signatures while tests run.

`conftest.py` installs it as jaxtyping's import hook. NumPy and JAX arrays stand
for each other, since eager tests call functions that are compiled elsewhere;
annotations without an array are left to mypy. Fields of dataclasses are not
checked: as pytrees they also hold what `vmap` has stacked, tracers and types.
"""

import functools
import operator
import types
import typing

import beartype
import jax
import jaxtyping
import numpy as np

# Not that of the package, whose import needs this module.
_AnyArray = jax.Array | np.ndarray


def check(function):
  """Decorates a function: calls with other shapes or types of numbers raise."""
  if function.__name__ == "__init__":
    return function
  hints = getattr(function, "__annotations__", {})
  checked = {name: _checked(hint) for name, hint in hints.items()}
  function.__annotations__ = {
    name: hint for name, hint in checked.items() if hint is not None
  }
  return beartype.beartype(function)


def _checked(hint):
  """The annotation for either kind of array, or None if it names no array."""
  if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
    return hint.dtype[_AnyArray, hint.dim_str]
  origin, parts = typing.get_origin(hint), typing.get_args(hint)
  checked = [_checked(part) for part in parts]
  if all(part is None for part in checked):
    return None
  parts = [c or part for c, part in zip(checked, parts, strict=True)]
  if origin in (typing.Union, types.UnionType):
    return functools.reduce(operator.or_, parts)
  return origin[tuple(parts)]
