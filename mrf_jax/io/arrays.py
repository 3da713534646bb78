"""Named arrays and trees of arrays in folders, written by orbax."""

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
  """Silences orbax, which logs the errors that it raises as well."""
  before = logging.get_verbosity()
  logging.set_verbosity(logging.FATAL)
  try:
    yield
  finally:
    logging.set_verbosity(before)


def named_leaves(tree, name: str = "") -> dict[str, np.ndarray]:
  """The arrays of a tree by `name` + their paths in it, in the tree's order."""
  pairs, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
    name + jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in pairs
  }


def checksum(leaves: dict[str, np.ndarray]) -> str:
  """SHA-256 of named arrays: of their names, types, shapes and values."""
  digest = hashlib.sha256()
  for name in sorted(leaves):
    leaf = leaves[name]
    digest.update(f"{name} {leaf.dtype} {leaf.shape}".encode())
    digest.update(leaf.tobytes())
  return digest.hexdigest()


def text_checksum(description: dict) -> str:
  """SHA-256 of a dictionary, without the checksum itself, as JSON stores it."""
  text = json.dumps(description, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def save_arrays(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
  """Writes named arrays of the host to a new folder of this process.

  Raises:
    Exception: what orbax and the disk raise.
  """
  with _quiet(), _checkpointer() as checkpointer:
    checkpointer.save(path.absolute(), args=_NamedArrays(arrays))


def load_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads the arrays of a folder that `save_arrays` wrote.

  Raises:
    Exception: what orbax and NumPy raise for a missing or damaged folder.
  """
  with _quiet(), _checkpointer() as checkpointer:
    return checkpointer.restore(path.absolute(), args=_NamedArrays())


class _NamedArraysHandler(ocp.CheckpointHandler):
  """Handler for arrays of this process alone.

  Orbax's own handlers write global arrays by all processes together, or host
  arrays by process 0; here every process has folds of its own.
  """

  _NAME = "arrays.npz"

  def save(self, directory, args: "_NamedArrays"):
    with open(directory / self._NAME, "wb") as file:
      # A zip archive, whose members have checksums.
      np.savez(file, **args.arrays)  # type: ignore[arg-type]

  def restore(self, directory, args: "_NamedArrays"):
    del args
    # Opened here, because NumPy does not close a damaged file.
    with open(directory / self._NAME, "rb") as file:
      _check_unpacked(file)
      return dict(np.load(file, allow_pickle=False))


def _check_unpacked(file: BinaryIO) -> None:
  """Raises `ValueError` if an archive's members are larger than its file."""
  with zipfile.ZipFile(file) as archive:
    claimed = sum(member.file_size for member in archive.infolist())
  n_bytes = file.seek(0, os.SEEK_END)
  if claimed > n_bytes:
    raise ValueError(f"it claims {claimed:,} bytes, and holds {n_bytes:,}")
  file.seek(0)


@ocp.args.register_with_handler(
  _NamedArraysHandler, for_save=True, for_restore=True
)
@dataclasses.dataclass
class _NamedArrays(ocp.args.CheckpointArgs):
  """The arrays that the handler writes; none when it reads."""

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
