"""What a workdir's results are made from, known by its content.

`sources.json` in a workdir holds the identity of each subject (`scans`) and of
each model of another workdir (`models`). Results are not used with other scans
or models than theirs, wherever the files lie and whatever they are called.
"""

import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from mrf_jax.dataset.identity import ScanIdentity, identify
from mrf_jax.dataset.subject import load_subject
from mrf_jax.errors import UserError, one_line, reason
from mrf_jax.io.atomic import write_text, writing_to
from mrf_jax.runtime.progress import notice, progress
from mrf_jax.workdir.workdir import SOURCES, Workdir

# Folders of a workdir that are made from scans.
_FOLDERS = "maps, models and checkpoints"


def identify_files(
  paths: Sequence[pathlib.Path], folders: Iterable[pathlib.Path]
) -> list[dict[str, Any]]:
  """Identity of each subject file, and the state of the file, as in `SOURCES`.

  A file that has not changed since one of the folders recorded it is not read:
  its size and the time of its last change tell, as for git.

  Raises:
    UserError: a file is missing or damaged.
  """
  known = {
    _state(entry, folder): entry
    for folder in folders
    for entry in read_scans(folder) or ()
  }
  found = []
  for path in progress(paths, total=len(paths), text="reading the scans"):
    state = _state_now(path)
    entry = known.get(_state(state, path.parent))
    if entry is None:
      entry = identify(load_subject(path)).to_json()
    found.append({**entry, **state})
  return found


def _state_now(path: pathlib.Path) -> dict[str, Any]:
  """Where a file lies, its size and its last change."""
  try:
    stat = path.stat()
  except OSError as error:
    raise UserError(f"{path}: cannot be read ({reason(error)})") from error
  return {
    "file": str(path.resolve()),
    "bytes": stat.st_size,
    "changed_ns": stat.st_mtime_ns,
  }


def _state(entry: dict[str, Any], folder: pathlib.Path) -> tuple:
  """The same as values; files in a workdir are recorded relative to it."""
  file = (folder / str(entry.get("file"))).resolve()
  return str(file), entry.get("bytes"), entry.get("changed_ns")


def read_scans(root: str | os.PathLike) -> list[dict[str, Any]] | None:
  """Reads the scans of a workdir; None if they were never recorded.

  Raises:
    UserError: the record is damaged.
  """
  return _read(root).get("scans")


def read_models(root: str | os.PathLike) -> dict[str, str]:
  """Reads the checksums of the models that another workdir lent to this one.

  Raises:
    UserError: the record is damaged.
  """
  return _read(root).get("models", {})


def _read(root: str | os.PathLike) -> dict[str, Any]:
  path = pathlib.Path(root) / SOURCES
  if not path.exists():
    return {}
  try:
    sources = json.loads(path.read_text())
    for entry in sources.get("scans", ()):
      ScanIdentity.from_json(entry)
    return {**sources, "models": dict(sources.get("models", {}))}
  except (OSError, AttributeError, TypeError, ValueError) as error:
    raise UserError(
      f"{path}: damaged ({one_line(error)}); if the results are of the same "
      f"scans and models, remove {path}, and the same command writes it again"
    ) from error


def identities(entries: Sequence[dict[str, Any]]) -> list[ScanIdentity]:
  """Identities of the entries of `SOURCES`."""
  return [ScanIdentity.from_json(entry) for entry in entries]


def record(workdir: Workdir, **changes: Any) -> None:
  """Records `scans` or `models`, unless the record is the same already."""
  before = _read(workdir.root)
  now = {"models": {}, **before, **changes}
  if "scans" in now:
    root = workdir.root.resolve()
    now["scans"] = [
      {**entry, "file": _inside(root, entry["file"])} for entry in now["scans"]
    ]
  if now != before:
    text = json.dumps(now, indent=1) + "\n"
    with writing_to(workdir.root):
      write_text(text, workdir.root / SOURCES)


