import threading

import pytest

from mrf_jax.runtime.threads import prefetched


def test_results_come_in_order_and_the_next_is_made_meanwhile():
  begun = []
  second = threading.Event()

  def square(x):
    begun.append(x)
    if x == 2:
      second.set()
    return x * x

  results = prefetched(square, iter([1, 2, 3]))
  assert next(results) == 1
  # Nobody has asked for it yet.
  assert second.wait(5)
  assert list(results) == [4, 9]
  assert begun == [1, 2, 3]
  assert list(prefetched(square, [])) == []


def test_an_error_comes_where_its_result_would():
  def fail(x):
    if x == 2:
      raise ValueError(x)
    return x

  results = prefetched(fail, [1, 2, 3])
  assert next(results) == 1
  with pytest.raises(ValueError, match="2"):
    list(results)
