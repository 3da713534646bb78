"""A compiler that computes wrongly computes nothing."""

import numpy as np
import pytest

from mrf_jax import UserError
from mrf_jax.runtime import compiler_check


def test_the_compiler_of_the_tests_is_right():
  compiler_check.check_compiler()


def test_rows_of_others_are_noticed(monkeypatch):
  right = compiler_check._squared_norms

  def by_jax_0_10_2(rows, matrix):
    found = np.array(right(rows, matrix))
    # What it gives for the row after the last whole block.
    found[32768:] = found[32736]
    return found

  monkeypatch.setattr(compiler_check, "_squared_norms", by_jax_0_10_2)
  with pytest.raises(UserError, match=r"\(row 32768 of 32,769, and 0 more\)"):
    compiler_check.check_compiler()