def _inside(root: pathlib.Path, file: str) -> str:
  """Path of a file relative to a folder, which may be moved, if it is in it."""
  path = root / file
  return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def are_known(
  root: str | os.PathLike,
  paths: Sequence[pathlib.Path],
  entries: Sequence[dict[str, Any]],
) -> bool:
  """Whether a workdir is of these scans.

  Returns:
    False if its scans were never recorded, or nothing was made from them.

  Raises:
    UserError: its results are of other scans.
  """
  stored = read_scans(root)
  # The configuration, which is compared too, names the number of scans.
  if stored is None or len(stored) != len(entries):
    return False
  pairs = zip(identities(stored), identities(entries), strict=True)
  for number, (before, now) in enumerate(pairs):
    different = before.differences(now)
    if different and not _made_from_scans(root):
      return False
    if different:
      # The configuration names the files: with others it is another one.
      named = [
        (pathlib.Path(root) / str(e.get("file"))).resolve() for e in stored
      ]
      anew = (
        f", or remove {_FOLDERS} there to make them anew"
        if named == [path.resolve() for path in paths]
        else ""
      )
      raise UserError(
        f"{paths[number]}: is not the scan that the results in {root} were "
        f"made from, {stored[number].get('file')} as it was then (other "
        f"{', '.join(different)}); put it back or choose another "
        f"--workdir{anew}"
      )
  return True


def _made_from_scans(root: str | os.PathLike) -> list[pathlib.Path]:
  """Files in a workdir that were made from scans."""
  folders = (pathlib.Path(root) / name for name in ("maps", "models"))
  made = [path for folder in folders for path in folder.glob("*/*")]
  return [*made, *pathlib.Path(root).glob("checkpoints/*/*/*")]


def notice_unknown(
  root: str | os.PathLike, paths: Sequence[pathlib.Path]
) -> None:
  """Says so if results are used whose scans were never recorded."""
  results = _made_from_scans(root)
  if read_scans(root) is not None or not results:
    return
  notice(
    f"warning: {root} does not say which scans its results were made from; "
    "they are taken to be those of now"
  )
  first = min(path.stat().st_mtime for path in results)
  for path in paths:
    if path.stat().st_mtime > first:
      notice(
        f"warning: {path} is newer than results in {root}; if it was imported "
        "anew since, choose another --workdir"
      )


def study_scans(workdir: Workdir, n_subjects: int) -> list[ScanIdentity]:
  """Identities of a workdir's subjects, which are recorded there.

  Raises:
    UserError: the workdir has results of other scans.
  """
  entries = check_unchanged(workdir, n_subjects)
  record(workdir, scans=entries)
  return identities(entries)


def check_unchanged(workdir: Workdir, n_subjects: int) -> list[dict[str, Any]]:
  """Raises `UserError` if a workdir has results of other scans than its own.

  Returns:
    Its scans of now, as in `SOURCES`.
  """
  paths = [workdir.subject(k) for k in range(n_subjects)]
  entries = identify_files(paths, [workdir.root])
  are_known(workdir.root, paths, entries)
  return entries


def changed_scans(
  root: str | os.PathLike, seen: dict[str, ScanIdentity | str]
) -> tuple[list[str], int]:
  """Lines on the scans of a workdir, and the number that have changed.

  Args:
    root: the workdir.
    seen: scans that were read before, or why they could not be, by their files;
      those of this workdir are added.

  Raises:
    UserError: the record is damaged.
  """
  lines, n_changed = [], 0
  stored = read_scans(root) or ()
  for number, entry in enumerate(stored):
    file = str(pathlib.Path(root) / str(entry.get("file")))
    if not os.path.exists(file):
      lines.append(f"  not there: {file} (scan of subject {number})")
      continue
    if file not in seen:
      try:
        seen[file] = identify(load_subject(file))
      except UserError as error:
        seen[file] = one_line(error)
    now = seen[file]
    before = ScanIdentity.from_json(entry)
    different = [now] if isinstance(now, str) else before.differences(now)
    if different:
      n_changed += 1
      lines.append(
        f"  changed: {file} (scan of subject {number}: other "
        f"{', '.join(different)})"
      )
  n_same = len(stored) - len(lines)
  if n_same:
    lines.insert(0, f"  {n_same} scans as results were made from them")
  return lines, n_changed
