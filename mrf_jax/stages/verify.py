"""The verify stage: files of a workdir against its manifest."""

import os
import pathlib
from collections.abc import Iterator
from typing import Any

from mrf_jax.errors import UserError
from mrf_jax.workdir.manifest import file_state, is_recorded, read_record
from mrf_jax.workdir.manifest_lines import NAME


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
  record = read_record(root)
  states: dict[str, list[str]] = {"changed": [], "missing": [], "unknown": []}
  whole: dict[int, int] = {}
  for name in sorted(record.files):
    state, writer = file_state(root, name, record)
    if state == "whole":
      whole[writer] = whole.get(writer, 0) + 1
    else:
      states[state].append(f"{name} (of run {writer})")
  said = [f"{root}"]
  for number, count in sorted(whole.items()):
    run = record.runs.get(number)
    said.append(
      f"  {count} files as run {number} wrote them: "
      + (_run(run) if run else "its line in the record is damaged")
    )
  said += [f"  damaged record: line {n} of {NAME}" for n in record.damaged]
  n_bad = 0
  for state, names in states.items():
    said += [f"  {state}: {name}" for name in names]
    n_bad += len(names) if state != "unknown" else 0
  said += [f"  not recorded: {name}" for name in _others(root, record.files)]
  return "\n".join(said), n_bad, len(record.files)


def _run(run: dict) -> str:
  """What a run was, in words."""
  versions = run.get("versions") or {}
  devices = [str(device) for device in run.get("devices") or []]
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
    if file.is_file() and is_recorded(name) and str(name) not in files:
      yield str(name)
