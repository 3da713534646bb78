"""Which run wrote which file of a workdir, with checksums."""

import datetime
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
# These change from run to run, and say so themselves.
_FREE = (NAME, ".lock", "environment.json", "config.json")
_CHUNK = 1 << 24


def keep_ledger(root: str | os.PathLike, environment: dict | None) -> None:
  """Notes, from now on, every file that is completed below a folder.

  Args:
    root: the workdir.
    environment: what this run depends on besides its configuration; None joins
      the run that another process has begun.
  """
  root = pathlib.Path(root).resolve()
  run = sum("path" not in line for line in _lines(root))
  if environment is not None:
    run += 1
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    _append(root, {"run": run, "began": now, **environment})

  def note(path: pathlib.Path) -> None:
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
      name = file.relative_to(root)
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


def _verify_folder(root: pathlib.Path) -> tuple[str, int, int]:
  """Lines on one workdir, and its numbers of bad and of recorded files."""
  runs: dict[int, dict] = {}
  files: dict[str, dict] = {}
  for line in _lines(root):
    if "path" in line:
      files[line["path"]] = line
    elif "run" in line:
      runs[line["run"]] = line
  states: dict[str, list[str]] = {"changed": [], "missing": []}
  whole: dict[int, int] = {}
  for name, line in sorted(files.items()):
    file = root / name
    if not file.is_file():
      states["missing"].append(f"{name} (of run {line['run']})")
    elif (
      file.stat().st_size != line["bytes"] or _sha256(file) != line["sha256"]
    ):
      states["changed"].append(f"{name} (of run {line['run']})")
    else:
      whole[line["run"]] = whole.get(line["run"], 0) + 1
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
    os.write(file, data)
  finally:
    os.close(file)


def _lines(root: pathlib.Path) -> Iterator[dict]:
  """The whole lines of a record; a killed process may have left half a one."""
  path = root / NAME
  for text in path.read_text().splitlines() if path.exists() else ():
    try:
      line = json.loads(text)
    except ValueError:
      continue
    if isinstance(line, dict):
      yield line


def _sha256(path: pathlib.Path) -> str:
  digest = hashlib.sha256()
  with open(path, "rb") as file:
    while chunk := file.read(_CHUNK):
      digest.update(chunk)
  return digest.hexdigest()
