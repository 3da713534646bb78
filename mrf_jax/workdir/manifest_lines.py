"""The lines of a workdir's record, each with a checksum of its own."""

import errno
import json
import os
import pathlib
import zlib
from typing import NamedTuple

from mrf_jax.errors import UserError

NAME = "files.jsonl"
# Of all else in the line; earlier versions wrote none.
_OWN = "crc32"
# What each kind of line must say, by the key that tells the kind.
_KINDS: dict[str, dict[str, type]] = {
  "path": {"path": str, "sha256": str, "bytes": int, "run": int},
  "folder": {"folder": str, "run": int},
  "gone": {"gone": str, "run": int},
  "began": {"began": str, "run": int},
}
# What it may say besides.
_MAY = {"versions": dict, "devices": list}


class Lines(NamedTuple):
  """A record as it is found.

  Attributes:
    sound: its lines, in their order.
    damaged: text of the others by its number, from 1 on: half a line of a
      process that was killed, or one that was changed since.
  """

  sound: list[dict]
  damaged: dict[int, str]


def append(root: pathlib.Path, line: dict) -> None:
  """Adds one line in one write, so that processes do not mix theirs.

  Args:
    root: the workdir.
    line: of one of the kinds.

  Raises:
    OSError: it cannot be written.
  """
  line = {**line, _OWN: _checksum(line)}
  # Of its own, even behind half a line of a process that was killed.
  data = ("\n" + json.dumps(line) + "\n").encode()
  file = os.open(root / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
  try:
    # Less than all is written where the disk is nearly full.
    if os.write(file, data) < len(data):
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
  finally:
    os.close(file)


def read(root: pathlib.Path) -> Lines:
  """The record of a workdir; without one, no lines.

  Args:
    root: the workdir.

  Raises:
    UserError: something else has its name.
  """
  path = root / NAME
  if os.path.lexists(path) and not path.is_file():
    raise UserError(
      f"{path}: is no file; remove {path}, and the same command goes on"
    )
  lines = Lines([], {})
  if not path.exists():
    return lines
  texts = path.read_text(errors="replace").split("\n")
  for number, text in enumerate(texts, 1):
    line = _sound(text)
    if line is not None:
      lines.sound.append(line)
    elif text.strip():
      lines.damaged[number] = text
  return lines


def _sound(text: str) -> dict | None:
  """The line, if it says what it is to say and has not changed."""
  try:
    line = json.loads(text)
  # Such as nesting that is deeper than Python goes.
  except (ValueError, RecursionError):
    return None
  if not isinstance(line, dict):
    return None
  own = line.pop(_OWN, None)
  if own is not None and own != _checksum(line):
    return None
  for kind, must in _KINDS.items():
    if kind in line:
      wanted = must | {key: _MAY[key] for key in _MAY.keys() & line.keys()}
      sound = all(isinstance(line.get(key), wanted[key]) for key in wanted)
      return line if sound else None
  return None


def _checksum(line: dict) -> str:
  return f"{zlib.crc32(json.dumps(line).encode()):08x}"
