"""Disks that fill up, file systems that refuse, files that break."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from stages import Stage, check_whole, leftovers, results, start

from mrf_jax.workdir.manifest import NAME
from tests.launcher import ROOT, Launcher

# What tells files of one kind apart.
_OF_ONE = re.compile(r"(?<=subject-)\d+|(?<=tfevents\.).+")
_SETPRIV = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
# Files of so many bytes at the most.
_LIMITED = """
import os, resource, sys
size = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
os.execv(sys.argv[2], sys.argv[2:])
"""
# A disk of so many bytes, then the same disk with room.
_SMALL_DISK = """
set -e
mount -t tmpfs -o size="$1" tmpfs "$2"
shift 2
code=0; "$@" || code=$?
cp -a "$PLACE/." "$COPIES/full"
[ $code != 0 ] || exit 99
mount -o remount,size=4g "$PLACE"
"$@"
cp -a "$PLACE/." "$COPIES/roomy"
"""


def may_mount() -> bool:
  """Whether this user may have disks of his own."""
  if not shutil.which("unshare"):
    return False
  with tempfile.TemporaryDirectory() as folder:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", folder]
    return subprocess.run(command, capture_output=True).returncode == 0


def without_privileges() -> tuple[str, ...] | None:
  """Begins a command for which rights of files count; None if that fails.

  They do not count for root, unless its capabilities are taken away.
  """
  if os.geteuid():
    return ()
  try:
    subprocess.run([*_SETPRIV, "true"], check=True, capture_output=True)
  except (OSError, subprocess.CalledProcessError):
    return None
  return _SETPRIV


def on_a_full_disk(
  stage: Stage, folder: pathlib.Path, expected, *, size: int
) -> str:
  """Runs a stage where there is not room enough, then where there is.

  Args:
    stage: what is started.
    folder: an empty one.
    expected: content of an undisturbed run.
    size: of the disk, bytes.

  Returns:
    What the first run said.

  Raises:
    AssertionError: it did not fail in one line, something was half written,
      or the second run has other results.
  """
  place = folder / "place"
  for path in (place, folder / "full", folder / "roomy"):
    path.mkdir(parents=True)
  flags = [flag.format(folder=place) for flag in stage.flags]
  done = subprocess.run(
    [
      *("unshare", "-rm", "sh", "-c", _SMALL_DISK, "sh", str(size), str(place)),
      *(sys.executable, "launch.py", *flags),
    ],
    cwd=ROOT,
    env={
      **os.environ,
      "JAX_PLATFORMS": "cpu",
      "PLACE": str(place),
      "COPIES": str(folder),
    },
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, (done.returncode, done.stderr)
  said = _error(done.stderr)
  assert "space" in said, said
  check_whole(folder / "full")
  assert stage.content(folder / "roomy") == expected
  assert not leftovers(folder / "roomy")
  return said


def with_small_files(
  stage: Stage, folder: pathlib.Path, expected, *, size: int
) -> str:
  """Runs a stage that may write no file above a size, then one that may."""
  process = start(
    stage, folder, before=(sys.executable, "-c", _LIMITED, str(size))
  )
  _, text = process.communicate()
  assert process.returncode == 1, text
  said = _error(text)
  assert "too large" in said or "larger than" in said, said
  check_whole(folder)
  _goes_on(stage, folder, expected)
  return said


def where_writing_ends(
  stage: Stage, folder: pathlib.Path, expected, *, after_files: int
) -> str:
  """Takes the right to write away from a run, and gives it back to the next.

  Args:
    stage: what is started.
    folder: an empty one.
    expected: content of an undisturbed run.
    after_files: how many results stand when the right ends, others to come.

  Returns:
    What the run said.
  """
  before = without_privileges()
  assert before is not None, "nothing is refused to this user"
  process = start(stage, folder, before=before)
  while len(results(folder)) < after_files and process.poll() is None:
    time.sleep(0.01)
  _set_writable(folder, False)
  _, text = process.communicate()
  _set_writable(folder, True)
  check_whole(folder)
  assert process.returncode == 1, (process.returncode, text)
  said = _error(text)
  assert re.search("[Pp]ermission denied|cannot be written", said), said
  _goes_on(stage, folder, expected)
  return said


def _set_writable(folder: pathlib.Path, writable: bool) -> None:
  for path in [folder, *folder.rglob("*")]:
    if path.is_dir():
      path.chmod(0o777 if writable else 0o555)


def _goes_on(stage: Stage, folder: pathlib.Path, expected) -> None:
  process = start(stage, folder)
  _, text = process.communicate()
  assert process.returncode == 0, text
  assert stage.content(folder) == expected
  assert not leftovers(folder)


def _error(text: str) -> str:
  """The one line that a failed run said."""
  assert "Traceback" not in text, text
  lines = [x for x in text.splitlines() if x.startswith("error: ")]
  assert len(lines) == 1, text
  assert "unexpected" not in lines[0], text
  return lines[0]


def flip(path: pathlib.Path) -> None:
  """One bit in the middle."""
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 4
  path.write_bytes(data)


def cut(path: pathlib.Path) -> None:
  """Half of it is lost."""
  os.truncate(path, path.stat().st_size // 2)


def to_folder(path: pathlib.Path) -> None:
  """A folder has its name."""
  path.unlink()
  path.mkdir()


def to_nowhere(path: pathlib.Path) -> None:
  """A link to nowhere has its name."""
  path.unlink()
  path.symlink_to("nowhere")


DAMAGES = (flip, cut, to_folder, to_nowhere)


def broken(
  stage: Stage,
  folder: pathlib.Path,
  expected,
  *,
  name: str,
  damage: Callable[[pathlib.Path], None],
  launch: Launcher,
) -> str:
  """Damages a file of a workdir, starts again, and does what it is told.

  Args:
    stage: what has made the workdir.
    folder: holds a copy of it.
    expected: content of an undisturbed run.
    name: of the file, from the folder on.
    damage: what is done to it.
    launch: runs the commands.

  Returns:
    `made again`, or `removed as told` where the run asked for it.

  Raises:
    AssertionError: the run has other results, or did not say in one line what
      is to be done.
  """
  damage(folder / name)
  flags = [flag.format(folder=folder) for flag in stage.flags]
  how = "made again"
  done = launch(*flags)
  if done.returncode:
    said = _error(done.stderr)
    told = re.search(r"remove (\S+?),", said)
    assert told, said
    path = pathlib.Path(told[1])
    assert (folder / name).is_relative_to(path) and path != folder, said
    if path.is_dir() and not path.is_symlink():
      shutil.rmtree(path)
    else:
      path.unlink()
    how = "removed as told"
    done = launch(*flags)
  assert done.returncode == 0, done.stderr
  assert stage.content(folder) == expected, name
  assert not leftovers(folder)
  check_whole(folder)
  return how


def kinds_of_files(folder: pathlib.Path) -> list[str]:
  """One file of each kind in a workdir, and its record.

  A kind is a folder of the workdir and a name, whatever subject, method, fold
  and moment it is of.

  Args:
    folder: the workdir is a folder in it.
  """
  found: dict[tuple, str] = {}
  for name, path in results(folder).items():
    kind = _OF_ONE.sub("", path.name)
    found.setdefault((pathlib.Path(name).parts[1:-1][:1], kind), name)
  records = (str(path.relative_to(folder)) for path in folder.glob(f"*/{NAME}"))
  return sorted([*found.values(), *records])
