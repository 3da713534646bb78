"""Named arrays of trees: their names, their checksums and their files."""

import hashlib
import json
import os
import pathlib
import zipfile
from typing import BinaryIO

import jax
import numpy as np

# The file in a folder of `save_arrays`.
FILE = "arrays.npz"


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


def load_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads the arrays of a folder that `save_arrays` wrote.

  By NumPy: orbax, which wrote it, takes longer to be imported than to be read.

  Raises:
    Exception: what NumPy raises for a missing or damaged file.
  """
  # Opened here, because NumPy does not close a damaged file.
  with open(path / FILE, "rb") as file:
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
