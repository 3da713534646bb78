"""Folds on devices: devices in parallel, several folds on each."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from mrf_jax.runtime.memory import available_bytes

# Name of the axis of devices. `pmap` would name it by an address in memory, and
# no process would find a program of another in the persistent compilation
# cache.
_AXIS = "device"
# Most rows that are copied into a table at once.
_BLOCK_ROWS = 1 << 16


def by_pmap(
  function: Callable,
  devices: Sequence[jax.Device],
  *,
  in_axes: tuple[int | None, ...],
  donate_argnums: tuple[int, ...] = (),
) -> jax.stages.Wrapped:
  """A function of one device as a function of all, by `pmap`.

  Args:
    function: pure; returns the results of one device.
    devices: where it runs.
    in_axes: of each argument 0, if every device has its own part,
      [device, …], or None, if all have the same.
    donate_argnums: arguments whose memory is reused.

  Returns:
    The function of the arguments of all devices, compiled at its first call.
    Its results are [device, …].
  """
  return jax.pmap(
    function,
    axis_name=_AXIS,
    in_axes=in_axes,
    devices=devices,
    donate_argnums=donate_argnums,
  )


def by_shard_map(
  function: Callable,
  devices: Sequence[jax.Device],
  *,
  in_axes: tuple[int | None, ...],
  donate_argnums: tuple[int, ...] = (),
) -> jax.stages.Wrapped:
  """The twin of `by_pmap`, which `trace` can lower for devices that are absent.

  Arguments, results and values are those of `by_pmap`.
  """

  def of_one_device(*arguments):
    own = [
      argument if axis is None else jax.tree.map(lambda x: x[0], argument)
      for argument, axis in zip(arguments, in_axes, strict=True)
    ]
    return jax.tree.map(lambda x: x[None], function(*own))

  mapped = jax.shard_map(
    of_one_device,
    mesh=Mesh(np.array(devices), (_AXIS,)),
    in_specs=tuple(
      PartitionSpec() if axis is None else PartitionSpec(_AXIS)
      for axis in in_axes
    ),
    out_specs=PartitionSpec(_AXIS),
    # Devices exchange nothing, and loops may start from constants.
    check_vma=False,
  )
  return jax.jit(mapped, donate_argnums=donate_argnums)


# How a function goes to the devices. JAX only maintains `pmap`; its twin
# `by_shard_map` gives the same results, bit for bit.
MAP_DEVICES = by_pmap


class FoldRunner:
  """Calls a function of one fold for all folds, on this process's devices.

  Arrays of all folds have the axes [device, fold on it, …]. Every device has as
  many folds: where there are too few, fold 0 is repeated, and the results of
  the copies are dropped.
  """

  def __init__(
    self,
    n_folds: int,
    *,
    at_once: int | None = None,
    table_bytes: int = 0,
  ):
    """Divides folds among the devices of this process.

    Args:
      n_folds: number of folds.
      at_once: folds that one device vectorises over (`vmap`); its other folds
        follow one after another. None is all on an accelerator and one on a
        CPU, where batched small products take longer than single ones.
      table_bytes: size of what every device has a copy of. Devices that are
        parts of one CPU share its memory: some are left out if their copies
        would fill more than half of what is free.
    """
    devices = jax.local_devices()
    self.n_folds = n_folds
    on_cpu = devices[0].platform == "cpu"
    if on_cpu:
      # All of them, however few folds are left: programs of another number of
      # devices round in another way.
      self._n_devices = len(devices)
      if table_bytes:
        most = available_bytes() // (2 * table_bytes)
        self._n_devices = max(1, min(self._n_devices, most))
    else:
      self._n_devices = min(len(devices), n_folds)
    self._per_device = -(-n_folds // self._n_devices)
    self._devices = devices[: self._n_devices]
    if at_once is None:
      at_once = 1 if on_cpu else self._per_device
    self._at_once = min(at_once, self._per_device)
    self._map_devices = MAP_DEVICES
    # Layout of the results: arrays in this layout enter without a copy.
    example = self._map_devices(lambda x: x, self._devices, in_axes=(0,))
    self._sharding = example(np.zeros(self._n_devices)).sharding

  def compile(self, function: Callable, *, donate: bool) -> "FoldFunction":
    """Turns a function of one fold into a function of all folds.

    Args:
      function: pure; called as function(state, fold, shared, *numbers), where
        `state` and `fold` are one fold's.
      donate: whether the states are consumed and their memory is reused.

    Returns:
      A function of (states, folds, shared, *numbers) that returns the results
      of all folds, on their devices; the numbers may change from call to call.
      It is compiled at its first call, or before, by `compile_beside`.
    """
    return FoldFunction(
      lambda n_numbers: self.mapped(
        function, n_numbers=n_numbers, donate=donate
      )
    )

  def mapped(
    self, function: Callable, *, n_numbers: int, donate: bool
  ) -> jax.stages.Wrapped:
    """The function that `compile` compiles, for so many numbers."""

    def all_on_device(states, folds, shared, *numbers):
      return jax.lax.map(
        lambda pair: function(*pair, shared, *numbers),
        (states, folds),
        batch_size=self._at_once,
      )

    return self._map_devices(
      all_on_device,
      self._devices,
      in_axes=(0, 0, 0) + (None,) * n_numbers,
      donate_argnums=(0,) if donate else (),
    )

  def spread(self, trees: Sequence) -> Any:
    """Copies a pytree of each fold to the devices: [device, fold on it, …]."""
    n_copies = self._n_devices * self._per_device - len(trees)
    trees = [*trees, *[trees[0]] * n_copies]

    def stack(*leaves):
      parts = []
      for number, device in enumerate(self._devices):
        start = number * self._per_device
        own = leaves[start : start + self._per_device]
        on_host = all(isinstance(leaf, np.ndarray) for leaf in own)
        stacked = np.stack(own) if on_host else jnp.stack(own)
        parts.append(jax.device_put(stacked[None], device))
      return self._join(parts)

    return jax.tree.map(stack, *trees)

  def replicate(self, tree) -> Any:
    """Copies a pytree of NumPy arrays to every device: [device, …]."""
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
    """Copies a table to every device, part by part: [device, row, column].

    The host needs memory for one part only, besides that of its devices. Parts
    have at most `n_rows` − 1 rows together: row 0, and rows that no part fills,
    are zero.
    """
    tables = [
      jnp.zeros((1, n_rows, n_columns), dtype, device=device)
      for device in self._devices
    ]
    row = 1
    for part in parts:
      for start in range(0, len(part), _BLOCK_ROWS):
        block = part[start : start + _BLOCK_ROWS].astype(dtype)[None]
        tables = [_write_rows(table, block, row + start) for table in tables]
      row += len(part)
    return self._join(tables)

  def gather(self, tree) -> list:
    """Copies a pytree of all folds to the host, one pytree for each fold."""
    flat = jax.tree.map(self.flatten, tree)
    return [
      jax.tree.map(lambda x, fold=fold: x[fold], flat)
      for fold in range(self.n_folds)
    ]

  def flatten(self, array) -> np.ndarray:
    """Copies an array of all folds to the host, as [fold, …]."""
    array = np.asarray(array)
    return array.reshape(-1, *array.shape[2:])[: self.n_folds]

  def _join(self, parts: list[jax.Array]) -> jax.Array:
    """Joins one part, [1, …], of each device to an array of all devices."""
    shape = (len(parts), *parts[0].shape[1:])
    return jax.make_array_from_single_device_arrays(
      shape, self._sharding, parts
    )


class FoldFunction:
  """A function of all folds, compiled once: ahead of its first call.

  jax 0.10 would compile a second time when the states come from a step instead
  of from `FoldRunner.spread`.
  """

  def __init__(self, mapped: Callable[[int], jax.stages.Wrapped]):
    """`mapped` makes the function to compile, for so many numbers."""
    self._mapped = mapped
    self._compiled: Future | None = None

  def compile_beside(self, states, folds, shared, *numbers) -> None:
    """Begins to compile for such arguments, in a thread of its own.

    The function is traced before this returns. Numbers are int32 arrays here.
    """
    mapped = self._mapped(len(numbers))
    lowered = mapped.lower(states, folds, shared, *numbers)
    pool = ThreadPoolExecutor(1)
    self._compiled = pool.submit(lowered.compile)
    pool.shutdown(wait=False)

  def __call__(self, states, folds, shared, *integers) -> Any:
    """The results of all folds, [device, fold on it, …]."""
    numbers = [np.asarray(integer, np.int32) for integer in integers]
    if self._compiled is None:
      self.compile_beside(states, folds, shared, *numbers)
    assert self._compiled is not None
    return self._compiled.result()(states, folds, shared, *numbers)


@jax.jit(donate_argnums=0)
def _write_rows(table, block, row):
  return jax.lax.dynamic_update_slice(table, block, (0, row, 0))
