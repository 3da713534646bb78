"""Signals in memory as a network reads them, so that there is no second copy.

The signals of a scan are most of the memory of a reconstruction. A subject file
is read into rows of real numbers, of which its signals are a complex view. A
CPU backend computes on this memory, and an accelerator copies it once.
"""

import mmap

import numpy as np
from jaxtyping import Complex64, Float32

from mrf_jax.runtime.threads import map_threads

# Number of voxels that a network processes at once.
BLOCK = 4096
# Pages that a thread makes at once.
_PAGES = 4096


class _Memory(mmap.mmap):
  """Zeros that start on a page, which a CPU backend uses without a copy."""


def empty_signals(
  n_voxels: int, n_frames: int
) -> Complex64[np.ndarray, "voxel frame"]:
  """Signals of zeros, to be filled, that `signal_rows` does not copy."""
  memory = _Memory(-1, _n_bytes(n_voxels, n_frames))
  # Fewer and larger pages; not every system has them.
  if hasattr(mmap, "MADV_HUGEPAGE"):
    memory.madvise(mmap.MADV_HUGEPAGE)
  rows = _rows(memory, n_frames)[1 : 1 + n_voxels]
  # A page is made when it is first written to, which takes longer than reading
  # a file into it: all cores make some.
  pages = rows.reshape(-1).view(np.uint8)[:: mmap.PAGESIZE]

  def make(start: int) -> None:
    pages[start : start + _PAGES] = 0

  map_threads(make, range(0, len(pages), _PAGES))
  return rows.view(np.complex64)


def signal_rows(
  signals: Complex64[np.ndarray, "voxel frame"],
) -> Float32[np.ndarray, "row channel"]:
  """Rows of real numbers, in whole blocks, of which signals are a part.

  Row i is voxel i - 1, as complex64 has it: the real and the imaginary part of
  each frame in turn. Row 0 is for voxels outside of the mask, and the number of
  blocks is rounded; what these rows hold does not matter.
  """
  n_voxels, n_frames = signals.shape
  memory = _memory_of(signals)
  if memory is not None and len(memory) == _n_bytes(n_voxels, n_frames):
    rows = _rows(memory, n_frames)
    is_whole = rows[1:].ctypes.data == signals.ctypes.data
    if is_whole and signals.flags.c_contiguous:
      return rows
  copy = empty_signals(n_voxels, n_frames)
  copy[:] = signals
  return signal_rows(copy)


def rounded(count: int) -> int:
  """Rounds a count up to three binary digits followed by zeros.

  Arrays then have few different shapes, each of which is compiled once.
  """
  step = 1 << max(0, count.bit_length() - 3)
  return -(-count // step) * step


def _n_bytes(n_voxels: int, n_frames: int) -> int:
  """Bytes of the rows of a scan."""
  n_blocks = rounded(-(-(1 + n_voxels) // BLOCK))
  return n_blocks * BLOCK * n_frames * np.dtype(np.complex64).itemsize


def _rows(memory: _Memory, n_frames: int) -> Float32[np.ndarray, "row channel"]:
  return np.frombuffer(memory, np.float32).reshape(-1, 2 * n_frames)


def _memory_of(array: np.ndarray) -> _Memory | None:
  """The memory that an array is a view of; None if it is another one's."""
  owner: object = array
  while isinstance(owner, np.ndarray | memoryview):
    owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
  return owner if isinstance(owner, _Memory) else None
