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
import ctypes
import faulthandler
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
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
# Whether this process is a program of ours, which a time limit may end.
_may_end = False
# Shortest wait of the watcher of CPU time, s.
_LEAST_WAIT_S = 0.01
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


def end_this_program() -> None:
  """Allows `time_limit` to end this process, for a program of our own."""
  global _may_end
  _may_end = True


@contextlib.contextmanager
def time_limit(
  path: str | os.PathLike, *, seconds: float = _SECONDS
) -> Iterator:
  """Time limit for reading a file in C: ends our program with one line.

  The program ends because nothing less helps: HDF5 does not return to Python
  from some damaged files, and holds the interpreter's lock meanwhile. A program
  of someone else, who calls this package from Python, is never ended: there
  the trial of `try_file` has to do. Only one block at a time can have a limit.

  Args:
    path: the file that the block reads; a larger one has more time.
    seconds: base time limit, s.
  """
  if not _may_end:
    yield
    return
  size = os.path.getsize(path) if os.path.exists(path) else 0
  # The timer is a clock on the wall, shared by all programs of a machine.
  limit = (seconds + size / _BYTES_PER_S) * _programs_per_core()
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


def _programs_per_core() -> float:
  """How many programs share a core of this machine, at least 1."""
  if not hasattr(os, "getloadavg"):
    return 1.0
  return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class _TooLong(Exception):
  """Raised in a thread whose block has used up its CPU time."""


@contextlib.contextmanager
def cpu_limit(seconds: float) -> Iterator:
  """Limit for the CPU time of a block of Python code, in any thread.

  Waiting for a disk or for other programs does not count. Code in C that holds
  the interpreter's lock is not stopped (see `time_limit`).

  Args:
    seconds: longest CPU time of this thread, s.

  Raises:
    TimeoutError: the block has taken longer, and was stopped.
  """
  thread = threading.get_ident()
  used = _cpu_clock(thread)
  end = used() + seconds
  finished, lock = threading.Event(), threading.Lock()

  def watch():
    # CPU time never runs ahead of the clock on the wall.
    while (left := end - used()) > 0:
      if finished.wait(max(left, _LEAST_WAIT_S)):
        return
    with lock:
      if not finished.is_set():
        _raise_in_thread(thread, _TooLong)

  watcher = threading.Thread(target=watch, daemon=True)
  watcher.start()
  try:
    try:
      yield
    finally:
      with lock:
        finished.set()
      watcher.join()
  except _TooLong:
    raise TimeoutError(
      f"reading it has not come to an end in {seconds:.0f} s of CPU time"
    ) from None


def _cpu_clock(thread: int) -> Callable[[], float]:
  """Clock of a thread's CPU time, s, for any other thread to read."""
  if hasattr(time, "pthread_getcpuclockid"):
    number = time.pthread_getcpuclockid(thread)
    return lambda: time.clock_gettime(number)
  # That of the process runs faster if other threads are busy.
  return time.process_time


def _raise_in_thread(thread: int, error: type[Exception]) -> None:
  """Raises an exception in a thread at its next step in Python."""
  ctypes.pythonapi.PyThreadState_SetAsyncExc(
    ctypes.c_ulong(thread), ctypes.py_object(error)
  )


if __name__ == "__main__":
  sys.exit(_main(*sys.argv[1:]))
