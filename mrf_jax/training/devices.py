"""Folds side by side: devices in parallel, several folds on each."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Without a name, JAX takes an address in memory, and no two processes find the
# same program in the compilation cache.
_AXIS = "device"
# Rows that are brought into a table at once, at most.
_PART_ROWS = 1 << 16


class FoldRunner:
  """Keeps folds on this process's devices, and calls functions of all.

  A fold lies at one place of [device, fold on it]; surplus places repeat
  fold 0 and are never shown.
  """

  def __init__(self, n_folds: int, *, at_once: int | None = None):
    """Spreads folds over the devices of this process.

    Args:
      n_folds: how many there are.
      at_once: folds that one device vectorises over (`vmap`); the others on
        it follow one after another. None is all on an accelerator and one on
        a CPU, where batched small products take longer than single ones.
    """
    devices = jax.local_devices()
    self.n_folds = n_folds
    self._n_devices = min(len(devices), n_folds)
    self._per_device = -(-n_folds // self._n_devices)
    self._devices = devices[: self._n_devices]
    if at_once is None:
      on_cpu = devices[0].platform == "cpu"
      at_once = 1 if on_cpu else self._per_device
    self._at_once = min(at_once, self._per_device)
    # How `pmap` lays out its results: what is placed the same way enters it
    # without a copy.
    example = jax.pmap(lambda x: x, axis_name=_AXIS, devices=self._devices)
    self._sharding = example(np.zeros(self._n_devices)).sharding

  def compile(self, function: Callable, *, donate: bool) -> Callable:
    """A function of one fold as a function of all.

    Args:
      function: pure; called as function(state, fold, shared, *numbers), where
        `state` and `fold` are one fold's.
      donate: whether the states are used up and their memory used again.

    Returns:
      A function of (states, folds, shared, *numbers) that gives what
      `function` does for all folds, on their devices; the numbers may change
      from call to call. Compiled at its first call.
    """

    def all_on_device(states, folds, shared, *numbers):
      return jax.lax.map(
        lambda pair: function(*pair, shared, *numbers),
        (states, folds),
        batch_size=self._at_once,
      )

    compiled: list[Callable] = []

    def call(states, folds, shared, *given):
      numbers = [np.asarray(number, np.int32) for number in given]
      if not compiled:
        # Ahead of time: left to itself, jax 0.10 compiles once more when the
        # states come from a step instead of from `spread`.
        mapped = jax.pmap(
          all_on_device,
          axis_name=_AXIS,
          in_axes=(0, 0, 0) + (None,) * len(numbers),
          devices=self._devices,
          donate_argnums=0 if donate else (),
        )
        lowered = mapped.lower(states, folds, shared, *numbers)
        compiled.append(lowered.compile())
      return compiled[0](states, folds, shared, *numbers)

    return call

  def spread(self, trees: Sequence) -> Any:
    """One pytree a fold, all of the same shapes, onto the devices."""
    places = self._n_devices * self._per_device
    filled = [*trees, *[trees[0]] * (places - len(trees))]

    def stack(*leaves):
      parts = []
      for number, device in enumerate(self._devices):
        start = number * self._per_device
        own = leaves[start : start + self._per_device]
        of_numpy = all(isinstance(leaf, np.ndarray) for leaf in own)
        stacked = np.stack(own) if of_numpy else jnp.stack(own)
        parts.append(jax.device_put(stacked[None], device))
      return self._join(parts)

    return jax.tree.map(stack, *filled)

  def replicate(self, tree) -> Any:
    """A pytree once on each device."""
    return jax.tree.map(
      lambda leaf: self._join(
        [jax.device_put(np.asarray(leaf)[None], d) for d in self._devices]
      ),
      tree,
    )

  def table(
    self,
    parts: Iterable[np.ndarray],
    *,
    n_rows: int,
    n_columns: int,
    dtype: np.dtype,
  ) -> jax.Array:
    """A table of many rows once on each device, filled part by part.

    The host never holds more than one part beside what the devices hold.

    Args:
      parts: arrays of [row, column], together at most `n_rows` − 1 rows.
      n_rows: rows of the table; row 0 and rows that no part fills are zero.
      n_columns: columns.
      dtype: type of the table.

    Returns:
      [device, row, column].
    """
    tables = [
      jnp.zeros((1, n_rows, n_columns), dtype, device=device)
      for device in self._devices
    ]
    row = 1
    for part in parts:
      for start in range(0, len(part), _PART_ROWS):
        block = part[start : start + _PART_ROWS].astype(dtype)[None]
        tables = [_write_rows(table, block, row + start) for table in tables]
      row += len(part)
    return self._join(tables)

  def gather(self, tree) -> list:
    """One host pytree a fold of what lies on the devices."""
    flat = jax.tree.map(self.flatten, tree)
    return [
      jax.tree.map(lambda x, fold=fold: x[fold], flat)
      for fold in range(self.n_folds)
    ]

  def flatten(self, array) -> np.ndarray:
    """[device, fold on it, …] as [fold, …] on the host."""
    array = np.asarray(array)
    return array.reshape(-1, *array.shape[2:])[: self.n_folds]

  def _join(self, parts: list[jax.Array]) -> jax.Array:
    """One array of a part, [1, …], on each device."""
    shape = (len(parts), *parts[0].shape[1:])
    return jax.make_array_from_single_device_arrays(
      shape, self._sharding, parts
    )


@jax.jit(donate_argnums=0)
def _write_rows(table, block, row):
  return jax.lax.dynamic_update_slice(table, block, (0, row, 0))
