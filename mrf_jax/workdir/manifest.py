"""Which run wrote which file of a workdir, with checksums."""

import datetime
import hashlib
import json
import os
import pathlib
from typing import Any, NamedTuple

from mrf_jax.errors import UserError
from mrf_jax.io.atomic import observe
from mrf_jax.workdir import manifest_lines
from mrf_jax.workdir.manifest_lines import NAME, append

# Folders of workdirs of their own, and of files that come and go or grow.
_NOT_RECORDED = ("questions", "checkpoints", "metrics", "profile")
# What runs leave behind that come to nothing.
OF_RUNS = (NAME, ".lock", "errors.log")
# These change from run to run, and say so themselves.
_FREE = (*OF_RUNS, "environment.json")
# What a later run reads instead of making it again.
_REUSED = (
  "data/",
  "raw/",
  "models/",
  "maps/",
  "figures/subject-",
  "benchmark.json",
)
_CHUNK = 1 << 24


def keep_ledger(root: str | os.PathLike, environment: dict | None) -> None:
  """Notes, from now on, every file that is completed below a folder.

  Args:
    root: the workdir.
    environment: what this run depends on besides its configuration; None joins
      the run that another process has begun.
  """
  root = pathlib.Path(root).resolve()
  lines = manifest_lines.read(root).sound
  run = max((line["run"] for line in lines), default=0)
  if environment is not None:
    run += 1
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    append(root, {"run": run, "began": now, **environment})

  def note(temporary: pathlib.Path | None, path: pathlib.Path) -> None:
    if not is_recorded(path.relative_to(root)):
      return
    if temporary is None:
      append(root, {"gone": str(path.relative_to(root)), "run": run})
      return
    is_folder = temporary.is_dir()
    if is_folder:
      # Files of the folder that stands there will be gone.
      append(root, {"folder": str(path.relative_to(root)), "run": run})
    for file in sorted(temporary.rglob("*")) if is_folder else [temporary]:
      name = (path / file.relative_to(temporary)).relative_to(root)
      if file.is_file():
        entry = {"path": str(name), "sha256": _sha256(file), "run": run}
        append(root, {**entry, "bytes": file.stat().st_size})

  observe(root, note)


def check_reused(root: str | os.PathLike) -> None:
  """Refuses a workdir if what stands in it was damaged since it was written.

  What is not there is not missed: it is made again.

  Args:
    root: the workdir.

  Raises:
    UserError: a file is not the one that was written; the line says what to
      remove.
  """
  found = _first_damaged(pathlib.Path(root), _REUSED)
  if found:
    file, whole, run = found
    raise UserError(
      f"{file}: is not as run {run} wrote it; remove {whole}, and the same "
      "command makes it again"
    )


def changed_since(root: str | os.PathLike, name: str) -> dict[str, Any] | None:
  """What was noted of a file that is no longer as a run wrote it.

  Args:
    root: the workdir.
    name: of the file there.

  Returns:
    `run`, `sha256` and `bytes` of the newest; None where the file is whole, was
    never noted, or is not there.
  """
  root = pathlib.Path(root)
  record = read_record(root)
  if name not in record.files or not os.path.lexists(root / name):
    return None
  state, _ = file_state(root, name, record)
  return record.files[name][-1] if state == "changed" else None


def check_borrowed(root: str | os.PathLike, part: str) -> None:
  """Refuses another workdir from which something is taken, if it was damaged.

  Its configuration is looked at too, which says what it lends.

  All this once a process, which may take from it many times.

  Args:
    root: that workdir.
    part: what is taken, such as `data`.

  Raises:
    UserError: a file is not the one that was written.
  """
  key = (pathlib.Path(root).resolve(), part)
  if key in _looked_at:
    return
  found = _first_damaged(pathlib.Path(root), (f"{part}/", "config.json"))
  if found:
    file, whole, run = found
    raise UserError(
      f"{file}: is not as run {run} wrote it; remove {whole}, and the command "
      f"that made {root} makes it again"
    )
  _looked_at.add(key)


_looked_at: set[tuple[pathlib.Path, str]] = set()


def _first_damaged(
  root: pathlib.Path, parts: tuple[str, ...]
) -> tuple[pathlib.Path, pathlib.Path, int] | None:
  """A file, what to remove of the workdir, and the run that wrote it."""
  record = read_record(root)
  for name in sorted(record.files):
    # A bundle is a folder: models/METHOD/fold-K.
    whole = root.joinpath(*pathlib.Path(name).parts[:3])
    if name.startswith(parts) and os.path.lexists(whole):
      state, run = file_state(root, name, record)
      if state in ("changed", "missing"):
        return root / name, whole, run
  return None


class _Record(NamedTuple):
  """What a record says.

  Attributes:
    runs: by number.
    files: what was noted of each file by its name.
    damaged: text of damaged lines by number.
  """

  runs: dict[int, dict]
  files: dict[str, list[dict]]
  damaged: dict[int, str]


def read_record(root: pathlib.Path) -> _Record:
  """The record of a workdir.

  A file is noted a moment before it gets its name, so that the one before may
  still stand: the newest line is the last of several. Files of folders that
  were replaced are not listed, unless the folder before still stands.
  """
  lines, damaged = manifest_lines.read(root)
  record = _Record({}, {}, damaged)
  replaced: dict[str, list[dict]] = {}
  newest: dict[str, int] = {}

  def replace(folder: str) -> None:
    for name in [n for n in record.files if n.startswith(folder + "/")]:
      replaced[name] = record.files.pop(name)

  for line in lines:
    if "path" in line:
      name = line["path"]
      bundle = "/".join(name.split("/")[:3])
      # Versions that did not note folders drew new names for each bundle.
      if name.startswith("models/") and line["run"] > newest.get(bundle, 0):
        replace(bundle)
        newest[bundle] = line["run"]
      record.files.setdefault(name, replaced.pop(name, [])).append(line)
    elif "folder" in line:
      replace(line["folder"])
    elif "gone" in line:
      record.files.pop(line["gone"], None)
    else:
      record.runs[line["run"]] = line
  return record


def file_state(
  root: pathlib.Path, name: str, record: _Record
) -> tuple[str, int]:
  """`whole`, `changed`, `missing` or `unknown`, and the run that wrote it.

  Nothing is said against a file that a damaged line of the record may speak of.
  """
  file, lines, found = root / name, record.files[name], None
  if file.is_file():
    size = file.stat().st_size
    if record.damaged or any(line["bytes"] == size for line in lines):
      found = _sha256(file)
    for line in reversed(lines):
      if line["sha256"] == found:
        return "whole", line["run"]
  state = "changed" if os.path.lexists(file) else "missing"
  if any(_may_speak_of(name, found, text) for text in record.damaged.values()):
    state = "unknown"
  return state, lines[-1]["run"]


def _may_speak_of(name: str, sha256: str | None, text: str) -> bool:
  """Whether a damaged line has a file's name, its folder's, or its checksum."""
  path = pathlib.PurePosixPath(name)
  return (sha256 is not None and sha256 in text) or any(
    json.dumps(str(part)) in text for part in (path, *path.parents)
  )


def is_recorded(name: pathlib.Path) -> bool:
  """Whether the record is to have a file of the workdir."""
  return name.parts[0] not in _NOT_RECORDED and str(name) not in _FREE


def _sha256(path: pathlib.Path) -> str:
  digest = hashlib.sha256()
  with open(path, "rb") as file:
    while chunk := file.read(_CHUNK):
      digest.update(chunk)
  return digest.hexdigest()
