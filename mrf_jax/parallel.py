"""Independent work on all cores, in order and with its progress shown."""

import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tqdm import tqdm


def progress(items: Iterable, *, total: int, text: str) -> Iterable:
  """Passes items through; shows a bar once the work takes a while."""
  return tqdm(
    items,
    total=total,
    desc=text,
    delay=1.0,
    leave=False,
    dynamic_ncols=True,
    file=sys.stderr,
  )


def map_threads(
  function: Callable[[Any], Any], items: Iterable, *, text: str | None = None
) -> list:
  """`[function(item) for item in items]`, one thread a core.

  Meant for work that leaves the interpreter lock: compiled JAX calls, NUFFTs
  and array operations. Results do not depend on the number of threads.

  Args:
    function: called with one item.
    items: the items.
    text: what is being done, for a progress bar; None shows none.

  Returns:
    The results in the order of the items.
  """
  items = list(items)
  with ThreadPoolExecutor(os.cpu_count()) as pool:
    results: Iterable = pool.map(function, items)
    if text is not None:
      results = progress(results, total=len(items), text=text)
    return list(results)
