"""Arrays in folders, by orbax."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import zipfile
from typing import BinaryIO

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging


@contextlib.contextmanager
def _quiet():
  """Orbax raises its errors, and need not tell the log of them as well."""
  before = logging.get_verbosity()
  logging.set_verbosity(logging.FATAL)
  try:
    yield
  finally:
    logging.set_verbosity(before)


def named_leaves(tree, name: str = "") -> dict[str, np.ndarray]:
  """The arrays of a tree under the names of their places, in their order.

  Args:
    tree: any pytree of arrays.
    name: what each place's name begins with.
  """
  pairs, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
    name + jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in pairs
  }


def checksum(leaves: dict[str, np.ndarray]) -> str:
  """SHA-256 of named arrays: names, types, shapes and values."""
  digest = hashlib.sha256()
  for name in sorted(leaves):
    leaf = leaves[name]
    digest.update(f"{name} {leaf.dtype} {leaf.shape}".encode())
    digest.update(leaf.tobytes())
  return digest.hexdigest()


def text_checksum(description: dict) -> str:
  """SHA-256 of what JSON holds.

  Args:
    description: without the checksum itself.
  """
  text = json.dumps(description, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def save_arrays(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
  """Writes named arrays to a new folder, any process its own.

  Args:
    path: the folder; it does not exist yet.
    arrays: on the host.

  Raises:
    Exception: whatever orbax and the disk raise.
  """
  with _quiet(), _checkpointer() as checkpointer:
    checkpointer.save(path.absolute(), args=_NamedArrays(arrays))


def load_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The arrays of a folder that `save_arrays` wrote.

  Args:
    path: the folder.

  Raises:
    Exception: whatever orbax and NumPy raise for what is missing or damaged.
  """
  with _quiet(), _checkpointer() as checkpointer:
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
      _refuse_packed(file)
      return dict(np.load(file, allow_pickle=False))


def _refuse_packed(file: BinaryIO) -> None:
  """Refuses an archive that is larger than its file, and goes to its start."""
  with zipfile.ZipFile(file) as archive:
    claimed = sum(member.file_size for member in archive.infolist())
  held = file.seek(0, os.SEEK_END)
  if claimed > held:
    raise ValueError(f"it claims {claimed:,} bytes, and holds {held:,}")
  file.seek(0)


@ocp.args.register_with_handler(
  _NamedArraysHandler, for_save=True, for_restore=True
)
@dataclasses.dataclass
class _NamedArrays(ocp.args.CheckpointArgs):
  """What the handler writes; nothing, when it reads."""

  arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def _checkpointer() -> ocp.Checkpointer:
  """A checkpointer that waits for no other process."""
  own = jax.process_index()
  options = ocp.options.MultiprocessingOptions(
    primary_host=own,
    active_processes={own},
    barrier_sync_key_prefix=f"process-{own}",
  )
  return ocp.Checkpointer(
    _NamedArraysHandler(), multiprocessing_options=options
  )
