"""Host memory that is available, and the peak that a block of code uses."""

import contextlib
import ctypes
import gc
import pathlib
import threading

import psutil

# Limit of a container, in versions 2 and 1 of Linux control groups.
_CGROUP_LIMITS = (
  "/sys/fs/cgroup/memory.max",
  "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)
_SAMPLING_S = 0.002


def available_bytes() -> int:
  """Bytes that the host can still give to this process without swapping."""
  available = psutil.virtual_memory().available
  used = psutil.Process().memory_info().rss
  for path in map(pathlib.Path, _CGROUP_LIMITS):
    try:
      limit = int(path.read_text())
    except (OSError, ValueError):
      # No such file, or "max": this version sets no limit.
      continue
    available = min(available, limit - used)
  return max(0, available)


def gib(n_bytes: float) -> str:
  """A number of bytes as text in GiB."""
  return f"{n_bytes / 2**30:.1f} GiB"


def release_free_memory() -> None:
  """Returns freed memory to the system."""
  gc.collect()
  # malloc_trim exists in the GNU C library only.
  with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL(None).malloc_trim(0)


class PeakMemory:
  """Peak of the process's resident memory within a block, above its start.

  The resident size is read every 2 ms, by a thread.

  Attributes:
    peak_bytes: highest resident size minus that at the start of the block.
  """

  peak_bytes: int = 0

  def __enter__(self) -> "PeakMemory":
    release_free_memory()
    process = psutil.Process()
    start_bytes = process.memory_info().rss
    self._ended = threading.Event()

    def watch():
      while not self._ended.wait(_SAMPLING_S):
        used = process.memory_info().rss - start_bytes
        self.peak_bytes = max(self.peak_bytes, used)

    self._thread = threading.Thread(target=watch, daemon=True)
    self._thread.start()
    return self

  def __exit__(self, *error) -> None:
    self._ended.set()
    self._thread.join()
