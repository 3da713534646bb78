"""Opens an untrusted file in a subprocess first, which may crash or be killed.

The libraries for HDF5 and MATLAB files crash on some damaged files, never
return from others, and allocate any memory that a file claims. The trial finds
this if the structure of the file causes it, before a value is read. It costs
the start of a Python process, a quarter of a second, once for each file.

The standard library was looked at: neither a signal handler nor a thread stops
C code that holds the interpreter's lock, `multiprocessing` imports the main
program again, and a worker that dies breaks its `ProcessPoolExecutor`.

This file is also the program of that process, which must not import anything
else of the package.
"""

import contextlib
import faulthandler
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

HDF5, MATLAB = "hdf5", "matlab"
# Processor time, which waiting for a slow disk does not use, and memory: more
# than any structure needs.
_CPU_S = 8
_BYTES = 3 << 29
_REFUSED = 3
# Files that have passed their trial, or that this process has written.
_sound: set[tuple[str, int, int]] = set()
# Files that have failed it, with their damage: a trial may take seconds.
_damaged: dict[tuple[str, int, int], str] = {}
# Time limit for reading a file: more than any file needs on any disk.
_SECONDS = 10.0
_BYTES_PER_S = 5e6
# Prints its argument if it gets any input, and nothing if it gets none.
_PRINT = 'read line && echo "error: $0" >&2'


def try_file(path: str | os.PathLike, kind: str) -> None:
  """Raises `ValueError` if reading a file would crash or hang this process.

  Args:
    path: the file. A missing one passes: its reader will report it.
    kind: `HDF5`, which reads structure, attributes and places of all values, or
      `MATLAB` (before version 7.3), which reads everything.

  Raises:
    ValueError: it is damaged.
  """
  identity = _identity(path)
  if identity is None or identity in _sound:
    return
  if identity in _damaged:
    raise ValueError(_damaged[identity])
  done = subprocess.run(
    [sys.executable, "-P", __file__, kind, os.fspath(path)],
    env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    errors="replace",
    check=False,
  )
  if done.returncode == _REFUSED:
    _damaged[identity] = done.stdout.strip()
  elif done.returncode < 0:
    _damaged[identity] = "damaged: its reader crashes, or never returns"
  if identity in _damaged:
    raise ValueError(_damaged[identity])
  if done.returncode:
    last = done.stderr.splitlines()[-1:] or ["no message"]
    raise ValueError(f"could not be tried: {last[0][:300]}")
  _sound.add(identity)


def trust(path: str | os.PathLike) -> None:
  """Spares a file the trial because this process itself has completed it."""
  identity = _identity(path)
  if identity is not None:
    _sound.add(identity)


def _identity(path) -> tuple[str, int, int] | None:
  """Path, size and time of a file, or None if it does not exist."""
  try:
    status = os.stat(path)
  except OSError:
    return None
  return os.path.realpath(path), status.st_size, status.st_mtime_ns


def _main(kind: str, path: str) -> int:
  """Runs the trial, in a process of its own, and returns its exit code."""
  if kind == HDF5:
    import h5py as library
  else:
    import scipy.io as library
  # Only values of MATLAB files are read here; they may be packed.
  n_bytes = _BYTES + (64 * os.path.getsize(path) if kind == MATLAB else 0)
  _limit("RLIMIT_AS", n_bytes)
  _limit("RLIMIT_CPU", _CPU_S + os.path.getsize(path) // (20 << 20))
  try:
    _open(kind, library, path)
  except Exception as error:
    print(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return _REFUSED
  return 0


def _limit(name: str, value: int) -> None:
  """Sets a resource limit, unless a lower one exists or the system has none."""
  import resource

  with contextlib.suppress(ValueError, OSError):
    number = getattr(resource, name)
    before = [n for n in resource.getrlimit(number) if n >= 0]
    least = min([value, *before])
    resource.setrlimit(number, (least, least))


def _open(kind: str, library: Any, path: str) -> None:
  """Reads what the trial reads of a file."""
  if kind == MATLAB:
    library.loadmat(path)
    return
  with library.File(path) as file:
    for group in groups(file, library):
      _read_attributes(group)
      for name in group:
        if not isinstance(group.get(name, getlink=True), library.HardLink):
          continue
        item = group[name]
        _read_attributes(item)
        if isinstance(item, library.Dataset) and item.chunks:
          item.id.chunk_iter(lambda chunk: None)


def groups(file: Any, h5py: Any) -> Iterator:
  """A file and its groups at the first level, without those behind links."""
  yield file
  for name in file:
    if isinstance(file.get(name, getlink=True), h5py.HardLink) and (
      file.get(name, getclass=True) is h5py.Group
    ):
      yield file[name]


def _read_attributes(item: Any) -> None:
  """Reads all attributes of a group or dataset."""
  for name in item.attrs:
    # A sound file may have attributes of types that h5py does not read.
    with contextlib.suppress(TypeError):
      item.attrs[name]


@contextlib.contextmanager
def time_limit(
  path: str | os.PathLike, *, seconds: float = _SECONDS
) -> Iterator:
  """Time limit for reading a file: ends the program with one line after it.

  The program ends because nothing less helps: HDF5 does not return to Python
  from some damaged files, and holds the interpreter's lock meanwhile. Only one
  block at a time can have a limit.

  Args:
    path: the file that the block reads; a larger one has more time.
    seconds: base time limit, s.
  """
  size = os.path.getsize(path) if os.path.exists(path) else 0
  limit = seconds + size / _BYTES_PER_S
  message = (
    f"{path}: reading it has not come to an end in {limit:.0f} s; it is "
    "damaged, or its disk too slow"
  )
  # The timer can only write where the program is, which another process turns
  # into our message.
  with subprocess.Popen(
    ["sh", "-c", _PRINT, message],
    stdin=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
  ) as printer:
    assert printer.stdin is not None
    faulthandler.dump_traceback_later(limit, exit=True, file=printer.stdin)
    try:
      yield
    finally:
      faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
  sys.exit(_main(*sys.argv[1:]))
