"""Programs that JAX compiled for earlier commands, in a folder of the user.

JAX (0.9 to 0.12) has such a cache, but writes its entries in place: what a full
disk or a kill cut off stays for good, and each later process reports it. It
also compiles for the processor that it runs on, which in a home of a cluster
may be another one tomorrow. Here an entry gets its name when it is complete, is
read only as it was written, by its own user, and belongs to one processor.

JAX has no public way to be given a cache. Of its internals this file uses
`jax._src.compilation_cache._cache` and `_cache_initialized`, the same in all
versions that requirements.txt allows; where they are missing, nothing is kept.
"""

import contextlib
import hashlib
import os
import pathlib
import platform
import re
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

from mrf_jax.errors import reason

# Value of the flag that switches the cache off.
NONE = "none"
# Programs are kept up to so many bytes; those that were used last stay.
_MOST_BYTES = 512 << 20
# A disk with less room than this is left alone.
_LEAST_FREE = 256 << 20
# An entry begins with this line and the SHA-256 of its key and its content.
_MAGIC = b"mrf_jax: a program compiled by JAX, 1\n"
_HEAD = len(_MAGIC) + hashlib.sha256().digest_size
_NAME = re.compile("[0-9a-f]{64}")
_FOLDER = re.compile(r"jax-[0-9.]+\w*-[0-9a-f]{16}")
_TEMPORARY = ".new-"
# A file that is being written for so long was left by a process that is dead.
_ABANDONED_S = 24 * 3600
# Lines of /proc/cpuinfo, of x86 and of ARM, that tell processors apart.
_CPU_FIELDS = {
  *("vendor_id", "cpu family", "model", "model name", "stepping", "flags"),
  *("CPU implementer", "CPU architecture", "CPU variant", "CPU part"),
  "Features",
}


def start(choice: str | None, *, warn: Callable[[str], Any]) -> None:
  """Lets JAX find the programs of earlier commands, and keep those of this one.

  To be called before JAX is imported. A cache that JAX has been given by its
  own variables, such as `JAX_COMPILATION_CACHE_DIR`, stays as it is, unless a
  folder or "none" is chosen.

  Args:
    choice: a folder, "none", or None for the user's cache folder.
    warn: called with one line if nothing can be kept, once at most; the
      programs are compiled then, as without a cache.
  """
  folder = root = None
  if choice != NONE and not (choice is None and _is_set_up()):
    try:
      root = _default() if choice is None else pathlib.Path(choice).absolute()
      folder = _prepared(root)
    # A system without home folders has no cache folder: RuntimeError.
    except (OSError, RuntimeError, ValueError) as error:
      warn(_sentence(error, root))
  if folder is not None:
    # XLA calls preferences of its own compiler missing features of the
    # processor, in some lines for each program that it loads.
    # The import of JAX sets 1, which a parent process may have handed on.
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
      os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
  import jax

  if choice == NONE:
    jax.config.update("jax_enable_compilation_cache", False)
  elif folder is not None:
    _install(ProgramCache(folder, warn))


def _is_set_up() -> bool:
  """Whether the user has given JAX a cache, or has switched it off."""
  enabled = os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "true").lower()
  return bool(os.environ.get("JAX_COMPILATION_CACHE_DIR")) or enabled in (
    *("0", "f", "false", "n", "no", "off"),
  )


def _sentence(error: Exception, folder: pathlib.Path | None) -> str:
  """Words for the user on why a folder keeps nothing."""
  why = reason(error)
  if folder is not None and str(folder) not in why:
    why = f"{folder}: {why}"
  return (
    f"compiled programs are not kept for the next command ({why}); "
    f"--compilation_cache is a folder for them, or {NONE}"
  )


def _default() -> pathlib.Path:
  """The user's cache folder by the rules of the system."""
  import platformdirs

  folder = platformdirs.user_cache_path("mrf_jax", appauthor=False)
  if not folder.is_absolute():
    raise RuntimeError(f"{folder}: this user has no cache folder")
  return folder


def _prepared(root: pathlib.Path) -> pathlib.Path:
  """The folder of this processor and these versions, made if it is missing.

  Raises:
    OSError: it cannot be made, or others could put programs into it.
  """
  folder = root / _machine()
  for path in (*reversed(root.parents), root, folder):
    if not path.exists():
      # Folders for caches belong to their user alone (XDG).
      path.mkdir(mode=0o700, exist_ok=True)
    elif not path.is_dir():
      raise NotADirectoryError(f"{path} is not a folder")
  for path in (root, folder):
    _check_owner(path.stat(), path)
  return folder


def _check_owner(status: os.stat_result, path: pathlib.Path) -> None:
  """Raises `PermissionError` if others could have written a file or folder."""
  if not hasattr(os, "geteuid"):
    return
  if status.st_uid != os.geteuid():
    raise PermissionError(f"{path} belongs to another user")
  if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    raise PermissionError(
      f"{path} can be written by others, whose programs would be run"
    )


