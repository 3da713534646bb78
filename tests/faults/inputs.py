"""Bad inputs, each given to the command that would read it."""

import hashlib
import pathlib
import shutil
from collections.abc import Iterator
from typing import NamedTuple

from corpus import Case
from sources import Source

from tests.launcher import Done, Launcher

_LONGEST_S = 20
_LARGEST_MIB = 2048


class Answer(NamedTuple):
  """What a command said to a bad input."""

  case: Case
  done: Done
  # What was not as it should be; empty if all was.
  wrong: str


def try_inputs(
  cases: Iterator[Case], sources: dict[str, Source], launch: Launcher
) -> Iterator[Answer]:
  """Gives each bad input, made from a sound one, to its command."""
  for case in cases:
    if case.path is not None:
      case.path.parent.mkdir(exist_ok=True)
      _copy(sources.get(case.kind), case.path)
      case.damage(case.path)
      folder = case.path.parent
      out = folder / "out"
    else:
      out = sources["subject file"].path.parent / "out"
      folder = out.parent
    before = _digest(folder)
    done = launch(*(flag.format(out=out) for flag in case.flags))
    yield Answer(case, done, _wrong(done, before != _digest(folder)))
    if case.path is not None:
      shutil.rmtree(folder)


def _copy(source: Source | None, path: pathlib.Path) -> None:
  if source is not None and source.path.is_dir():
    shutil.copytree(source.path, path)
  elif source is not None:
    shutil.copyfile(source.path, path)


def _digest(folder: pathlib.Path) -> str:
  """Of all names and bytes in a folder."""
  digest = hashlib.sha256()
  for path in sorted(folder.rglob("*")):
    digest.update(f"{path} {path.is_dir()}".encode())
    if path.is_file():
      digest.update(path.read_bytes())
  return digest.hexdigest()


def _wrong(done: Done, written: bool) -> str:
  lines = [x for x in done.stderr.splitlines() if not x.endswith(" ...")]
  if done.returncode == 0:
    return "it was taken"
  if done.returncode < 0:
    return f"the process died by signal {-done.returncode}"
  if "Traceback" in done.stderr + done.stdout:
    return "a traceback"
  if len(lines) != 1 or not lines[0].startswith("error: "):
    return f"{len(lines)} lines"
  if lines[0].startswith("error: unexpected") or "errors.log" in lines[0]:
    return "an error that was not foreseen"
  if done.seconds > _LONGEST_S:
    return f"{done.seconds:.0f} s"
  if done.peak_mib > _LARGEST_MIB:
    return f"{done.peak_mib:.0f} MiB"
  if written:
    return "something was written"
  return ""
