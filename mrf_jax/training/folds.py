"""Folds side by side: devices in parallel, several folds on each."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class FoldRunner:
  """Keeps folds on their devices, and steps all of them with one call."""

  def __init__(
    self,
    function: Callable,
    folds: Sequence,
    shared: Any,
    *,
    at_once: int | None = None,
  ):
    """Prepares `function(state, fold, shared)` for all folds.

    Args:
      function: pure; returns (state, metrics) of one fold.
      folds: one pytree a fold, all of the same shapes.
      shared: a pytree that every fold reads; placed once on each device.
      at_once: folds that one device vectorises over (`vmap`); the others on
        it follow one after another. None is all on an accelerator and one on
        a CPU, where batched small products take longer than single ones.
    """
    devices = jax.local_devices()
    self.n_folds = len(folds)
    self._n_devices = min(len(devices), self.n_folds)
    self._per_device = -(-self.n_folds // self._n_devices)
    devices = self._devices = devices[: self._n_devices]
    if at_once is None:
      on_cpu = devices[0].platform == "cpu"
      at_once = 1 if on_cpu else self._per_device

    def all_on_device(states, folds, shared):
      return jax.lax.map(
        lambda pair: function(*pair, shared),
        (states, folds),
        batch_size=min(at_once, self._per_device),
      )

    self._step = jax.pmap(all_on_device, devices=devices, donate_argnums=0)
    self._compiled: Callable | None = None
    self._folds = self._spread(folds)
    # `pmap` wants one mapped argument; the other goes to every device.
    replicate = jax.pmap(
      lambda _, tree: tree, in_axes=(0, None), devices=devices
    )
    self._shared = replicate(np.zeros(self._n_devices), shared)

  def step(self, states):
    """One call of the function for every fold.

    Args:
      states: what `spread` or the last call gave; it is used up.

    Returns:
      States for the next call, and the metrics, [fold].
    """
    if self._compiled is None:
      # Ahead of time: left to itself, jax 0.10 compiles once more when the
      # states come from a step instead of from `spread`.
      lowered = self._step.lower(states, self._folds, self._shared)
      self._compiled = lowered.compile()
    states, metrics = self._compiled(states, self._folds, self._shared)
    return states, jax.tree.map(self._flatten, metrics)

  def spread(self, states: Sequence):
    """Puts one state a fold onto the devices."""
    return self._spread(states)

  def gather(self, states) -> list:
    """One host pytree a fold of what `step` returned."""
    flat = jax.tree.map(self._flatten, states)
    return [
      jax.tree.map(lambda x, fold=fold: x[fold], flat)
      for fold in range(self.n_folds)
    ]

  def _spread(self, trees):
    """Stacks to [device, fold on it, …]; surplus places repeat fold 0."""
    places = self._n_devices * self._per_device
    filled = [*trees, *[trees[0]] * (places - len(trees))]
    shape = (self._n_devices, self._per_device)

    def stack(*leaves):
      stacked = jnp.stack(leaves)
      return stacked.reshape(*shape, *stacked.shape[1:])

    # Through `pmap`, so that they lie where its results will lie.
    place = jax.pmap(lambda tree: tree, devices=self._devices)
    return place(jax.tree.map(stack, *filled))

  def _flatten(self, array) -> np.ndarray:
    array = np.asarray(array)
    return array.reshape(-1, *array.shape[2:])[: self.n_folds]
