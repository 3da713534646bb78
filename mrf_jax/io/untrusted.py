"""Opens an untrusted file in a subprocess first, which may crash or be killed.

The libraries for HDF5 and MATLAB files crash on some damaged files, never
return from others, and allocate any memory that a file claims. The trial finds
this if the structure of the file causes it, before a value is read. The first
file costs the start of a Python process, a quarter of a second; that process
imports the libraries and forks for each file.

The standard library was looked at: neither a signal handler nor a thread stops
C code that holds the interpreter's lock, `multiprocessing` imports the main
program again, and a worker that dies breaks its `ProcessPoolExecutor`.

This file is also the program of that process, which must not import anything
else of the package.
"""

import atexit
import contextlib
import ctypes
import faulthandler
import functools
import importlib
import json
import os
import signal
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
  code, text = _server_of(os.getpid()).try_file(kind, os.fspath(path))
  if code == _REFUSED:
    _damaged[identity] = text
  elif code < 0:
    _damaged[identity] = "damaged: its reader crashes, or never returns"
  if identity in _damaged:
    raise ValueError(_damaged[identity])
  if code:
    raise ValueError(f"could not be tried: {text}")
  _sound.add(identity)


def prepare() -> None:
  """Starts the process that tries files, which takes a quarter of a second."""
  _server_of(os.getpid()).prepare()


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


class _Server:
  """The process that tries files, started when the first one comes."""

  def __init__(self):
    self._lock = threading.Lock()
    self._owner = os.getpid()
    self._process: subprocess.Popen[str] | None = None
    atexit.register(self._end)

  def prepare(self) -> None:
    """Starts the process; if it cannot, the first trial will tell."""
    with self._lock, contextlib.suppress(OSError):
      if self._process is None:
        self._process = self._start()

  def try_file(self, kind: str, path: str) -> tuple[int, str]:
    """Exit code of a trial, negative for a signal, and its message."""
    with self._lock:
      try:
        if self._process is None:
          self._process = self._start()
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([kind, path]) + "\n")
        self._process.stdin.flush()
        code, text = json.loads(self._process.stdout.readline())
      except (OSError, ValueError):
        # It is gone; the next file gets another one.
        last = self._end().splitlines()[-1:] or ["no message"]
        return 1, last[0][:300]
      except BaseException:
        # Its answer would be taken for that of the next file.
        self._end()
        raise
      return code, text

  def _start(self) -> "subprocess.Popen[str]":
    return subprocess.Popen(
      [sys.executable, "-P", __file__],
      env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      errors="replace",
    )

  def _end(self) -> str:
    """Ends the process, and returns its standard error."""
    process, self._process = self._process, None
    # A fork that ends like a program leaves it to its parent.
    if process is None or self._owner != os.getpid():
      return ""
    process.kill()
    return process.communicate()[1]


@functools.cache
def _server_of(pid: int) -> _Server:
  """The server of a process; a fork must not share that of its parent."""
  del pid
  return _Server()


def _serve() -> None:
  """Tries the files that the standard input names, until it is closed."""
  # A keyboard's interrupt ends a trial; its server ends with the program.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  for line in sys.stdin:
    answer = _try_in_fork(*json.loads(line))
    print(json.dumps(answer), flush=True)


def _try_in_fork(kind: str, path: str) -> tuple[int, str]:
  """Exit code and message of a trial in a process of its own."""
  library = importlib.import_module("h5py" if kind == HDF5 else "scipy.io")
  reading, writing = os.pipe()
  pid = os.fork()
  if not pid:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    code, text = _try(kind, library, path)
    os.write(writing, text.encode(errors="replace"))
    os._exit(code)
  os.close(writing)
  _, status = os.waitpid(pid, 0)
  with open(reading, errors="replace") as file:
    text = file.read()
  return os.waitstatus_to_exitcode(status), text


def _try(kind: str, library: Any, path: str) -> tuple[int, str]:
  """Opens a file within limits; exit code and message."""
  # Only values of MATLAB files are read here; they may be packed.
  try:
    size = os.path.getsize(path)
    _limit("RLIMIT_AS", _BYTES + (64 * size if kind == MATLAB else 0))
    _limit("RLIMIT_CPU", _CPU_S + size // (20 << 20))
    _open(kind, library, path)
  except Exception as error:
    return _REFUSED, f"{type(error).__name__}: {' '.join(str(error).split())}"[
      :300
    ]
  return 0, ""


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
  _serve()
