"""Threads: a map over all cores, and results computed ahead of their use."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import threadpoolctl

from mrf_jax.runtime.progress import progress


def prefetched(
  function: Callable[[Any], Any], items: Iterable
) -> Iterator[Any]:
  """Yields `function(item)` of each item; a thread computes the next one."""
  with ThreadPoolExecutor(1) as pool:
    following = None
    for item in items:
      current, following = following, pool.submit(function, item)
      if current is not None:
        yield current.result()
        # Frees the memory of this result while the next one is computed.
        del current
    if following is not None:
      yield following.result()


def map_threads(
  function: Callable[[Any], Any], items: Iterable, *, text: str | None = None
) -> list:
  """`[function(item) for item in items]`, one thread a core.

  For work that releases the interpreter lock: compiled JAX calls, NUFFTs and
  array operations. Results do not depend on the number of threads. With a text
  there is a progress bar.
  """
  items = list(items)
  with ThreadPoolExecutor(os.cpu_count()) as pool:
    results: Iterable = pool.map(function, items)
    if text is not None:
      results = progress(results, total=len(items), text=text)
    return list(results)


def one_blas_thread() -> threadpoolctl.threadpool_limits:
  """A context in which matrix products of NumPy use one thread.

  Small ones lose more by waiting for each other's threads than they gain: on a
  busy machine a match in `map_threads` took ten times as long.
  """
  return threadpoolctl.threadpool_limits(limits=1, user_api="blas")
