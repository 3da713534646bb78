"""Which run wrote which file of a workdir, with checksums."""

import datetime
import errno
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from mrf_jax.errors import UserError
from mrf_jax.files import observe

NAME = "files.jsonl"
# Folders of workdirs of their own, and of files that come and go or grow.
_NOT_RECORDED = ("questions", "checkpoints", "metrics", "profile")
# What runs leave behind that come to nothing.
OF_RUNS = (NAME, ".lock", "errors.log")
# These change from run to run, and say so themselves.
_FREE = (*OF_RUNS, "environment.json", "config.json")
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
  run = sum("began" in line for line in _lines(root))
  if environment is not None:
    run += 1
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    _append(root, {"run": run, "began": now, **environment})

  def note(temporary: pathlib.Path, path: pathlib.Path) -> None:
    is_folder = temporary.is_dir()
    if is_folder:
      # Files of the folder that stands there will be gone.
      _append(root, {"folder": str(path.relative_to(root)), "run": run})
    for file in sorted(temporary.rglob("*")) if is_folder else [temporary]:
      name = (path / file.relative_to(temporary)).relative_to(root)
      if file.is_file() and _is_recorded(name):
        entry = {"path": str(name), "sha256": _sha256(file), "run": run}
        _append(root, {**entry, "bytes": file.stat().st_size})

  observe(root, note)


def verify_files(options: dict[str, Any]) -> None:
  """The verify stage: prints what `verify` says.

  Args:
    options: values of the flags by name; `workdir` is used.

  Raises:
    UserError: see `verify`.
  """
  if not options["workdir"]:
    raise UserError("--workdir is missing")
  print(verify(options["workdir"]))


def verify(root: str | os.PathLike) -> str:
  """Whether each file is the one that was written, and by what.

  Args:
    root: a workdir; those of its questions are looked at too.

  Returns:
    The answer in words.

  Raises:
    UserError: there is no record, or a file is missing or was changed since;
      the message counts them, and the answer so far is printed.
  """
  root = pathlib.Path(root)
  folders = [
    root,
    *sorted(p.parent for p in root.glob(f"questions/*/*/{NAME}")),
  ]
  if not (root / NAME).exists():
    raise UserError(f"{root}: is no workdir with a record ({NAME})")
  said, n_bad, n_files = [], 0, 0
  for folder in folders:
    text, bad, files = _verify_folder(folder)
    said.append(text)
    n_bad += bad
    n_files += files
  answer = "\n".join(said)
  if n_bad:
    print(answer)
    raise UserError(
      f"{root}: {n_bad} of {n_files} files are not as they were written"
    )
  return answer


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


def check_lent(root: str | os.PathLike, part: str) -> None:
  """Refuses another workdir from which something is taken, if it was damaged.

  Looked at once a process, which may take from it many times.

  Args:
    root: that workdir.
    part: what is taken, such as `data`.

  Raises:
    UserError: a file is not the one that was written.
  """
  key = (pathlib.Path(root).resolve(), part)
  if key in _looked_at:
    return
  found = _first_damaged(pathlib.Path(root), (f"{part}/",))
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
  _, files = _recorded(root)
  for name, lines in sorted(files.items()):
    # A bundle is a folder: models/METHOD/fold-K.
    whole = root.joinpath(*pathlib.Path(name).parts[:3])
    if name.startswith(parts) and os.path.lexists(whole):
      state, run = _state(root / name, lines)
      if state != "whole":
        return root / name, whole, run
  return None


def _recorded(
  root: pathlib.Path,
) -> tuple[dict[int, dict], dict[str, list[dict]]]:
  """Runs by number, and what was noted of each file by its name.

  A file is noted a moment before it gets its name, so that the one before may
  still stand: the newest line is the last of several. Files of folders that
  were replaced are not listed, unless the folder before still stands.
  """
  runs: dict[int, dict] = {}
  files: dict[str, list[dict]] = {}
  replaced: dict[str, list[dict]] = {}
  newest: dict[str, int] = {}

  def replace(folder: str) -> None:
    for name in [name for name in files if name.startswith(folder + "/")]:
      replaced[name] = files.pop(name)

  for line in _lines(root):
    if "path" in line:
      name = line["path"]
      bundle = "/".join(name.split("/")[:3])
      # Versions that did not note folders drew new names for each bundle.
      if name.startswith("models/") and line["run"] > newest.get(bundle, 0):
        replace(bundle)
        newest[bundle] = line["run"]
      files.setdefault(name, replaced.pop(name, [])).append(line)
    elif "folder" in line:
      replace(line["folder"])
    elif "run" in line:
      runs[line["run"]] = line
  return runs, files


