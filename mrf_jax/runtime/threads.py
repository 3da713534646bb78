"""Threads: a map over all cores, and results computed ahead of their use."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mrf_jax.runtime.progress import progress


def prefetched(
  function: Callable[[Any], Any], items: Iterable
) -> Iterator[Any]:
  """Yields `function(item)` of each item; the next is computed meanwhile.

  Args:
    function: called in a thread of its own, with one item.
    items: the items.
  """
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
  array operations. Results do not depend on the number of threads.

  Args:
    function: called with one item.
    items: the items.
    text: what is being done, for a progress bar; None for no bar.

  Returns:
    The results in the order of the items.
  """
  items = list(items)
  with ThreadPoolExecutor(os.cpu_count()) as pool:
    results: Iterable = pool.map(function, items)
    if text is not None:
      results = progress(results, total=len(items), text=text)
    return list(results)
