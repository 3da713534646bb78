"""The verify stage: checks the files of a workdir against its manifest."""

import collections
import os
import pathlib
from typing import Any

from mrf_jax.command_line.inputs import check_inputs
from mrf_jax.dataset.identity import ScanIdentity
from mrf_jax.errors import UserError
from mrf_jax.experiment.sources import changed_scans
from mrf_jax.workdir.manifest import NAME, Manifest, is_recorded


def verify_files(options: dict[str, Any]) -> None:
  """Prints the report of `verify`."""
  check_inputs("verify", options)
  print(verify(options["workdir"]))


def verify(root: str | os.PathLike) -> str:
  """Report on each file of a workdir: by which run, changed, or missing.

  The workdirs of its questions are checked, too, and the scans that results
  were made from, wherever they lie.

  Raises:
    UserError: there is no manifest, a file is missing or was changed, or a scan
      is another one; the message counts them, and the report is printed before.
  """
  root = pathlib.Path(root)
  if not (root / NAME).exists():
    raise UserError(f"{root}: is not a workdir with a manifest ({NAME})")
  variants = sorted(path.parent for path in root.glob(f"questions/*/*/{NAME}"))
  lines, n_bad, n_files, n_scans = [], 0, 0, 0
  seen: dict[str, ScanIdentity | str] = {}
  for folder in (root, *variants):
    manifest = Manifest(folder)
    report, bad = _verify_folder(manifest)
    scans, n_changed = changed_scans(folder, seen)
    lines += [*report, *scans]
    n_bad += bad
    n_scans += n_changed
    n_files += len(manifest.files)
  if n_bad:
    print("\n".join(lines))
    raise UserError(
      f"{root}: {n_bad} of {n_files} files are not as they were written"
    )
  if n_scans:
    print("\n".join(lines))
    raise UserError(
      f"{root}: {n_scans} of the scans that its results were made from have "
      "changed; put them back, or choose another --workdir for those of now"
    )
  return "\n".join(lines)


def _verify_folder(manifest: Manifest) -> tuple[list[str], int]:
  """Report on one workdir, and its number of changed and missing files."""
  n_whole: collections.Counter[int] = collections.Counter()
  names: dict[str, list[str]] = {"changed": [], "missing": [], "unknown": []}
  for name in sorted(manifest.files):
    state, run = manifest.state(name)
    if state == "whole":
      n_whole[run] += 1
    else:
      names[state].append(f"  {state}: {name} (of run {run})")
  lines = [f"{manifest.root}"]
  for run, count in sorted(n_whole.items()):
    text = _describe(manifest.runs.get(run))
    lines.append(f"  {count} files as run {run} wrote them: {text}")
  lines += [f"  damaged manifest: line {n} of {NAME}" for n in manifest.damaged]
  lines += [*names["changed"], *names["missing"], *names["unknown"]]
  for file in sorted(manifest.root.rglob("*")):
    inside = file.relative_to(manifest.root)
    known = str(inside) in manifest.files
    # Such as files of a user.
    if file.is_file() and is_recorded(inside) and not known:
      lines.append(f"  not recorded: {inside}")
  return lines, len(names["changed"]) + len(names["missing"])


def _describe(run: dict | None) -> str:
  """Date, code, machine and seed of a run."""
  if run is None:
    return "the manifest's line of this run is damaged"
  devices = [str(device) for device in run["devices"]]
  kinds = ", ".join(sorted(set(devices)))
  return (
    f"{run['began']}, commit {run.get('git_commit')}, Python "
    f"{run.get('python')}, jax {run['versions'].get('jax')}, "
    f"{len(devices)} × {kinds}, seed {run.get('seed')}"
  )
