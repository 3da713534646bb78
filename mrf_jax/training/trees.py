"""Arrays in folders, by orbax."""

import dataclasses
import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp


def save_tree(path: pathlib.Path, tree) -> None:
  """Writes a tree of arrays to a new folder; orbax lets process 0 only.

  Args:
    path: the folder; it does not exist yet.
    tree: nested dictionaries of arrays.

  Raises:
    Exception: whatever orbax and its storage raise for a full disk and the
      like.
  """
  with _checkpointer() as checkpointer:
    arrays = jax.tree.map(np.asarray, tree)
    checkpointer.save(path.absolute(), args=ocp.args.StandardSave(arrays))


def load_tree(path: pathlib.Path):
  """The tree of a folder as NumPy arrays, whatever device wrote it.

  Args:
    path: the folder.

  Raises:
    Exception: whatever orbax raises for a missing or damaged folder.
  """
  with _checkpointer() as checkpointer:
    folder = path.absolute()
    metadata = checkpointer.metadata(folder)
    tree = getattr(metadata, "item_metadata", metadata)
    tree = getattr(tree, "tree", tree)
    empty = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), tree)
    return checkpointer.restore(folder, args=ocp.args.StandardRestore(empty))


def save_arrays(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
  """Writes named arrays to a new folder, any process its own.

  Args:
    path: the folder; it does not exist yet.
    arrays: on the host.

  Raises:
    Exception: whatever orbax and the disk raise.
  """
  with _checkpointer(_NamedArraysHandler()) as checkpointer:
    checkpointer.save(path.absolute(), args=_NamedArrays(arrays))


def load_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The arrays of a folder that `save_arrays` wrote.

  Args:
    path: the folder.

  Raises:
    Exception: whatever orbax and NumPy raise for what is missing or damaged.
  """
  with _checkpointer(_NamedArraysHandler()) as checkpointer:
    return checkpointer.restore(path.absolute(), args=_NamedArrays())


class _NamedArraysHandler(ocp.CheckpointHandler):
  """Arrays of this process alone.

  Orbax's own handlers write global arrays, all processes together, or host
  arrays, process 0 for all; here every process has folds that no other knows.
  """

  _NAME = "arrays.npz"

  def save(self, directory, args: "_NamedArrays"):
    with open(directory / self._NAME, "wb") as file:
      # An archive, whose members have checksums.
      np.savez(file, **args.arrays)  # type: ignore[arg-type]

  def restore(self, directory, args: "_NamedArrays"):
    del args
    # NumPy leaves a damaged file open.
    with open(directory / self._NAME, "rb") as file:
      return dict(np.load(file, allow_pickle=False))


@ocp.args.register_with_handler(
  _NamedArraysHandler, for_save=True, for_restore=True
)
@dataclasses.dataclass
class _NamedArrays(ocp.args.CheckpointArgs):
  """What the handler writes; nothing, when it reads."""

  arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def _checkpointer(handler: ocp.CheckpointHandler | None = None):
  """One that waits for no other process; orbax's own handler by default."""
  own = jax.process_index()
  options = ocp.options.MultiprocessingOptions(
    primary_host=own,
    active_processes={own},
    barrier_sync_key_prefix=f"process-{own}",
  )
  if handler is None:
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=options)
  return ocp.Checkpointer(handler, multiprocessing_options=options)
