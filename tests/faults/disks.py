"""Disks that fill up, file systems that refuse, files that break."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from edits import Damage, cut, flip, to_folder, to_nowhere
from stages import Stage, check_whole, leftovers, results, start, whole_run

from mrf_jax.workdir.manifest import NAME
from tests.launcher import Launcher

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
size=$1 place=$2 copies=$3
shift 3
mount -t tmpfs -o size="$size" tmpfs "$place"
code=0; "$@" || code=$?
cp -a "$place/." "$copies/full"
[ $code != 0 ] || exit 99
mount -o remount,size=4g "$place"
"$@"
cp -a "$place/." "$copies/roomy"
"""
DAMAGES = (flip, cut, to_folder, to_nowhere)


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
) -> None:
  """Runs a stage where there is not room enough, then where there is.

  Raises:
    AssertionError: it did not fail in one line, something was half written,
      or the second run has other results.
  """
  place = folder / "place"
  for path in (place, folder / "full", folder / "roomy"):
    path.mkdir(parents=True)
  disk = ("sh", "-c", _SMALL_DISK, "sh", str(size), str(place), str(folder))
  process = start(stage, place, before=("unshare", "-rm", *disk))
  _, text = process.communicate()
  assert process.returncode == 0, (process.returncode, text)
  assert "space" in _error(text), text
  check_whole(folder / "full")
  assert stage.content(folder / "roomy") == expected
  assert not leftovers(folder / "roomy")


def with_small_files(
  stage: Stage, folder: pathlib.Path, expected, *, size: int
) -> None:
  """Runs a stage that may write no file above a size, then one that may."""
  limited = (sys.executable, "-c", _LIMITED, str(size))
  process = start(stage, folder, before=limited)
  _, text = process.communicate()
  assert process.returncode == 1, text
  assert re.search("too large|larger than", _error(text)), text
  check_whole(folder)
  assert whole_run(stage, folder) == expected


def where_writing_ends(
  stage: Stage, folder: pathlib.Path, expected, *, after_files: int
) -> None:
  """Takes the right to write away from a run, and gives it back to the next.

  So many results stand when the right ends, and others are to come.
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
  denied = "[Pp]ermission denied|cannot be written"
  assert re.search(denied, _error(text)), text
  assert whole_run(stage, folder) == expected


def _set_writable(folder: pathlib.Path, writable: bool) -> None:
  for path in [folder, *folder.rglob("*")]:
    if path.is_dir():
      path.chmod(0o777 if writable else 0o555)


def _error(text: str) -> str:
  """The one line that a failed run said."""
  assert "Traceback" not in text, text
  lines = [x for x in text.splitlines() if x.startswith("error: ")]
  assert len(lines) == 1, text
  assert "unexpected" not in lines[0], text
  return lines[0]


def broken(
  stage: Stage,
  folder: pathlib.Path,
  expected,
  *,
  name: str,
  damage: Damage,
  launch: Launcher,
) -> str:
  """Damages a file of a finished copy, starts again, and does as it is told.

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
    launch.succeed(*flags)
  assert stage.content(folder) == expected, name
  assert not leftovers(folder)
  check_whole(folder)
  return how


def kinds_of_files(folder: pathlib.Path) -> list[str]:
  """One file of each kind in a workdir, and its record.

  A kind is a folder of the workdir and a name, whatever subject, method, fold
  and moment it is of. The workdir is in the given folder.
  """
  found: dict[tuple, str] = {}
  for name, path in results(folder).items():
    kind = _OF_ONE.sub("", path.name)
    found.setdefault((pathlib.Path(name).parts[1:-1][:1], kind), name)
  records = (str(path.relative_to(folder)) for path in folder.glob(f"*/{NAME}"))
  return sorted([*found.values(), *records])