def _state(file: pathlib.Path, lines: list[dict]) -> tuple[str, int]:
  """`whole`, `changed` or `missing`, and the run that wrote it."""
  if not os.path.lexists(file):
    return "missing", lines[-1]["run"]
  if file.is_file():
    size, found = file.stat().st_size, None
    for line in reversed(lines):
      if line["bytes"] == size:
        found = found or _sha256(file)
        if line["sha256"] == found:
          return "whole", line["run"]
  return "changed", lines[-1]["run"]


def _verify_folder(root: pathlib.Path) -> tuple[str, int, int]:
  """Lines on one workdir, and its numbers of bad and of recorded files."""
  runs, files = _recorded(root)
  states: dict[str, list[str]] = {"changed": [], "missing": []}
  whole: dict[int, int] = {}
  for name, lines in sorted(files.items()):
    state, writer = _state(root / name, lines)
    if state == "whole":
      whole[writer] = whole.get(writer, 0) + 1
    else:
      states[state].append(f"{name} (of run {writer})")
  said = [f"{root}"]
  for number, run in runs.items():
    if number in whole:
      said.append(
        f"  {whole[number]} files as run {number} wrote them: {_run(run)}"
      )
  n_bad = 0
  for state, names in states.items():
    said += [f"  {state}: {name}" for name in names]
    n_bad += len(names)
  said += [f"  not recorded: {name}" for name in _others(root, files)]
  return "\n".join(said), n_bad, len(files)


def _run(run: dict) -> str:
  """What a run was, in words."""
  versions = run.get("versions") or {}
  devices = run.get("devices") or []
  kinds = ", ".join(sorted(set(devices)))
  return (
    f"{run.get('began')}, commit {run.get('git_commit')}, Python "
    f"{run.get('python')}, jax {versions.get('jax')}, "
    f"{len(devices)} × {kinds}, seed {run.get('seed')}"
  )


def _others(root: pathlib.Path, files: dict) -> Iterator[str]:
  """Files that nobody noted, such as those of a user."""
  for file in sorted(root.rglob("*")):
    name = file.relative_to(root)
    if file.is_file() and _is_recorded(name) and str(name) not in files:
      yield str(name)


def _is_recorded(name: pathlib.Path) -> bool:
  return name.parts[0] not in _NOT_RECORDED and str(name) not in _FREE


def _append(root: pathlib.Path, line: dict) -> None:
  """One line in one write, so that processes do not mix theirs."""
  # Of its own, even behind half a line of a process that was killed.
  data = ("\n" + json.dumps(line) + "\n").encode()
  file = os.open(root / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
  try:
    # Less than all is written where the disk is nearly full.
    if os.write(file, data) < len(data):
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
  finally:
    os.close(file)


def _lines(root: pathlib.Path) -> Iterator[dict]:
  """The whole lines of a record; a killed process may have left half a one."""
  path = root / NAME
  if path.is_dir():
    raise UserError(
      f"{path}: is a folder; remove {path}, and the same command goes on"
    )
  if not path.exists():
    return
  for text in path.read_text(errors="replace").splitlines():
    try:
      line = json.loads(text)
    except ValueError:
      continue
    if isinstance(line, dict) and _is_sound(line):
      yield line


def _is_sound(line: dict) -> bool:
  """Whether a line of a record has what it is to say."""
  if "path" in line:
    return line.keys() >= {"sha256", "bytes", "run"} and isinstance(
      line["run"], int
    )
  return "run" in line


def _sha256(path: pathlib.Path) -> str:
  digest = hashlib.sha256()
  with open(path, "rb") as file:
    while chunk := file.read(_CHUNK):
      digest.update(chunk)
  return digest.hexdigest()
