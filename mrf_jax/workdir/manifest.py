"""The manifest of a workdir: which run wrote which file, with checksums.

The library bagit lists a folder once it is finished. A workdir grows while runs
are killed and started again, so each file is recorded as it is completed.
"""

import datetime
import errno
import functools
import hashlib
import json
import os
import pathlib
import zlib
from typing import NamedTuple

from mrf_jax.errors import UserError
from mrf_jax.io.atomic import observe

NAME = "files.jsonl"
# Files that a run leaves behind even if it made no result.
OF_RUNS = (NAME, ".lock", "errors.log")
# Not recorded: files that change in each run; folders whose files grow or go,
# and workdirs of their own.
_FREE_FILES = (*OF_RUNS, "environment.json")
_FREE_FOLDERS = ("questions", "checkpoints", "metrics", "profile")
# What a later run reads instead of computing it again.
_REUSED = (
  "data/",
  "raw/",
  "models/",
  "maps/",
  "figures/subject-",
  "benchmark.json",
)
# Each line is a JSON object: a file was written, a folder replaced, a file
# removed, or a run begun. This key tells which; the types are those of its
# values.
_KINDS: dict[str, dict[str, type]] = {
  "path": {"path": str, "sha256": str, "bytes": int, "run": int},
  "folder": {"folder": str, "run": int},
  "gone": {"gone": str, "run": int},
  "began": {"began": str, "run": int, "versions": dict, "devices": list},
}


class Entry(NamedTuple):
  """A file as a run wrote it: checksum, run, line of the manifest."""

  sha256: str
  run: int
  line: int


class Manifest:
  """What the manifest of a workdir says; without a manifest, nothing.

  Raises UserError if a folder or a dead link has the manifest's name.

  Attributes:
    root: the workdir.
    runs: environment of each run, by its number.
    last_run: number of the newest run; 0 if there is none.
    files: entries of each file by its name, the newest last. An entry is
      written just before the file gets its name: if the run was killed between
      the two, the entry before is the true one.
    damaged: text of lines that were changed, or cut short by a full disk, by
      their numbers from 1.
  """

  def __init__(self, root: str | os.PathLike):
    self.root = pathlib.Path(root)
    self.runs: dict[int, dict] = {}
    self.last_run = 0
    self.files: dict[str, list[Entry]] = {}
    self.damaged: dict[int, str] = {}
    path = self.root / NAME
    if not os.path.lexists(path):
      return
    if not path.is_file():
      raise UserError(
        f"{path}: is not a file; remove {path}, and the same command goes on"
      )
    # Files of replaced folders, in case that the new folder never came.
    replaced: dict[str, list[Entry]] = {}
    texts = path.read_text(errors="replace").split("\n")
    for number, text in enumerate(texts, 1):
      if not text.strip():
        continue
      line = _parse(text)
      if line is None:
        self.damaged[number] = text
        continue
      self.last_run = max(self.last_run, line["run"])
      if "path" in line:
        name, entry = line["path"], Entry(line["sha256"], line["run"], number)
        self.files.setdefault(name, replaced.pop(name, [])).append(entry)
      elif "folder" in line:
        inside = [n for n in self.files if n.startswith(line["folder"] + "/")]
        replaced |= {name: self.files.pop(name) for name in inside}
      elif "gone" in line:
        self.files.pop(line["gone"], None)
      else:
        self.runs[line["run"]] = line

  def state(self, name: str) -> tuple[str, int]:
    """State of a recorded file, and the number of the run that wrote it.

    The state is `whole`, `changed`, `missing`, or `unknown` if a damaged line
    of the manifest may be about the file.
    """
    path, entries = self.root / name, self.files[name]
    sha256 = _sha256(path) if path.is_file() else None
    for entry in reversed(entries):
      if entry.sha256 == sha256:
        return "whole", entry.run
    newest = entries[-1]
    state = "changed" if os.path.lexists(path) else "missing"
    names = (name, *pathlib.PurePosixPath(name).parents)
    words = [json.dumps(str(name)) for name in names]
    words += [sha256] if sha256 else []
    for number, text in self.damaged.items():
      # A later line may have said that the file, or its folder, was removed.
      removes = number > newest.line and '"path"' not in text
      if (removes and state == "missing") or any(
        word in text for word in words
      ):
        return "unknown", newest.run
    return state, newest.run

  def changed(self, name: str) -> Entry | None:
    """Newest entry of a file that was changed since; None if it was not."""
    is_changed = name in self.files and self.state(name)[0] == "changed"
    return self.files[name][-1] if is_changed else None

  def check(self, parts: tuple[str, ...], remedy: str) -> None:
    """Raises UserError if a file is not as it was written.

    Files are those whose names begin with one of `parts`; missing ones count
    only where the rest of a model bundle exists. The `remedy` of the message is
    the command that makes a file again.
    """
    for name in sorted(self.files):
      # A bundle is a folder, models/METHOD/fold-K, and used as a whole.
      whole = self.root.joinpath(*pathlib.Path(name).parts[:3])
      if name.startswith(parts) and os.path.lexists(whole):
        state, run = self.state(name)
        if state in ("changed", "missing"):
          raise UserError(
            f"{self.root / name}: is not as run {run} wrote it; remove "
            f"{whole}, and {remedy} makes it again"
          )


