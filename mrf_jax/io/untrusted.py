"""A stranger's file is opened by a process that may die of it, first.

The libraries behind HDF5 and MATLAB files crash on some damaged ones, never
come back from others, and ask for any memory that the file names. Where they do
so before a value is read, in the structure of the file, the trial finds it out.
What it costs is a start of Python, a quarter of a second, once for each file.

This file is also the program of that process, which imports nothing else of the
package.
"""

import contextlib
import faulthandler
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

HDF5, MATLAB = "hdf5", "matlab"
# More than any structure wants, of processor time: a slow disk takes none.
_CPU_S = 8
_BYTES = 3 << 29
_REFUSED = 3
# Files that have passed, or that this process has written.
_sound: set[tuple[str, int, int]] = set()
# More than any file wants, from any disk.
_SECONDS = 10.0
_BYTES_PER_S = 5e6
# Says its argument once something comes in, nothing if nothing does.
_SAY = 'read line && echo "error: $0" >&2'


def try_file(path: str | os.PathLike, kind: str) -> None:
  """Refuses a file that would crash, stop or fill this process.

  Args:
    path: the file; where it is not there, its reader will say so.
    kind: `HDF5`, of which structure, attributes and places of all values are
      read, or `MATLAB` (before version 7.3), of which everything is.

  Raises:
    ValueError: it is damaged.
  """
  identity = _identity(path)
  if identity is None or identity in _sound:
    return
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
    raise ValueError(done.stdout.strip())
  if done.returncode < 0:
    raise ValueError("damaged: its reader ends with it, or never comes back")
  if done.returncode:
    last = done.stderr.splitlines()[-1:] or ["no word"]
    raise ValueError(f"could not be tried: {last[0][:300]}")
  _sound.add(identity)


def trust(path: str | os.PathLike) -> None:
  """Spares a file its trial that this process itself has written.

  Args:
    path: the file, complete.
  """
  identity = _identity(path)
  if identity is not None:
    _sound.add(identity)


def _identity(path) -> tuple[str, int, int] | None:
  try:
    found = os.stat(path)
  except OSError:
    return None
  return os.path.realpath(path), found.st_size, found.st_mtime_ns


def _main(kind: str, path: str) -> int:
  """The trial itself, in a process of its own; its exit code."""
  if kind == HDF5:
    import h5py as library
  else:
    import scipy.io as library
  # Values are read here of MATLAB files alone, unpacked at most so much.
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
  """Sets a limit, or leaves a lower one; not every system has all."""
  import resource

  with contextlib.suppress(ValueError, OSError):
    number = getattr(resource, name)
    before = [n for n in resource.getrlimit(number) if n >= 0]
    least = min([value, *before])
    resource.setrlimit(number, (least, least))


def _open(kind: str, library: Any, path: str) -> None:
  if kind == MATLAB:
    library.loadmat(path)
    return
  with library.File(path) as file:
    groups = [file]
    for name in file:
      if isinstance(file.get(name, getlink=True), library.HardLink) and (
        file.get(name, getclass=True) is library.Group
      ):
        groups.append(file[name])
    for group in groups:
      _read_attributes(group)
      for name in group:
        if not isinstance(group.get(name, getlink=True), library.HardLink):
          continue
        item = group[name]
        _read_attributes(item)
        if isinstance(item, library.Dataset) and item.chunks:
          item.id.chunk_iter(lambda chunk: None)


def _read_attributes(item: Any) -> None:
  for name in item.attrs:
    # Of types that are not read here, in files that may be sound.
    with contextlib.suppress(TypeError):
      item.attrs[name]


@contextlib.contextmanager
def time_limit(
  path: str | os.PathLike, *, seconds: float = _SECONDS
) -> Iterator:
  """Ends the program with one line if a block takes far too long.

  Nothing else does it: HDF5 does not come back to Python from some damaged
  files, and holds its lock meanwhile. One block at a time has a limit.

  Args:
    path: the file that the block reads; the larger, the more time it has.
    seconds: that it has besides.
  """
  size = os.path.getsize(path) if os.path.exists(path) else 0
  limit = seconds + size / _BYTES_PER_S
  message = (
    f"{path}: reading it has not come to an end in {limit:.0f} s; it is "
    "damaged, or its disk too slow"
  )
  # The timer can write down where it is, and no other words.
  with subprocess.Popen(
    ["sh", "-c", _SAY, message],
    stdin=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
  ) as speaker:
    assert speaker.stdin is not None
    faulthandler.dump_traceback_later(limit, exit=True, file=speaker.stdin)
    try:
      yield
    finally:
      faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
  sys.exit(_main(*sys.argv[1:]))