def _machine() -> str:
  """Name for all that a program depends on and JAX's keys do not tell.

  These are the processor, and the number of its cores that may be used: on
  another number the same sums are divided in another way.
  """
  try:
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
      lines = {
        line for line in file if line.partition(":")[0].strip() in _CPU_FIELDS
      }
  except OSError:
    # Without a description every host is a machine of its own.
    lines = {platform.processor(), platform.node()}
  affinity = getattr(os, "sched_getaffinity", None)
  parts = [
    platform.system(),
    platform.machine(),
    *sorted(lines),
    str(os.cpu_count()),
    str(len(affinity(0)) if affinity else 0),
    *(os.environ.get(name, "") for name in ("NPROC", "XLA_FLAGS")),
    *(metadata.version(name) for name in ("jax", "jaxlib")),
  ]
  digest = hashlib.sha256("\0".join(parts).encode())
  return f"jax-{metadata.version('jax')}-{digest.hexdigest()[:16]}"


def _install(cache: "ProgramCache") -> None:
  """Makes JAX use a cache, if it is a JAX that can be given one."""
  import jax
  from jax._src import compilation_cache as internals

  if not {"_cache", "_cache_initialized"} <= vars(internals).keys():
    return
  internals._cache = cache  # type: ignore[assignment]
  internals._cache_initialized = True
  # JAX keeps only what took a second to compile; of many small programs that is
  # nothing.
  name = "jax_persistent_cache_min_compile_time_secs"
  if name.upper() not in os.environ:
    jax.config.update(name, 0.0)


class ProgramCache:
  """Entries by their keys: what JAX calls of a cache, and safe at any moment.

  Nothing that happens to a file here ends the program or changes a result.
  """

  def __init__(self, folder: pathlib.Path, warn: Callable[[str], Any]):
    # JAX's own name for it.
    self._path = folder
    self._warn = warn
    self._lock = threading.Lock()
    self._writes = True
    self._n_bytes: int | None = None

  def get(self, key: str) -> bytes | None:
    """The entry of a key, or None if it is not there, or not as written."""
    path = self._file(key)
    # Not a link that leads elsewhere.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)
    flags |= getattr(os, "O_BINARY", 0)
    try:
      with open(os.open(path, flags), "rb") as file:
        _check_owner(os.fstat(file.fileno()), path)
        content = file.read()
      value = content[_HEAD:]
      if content[:_HEAD] != _head(key, value):
        path.unlink()
        return None
    except OSError:
      return None
    # Its last use.
    with contextlib.suppress(OSError):
      os.utime(path)
    return value

  def put(self, key: str, value: bytes) -> None:
    """Keeps an entry, complete or not at all."""
    with self._lock:
      if not self._writes:
        return
      try:
        self._make_room(len(value))
        _replace(self._file(key), _head(key, value) + value)
      except OSError as error:
        self._writes = False
        self._warn(_sentence(error, self._path.parent))

  def _file(self, key: str) -> pathlib.Path:
    return self._path / hashlib.sha256(key.encode()).hexdigest()

  def _make_room(self, n_bytes: int) -> None:
    """Removes what was not used for longest, of all versions, above a limit.

    Raises:
      OSError: the disk is nearly full.
    """
    if shutil.disk_usage(self._path).free < _LEAST_FREE + n_bytes:
      raise OSError(f"less than {_LEAST_FREE >> 20} MiB are free")
    if self._n_bytes is not None:
      self._n_bytes += n_bytes
      if self._n_bytes <= _MOST_BYTES:
        return
    files = sorted(_entries(self._path.parent), reverse=True)
    total = n_bytes
    for _, size, path in files:
      total += size
      # Room for more than this one: not every entry should look at all others.
      if total > 0.9 * _MOST_BYTES:
        path.unlink(missing_ok=True)
        total -= size
    self._n_bytes = total


def _head(key: str, value: bytes) -> bytes:
  digest = hashlib.sha256(key.encode() + b"\0")
  digest.update(value)
  return _MAGIC + digest.digest()


def _replace(path: pathlib.Path, content: bytes) -> None:
  """Writes a file under another name, and moves it into place."""
  handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
  try:
    with open(handle, "wb") as file:
      file.write(content)
    os.replace(temporary, path)
  except BaseException:
    pathlib.Path(temporary).unlink(missing_ok=True)
    raise


def _entries(root: pathlib.Path) -> list[tuple[float, int, pathlib.Path]]:
  """Last use, bytes and path of all entries; removes what was left half done.

  Others may remove files meanwhile.
  """
  found = []
  # A user may have chosen a folder that holds more than this.
  folders = [p for p in root.iterdir() if _FOLDER.fullmatch(p.name)]
  for path in (path for folder in folders for path in folder.iterdir()):
    with contextlib.suppress(OSError):
      status = path.lstat()
      if _NAME.fullmatch(path.name):
        found.append((status.st_mtime, status.st_size, path))
      elif (
        path.name.startswith(_TEMPORARY)
        and status.st_mtime < time.time() - _ABANDONED_S
      ):
        path.unlink()
  return found
