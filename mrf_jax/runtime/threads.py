"""Threads: a map over all cores, and results computed ahead of their use."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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
