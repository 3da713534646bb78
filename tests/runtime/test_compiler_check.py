"""A compiler that gives wrong numbers is refused."""

import numpy as np
import pytest

from mrf_jax import UserError
from mrf_jax.runtime import compiler_check


def test_installed_compiler_is_right():
  compiler_check.check_compiler()


def test_wrong_rows_are_noticed(monkeypatch):
  right = compiler_check._squared_norms

  def as_in_jax_0_10_2(rows, matrix):
    norms = np.array(right(rows, matrix))
    # What it gives for the row after the last whole block.
    norms[32768:] = norms[32736]
    return norms

  monkeypatch.setattr(compiler_check, "_squared_norms", as_in_jax_0_10_2)
  with pytest.raises(UserError, match=r"\(row 32768 of 32,769, and 0 more\)"):
    compiler_check.check_compiler()
