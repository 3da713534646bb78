import threading

import pytest

from mrf_jax.runtime.threads import prefetched


def test_next_result_is_computed_meanwhile():
  begun = []
  second = threading.Event()

  def square(x):
    begun.append(x)
    if x == 2:
      second.set()
    return x * x

  results = prefetched(square, iter([1, 2, 3]))
  assert next(results) == 1
  # It was not asked for yet.
  assert second.wait(5)
  assert list(results) == [4, 9]
  assert begun == [1, 2, 3]
  assert list(prefetched(square, [])) == []


def test_error_is_raised_in_order():
  def fail(x):
    if x == 2:
      raise ValueError(x)
    return x

  results = prefetched(fail, [1, 2, 3])
  assert next(results) == 1
  with pytest.raises(ValueError, match="2"):
    list(results)