def check_reused(root: str | os.PathLike) -> None:
  """Raises UserError if a file that the next run will use was changed."""
  Manifest(root).check(_REUSED, "the same command")


@functools.cache
def check_borrowed(root: str | os.PathLike, part: str) -> None:
  """Raises UserError if `part` of another workdir was changed, once a process.

  The part is a folder, such as `data`. Its configuration is checked too.
  """
  parts = (f"{part}/", "config.json")
  Manifest(root).check(parts, f"the command that made {root}")


def record_files(root: str | os.PathLike, environment: dict | None) -> None:
  """Records, from now on, each file that is completed below a folder.

  Args:
    root: the workdir.
    environment: what the results of this run depend on besides its
      configuration; None joins the run that another process has begun.
  """
  root = pathlib.Path(root).resolve()
  run = Manifest(root).last_run
  if environment is not None:
    run += 1
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    _append(root, {"run": run, "began": now, **environment})

  def note(temporary: pathlib.Path | None, path: pathlib.Path) -> None:
    name = path.relative_to(root)
    if not is_recorded(name):
      return
    if temporary is None:
      _append(root, {"gone": str(name), "run": run})
      return
    files = [temporary]
    if temporary.is_dir():
      _append(root, {"folder": str(name), "run": run})
      files = sorted(file for file in temporary.rglob("*") if file.is_file())
    for file in files:
      path = name / file.relative_to(temporary)
      line = {"path": str(path), "sha256": _sha256(file), "run": run}
      _append(root, {**line, "bytes": file.stat().st_size})

  observe(root, note)


def is_recorded(name: pathlib.Path) -> bool:
  """Whether a file of the workdir gets an entry in its manifest."""
  return name.parts[0] not in _FREE_FOLDERS and str(name) not in _FREE_FILES


def _append(root: pathlib.Path, line: dict) -> None:
  # It starts with a line break, because the line before may be cut short.
  text = "\n" + json.dumps({**line, "crc32": _crc32(line)}) + "\n"
  # One unbuffered write, so that lines of several processes do not mix. Where
  # the disk is nearly full it writes a part and raises nothing.
  with open(root / NAME, "ab", buffering=0) as file:
    if file.write(text.encode()) < len(text):
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _parse(text: str) -> dict | None:
  """A line without its checksum; None if it is damaged."""
  try:
    line = json.loads(text)
    if not isinstance(line, dict) or line.pop("crc32", None) != _crc32(line):
      return None
  # RecursionError: brackets nested deeper than Python reads.
  except (ValueError, RecursionError):
    return None
  for kind, types in _KINDS.items():
    if kind in line:
      sound = all(isinstance(line.get(key), types[key]) for key in types)
      return line if sound else None
  return None


def _crc32(line: dict) -> str:
  return f"{zlib.crc32(json.dumps(line).encode()):08x}"


def _sha256(path: pathlib.Path) -> str:
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
