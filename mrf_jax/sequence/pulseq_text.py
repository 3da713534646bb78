"""Sections of a Pulseq file, its blocks and its extensions, checked.

`pypulseq` decodes events and shapes, but not the whole file. It makes every
block with all its gradients (61,000 blocks take minutes), reads to the last one
whatever is needed, refuses extensions that it does not know although most do
not matter to a pulse train, and never returns from some damaged texts. So the
table of blocks and the extensions, a few integers a line, are read here, and
`pypulseq` gets a text without them.
"""

import dataclasses
import hashlib
import io
import itertools
import pathlib
import re
import types
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Int64

from mrf_jax.errors import UserError, one_line

# Columns of the table of blocks. Before Pulseq 1.4 DURATION is the number of a
# delay.
NUMBER, DURATION, RF, GX, GY, GZ, ADC, EXTENSION = range(8)
# Echoes, and the share of a readout before them. Here, because flags are
# checked before JAX starts.
ECHOES = {"adc_start": 0.0, "adc_centre": 0.5}
# From Pulseq 1.4 on the table of blocks has durations, and shapes have times.
_WITH_DURATIONS = (1, 4, 0)
# Samples of a shape: ten seconds of a gradient in steps of 10 µs, or one second
# of a pulse in steps of 1 µs. Real ones last some ten milliseconds, but a shape
# that repeats itself can claim any length in a few lines.
_LONGEST_SHAPE = 1_000_000
# Line ends between the last section and the signature that a writer may or may
# not have signed.
_MOST_LINE_ENDS = 3
# A writer that packs all shapes also in Pulseq 1.4 (OutputSequenceData.cpp).
_PACKER = re.compile(r"^# Created by JEMRIS", re.MULTILINE)
# Mark of UTF-8, which some editors put before a text.
_MARK = b"\xef\xbb\xbf"
_BLOCKS, _EXTENSIONS = "[BLOCKS]", "[EXTENSIONS]"


@dataclasses.dataclass(frozen=True)
class PulseqText:
  """Text of a Pulseq file, in parts.

  Attributes:
    path: the file.
    version: major, minor and revision.
    blocks: the table of blocks in the order in which they are played.
    links: number of an extension to its type, its row, and the next one of the
      same block (0 for none).
    names: type of an extension to its name, such as `LABELSET`.
    rows: name of an extension to the words of each row by its number.
    delays_s: delays by their number, s, of a file before Pulseq 1.4; None for a
      later one, whose blocks have durations.
  """

  path: pathlib.Path
  version: tuple[int, int, int]
  blocks: Int64[np.ndarray, "block 8"]
  links: dict[int, tuple[int, int, int]]
  names: dict[int, str]
  rows: dict[str, dict[int, list[str]]]
  delays_s: dict[int, float] | None
  _packs_all: bool
  _sections: dict[str, list[str]]

  def events(self) -> str:
    """Text of the events, as Pulseq 1.4 or later, with a block of none.

    Empty lines stand before each section and after the last one: `pypulseq`
    does not see the end of a file inside a section. Shapes that were packed to
    as many values as samples, such as many sinc pulses, are unpacked: it fails
    at them before Pulseq 1.4, and takes the values for samples from then on.
    """
    lines = []
    for name, rows in self._sections.items():
      if name == _BLOCKS:
        rows = ["1 0 0 0 0 0 0 0"]
      elif name == "[SHAPES]" and self._packs_all:
        rows = _unpacked(rows)
      elif self.delays_s is not None:
        rows = _as_version_1_4(name, rows)
      lines += [name, *rows, "", ""]
    return "\n".join(lines) + "\n"

  def extensions(self, block: Int64[np.ndarray, "8"]) -> list[tuple[str, int]]:
    """Name and row of each extension of a block."""
    found: list[tuple[str, int]] = []
    number, seen = int(block[EXTENSION]), set()
    while number:
      if number in seen or number not in self.links:
        raise ValueError(
          f"block {block[NUMBER]} has extension {number}, which does not exist"
        )
      seen.add(number)
      kind, row, number = self.links[number]
      found.append((self.names.get(kind, f"of type {kind}"), row))
    return found


def read_text(path: pathlib.Path) -> PulseqText:
  """Reads a Pulseq file as far as its sections, blocks and extensions.

  Raises:
    UserError: there is no such file, it is of a version that is not known, was
      damaged or changed after it was signed, or is no Pulseq file.
  """
  try:
    data = path.read_bytes()
    # Names in comments and definitions may have letters of any encoding.
    text = data.decode("utf-8-sig", errors="replace")
  except FileNotFoundError as error:
    raise UserError(f"{path}: there is no such file") from error
  except OSError as error:
    raise UserError(f"{path}: not a readable Pulseq file ({error})") from error
  _check_signature(data, path)
  try:
    version, found = _version(text), _sections(text)
    if "[VERSION]" not in found:
      raise ValueError("it has no version")
    if version[0] != 1:
      raise UserError(
        f"{path}: of Pulseq version {version[0]}; only version 1 is known"
      )
    _check_shapes(found.get("[SHAPES]", ()), path)
    names, rows = _extensions(found)
    links = {}
    for line in found.pop(_EXTENSIONS, ()):
      number, kind, row, following = map(int, line.split())
      links[number] = (kind, row, following)
    found.pop("[SIGNATURE]", None)
    blocks = _blocks(found.get(_BLOCKS, ()))
    delays_s = None
    if version < _WITH_DURATIONS:
      lines = [line.split() for line in found.pop("[DELAYS]", ())]
      delays_s = {int(line[0]): 1e-6 * float(line[1]) for line in lines}
    packs_all = version < _WITH_DURATIONS or bool(_PACKER.search(text))
    return PulseqText(
      path, version, blocks, links, names, rows, delays_s, packs_all, found
    )
  # Numbers that are none, or larger than any that is one.
  except (ValueError, OverflowError, IndexError) as error:
    raise UserError(
      f"{path}: not a readable Pulseq file ({one_line(error)})"
    ) from error


def _version(text: str) -> tuple[int, int, int]:
  """Major, minor and revision of a file; 1.0.0 if it has no version."""
  parts = []
  for name, default in (("major", "1"), ("minor", "0"), ("revision", "0")):
    # Some writers have revisions such as 0post1.
    match = re.search(rf"^{name}\s+(\d{{1,9}})", text, re.MULTILINE)
    parts.append(int(match[1] if match else default))
  return parts[0], parts[1], parts[2]


def _sections(text: str) -> dict[str, list[str]]:
  """Title of each section to its lines, without comments.

  Words of a line are parted by one blank: `pypulseq` takes two for a word more.
  """
  found: dict[str, list[str]] = {}
  rows: list[str] | None = None
  keep_empty = False
  # Lines as `pypulseq` splits them.
  for raw in io.StringIO(text, newline=None):
    line = " ".join(raw.split())
    if line.startswith("#"):
      continue
    if line.startswith(("[", "extension ")):
      if line in found:
        raise ValueError(f"it has {line[:60]} twice")
      rows = found[line] = []
      # An empty line ends a shape. In other sections it means nothing.
      keep_empty = line == "[SHAPES]"
    elif rows is None and line:
      raise ValueError(f"it begins with {line[:60]!r}")
    elif rows is not None and (line or keep_empty):
      rows.append(line)
  return found


def _blocks(lines: Iterable[str]) -> Int64[np.ndarray, "block 8"]:
  """The table of blocks, in their order."""
  rows = [[int(word) for word in line.split()] for line in lines]
  if not rows:
    raise ValueError("it has no blocks")
  lengths = {len(row) for row in rows}
  if lengths - {7, 8} or len(lengths) > 1:
    raise ValueError(f"blocks of {sorted(lengths)} numbers")
  blocks = np.zeros((len(rows), 8), np.int64)
  blocks[:, : lengths.pop()] = rows
  if blocks.min() < 0:
    raise ValueError("a block has a negative number")
  if np.any(np.diff(blocks[:, NUMBER]) <= 0):
    # Readers differ: in the order of the file, or of the numbers.
    raise ValueError("its blocks are not numbered in rising order")
  return blocks


def _as_version_1_4(name: str, rows: list[str]) -> list[str]:
  """Rows of a section of a file before Pulseq 1.4 as those of Pulseq 1.4."""
  if name == "[VERSION]":
    return ["major 1", "minor 4", "revision 1"]
  # Number of the shape of times, 0 for none, behind those of the samples.
  place = {"[RF]": 4, "[GRADIENTS]": 3}.get(name)
  if place is not None:
    words = [row.split() for row in rows]
    return [" ".join([*row[:place], "0", *row[place:]]) for row in words]
  return rows


def _unpacked(rows: list[str]) -> list[str]:
  """Rows of shapes; those of as many values as samples are unpacked."""
  # Imported here, because `pypulseq` imports a plotting library.
  from pypulseq.decompress_shape import decompress_shape

  converted = []
  # A shape is its number, its size and its values, up to an empty line.
  for is_empty, lines in itertools.groupby(rows, lambda row: not row):
    head, values = [], list(lines)
    while values and len(values[0].split()) > 1:
      head.append(values.pop(0))
    if (
      not is_empty and len(head) == 2 and head[1].split()[1] == str(len(values))
    ):
      packed = types.SimpleNamespace(
        num_samples=len(values), data=np.array(values, np.float64)
      )
      samples = decompress_shape(packed, force_decompression=True)
      values = [f"{sample:.9g}" for sample in samples]
    converted += [*head, *values]
  return converted


def _extensions(
  found: dict[str, list[str]],
) -> tuple[dict[int, str], dict[str, dict[int, list[str]]]]:
  """Names of extensions by type, and their rows; removes them from sections."""
  names, rows = {}, {}
  for title in [t for t in found if t.startswith("extension ")]:
    words = title.split()
    if len(words) != 3:
      raise ValueError(f"{title[:60]!r} is not the name of an extension")
    names[int(words[2])] = words[1]
    lines = [line.split() for line in found.pop(title)]
    rows[words[1]] = {int(line[0]): line[1:] for line in lines}
  return names, rows


def _check_signature(data: bytes, path: pathlib.Path) -> None:
  """Raises `UserError` if a text is cut short or was changed after signing."""
  unix = data.replace(b"\r\n", b"\n")
  _, mark, signature = unix.rpartition(b"\n[SIGNATURE]")
  kind = re.search(rb"^Type\s+(\w+)", signature, re.MULTILINE)
  # An md5 signature shows whether the file is complete; others are unknown.
  has_md5 = bool(mark and kind and kind[1].lower() == b"md5")
  if not has_md5 and not unix.endswith(b"\n"):
    raise UserError(f"{path}: not a whole Pulseq file, cut short in a line")
  if not mark:
    last_section = unix[unix.rfind(b"\n[") :]
    if last_section.startswith(b"\n[SHAPES]") and not unix.endswith(b"\n\n"):
      raise UserError(f"{path}: not a whole Pulseq file, cut short in a shape")
    return
  if kind and not has_md5:
    return
  digest = re.search(rb"^Hash\s+(\w+)", signature, re.MULTILINE)
  known = {
    hashlib.md5(text, usedforsecurity=False).hexdigest()
    for text in _signed_texts(data)
  }
  if not (has_md5 and digest and digest[1].decode().lower() in known):
    raise UserError(
      f"{path}: its signature does not fit, it was damaged or changed after it "
      "was written; if on purpose, delete its section [SIGNATURE]"
    )


def _signed_texts(data: bytes) -> Iterator[bytes]:
  """Texts that a writer may have signed; all have the same lines.

  Pulseq's own writers hash the text without the line end before [SIGNATURE],
  JEMRIS with it. Copies may have other line ends than what was signed, and a
  mark of their encoding.
  """
  unix = data.removeprefix(_MARK).replace(b"\r\n", b"\n")
  for text in (data, unix, unix.replace(b"\n", b"\r\n")):
    # The comments below the title have it, too, but not at the start of a line.
    text = text.rpartition(b"\n[SIGNATURE]")[0] + b"\n"
    yield text
    yield text[:-1]
    yield text[:-1].removesuffix(b"\r")
    body, end = text.rstrip(b"\r\n"), b"\r\n" if b"\r\n" in text else b"\n"
    yield from (body + number * end for number in range(_MOST_LINE_ENDS + 1))


def _check_shapes(lines: Iterable[str], path: pathlib.Path) -> None:
  """Raises `UserError` if a shape claims more samples than any needs."""
  for line in lines:
    # `pypulseq` does not look at what the line with the number begins with.
    words = line.split()
    if len(words) < 2:
      continue
    size = words[1]
    is_count = size.isdecimal() and len(size) <= 9
    if not is_count or int(size) > _LONGEST_SHAPE:
      raise UserError(
        f"{path}: not a readable Pulseq file, it has a shape of "
        f"{size[:20]} samples; at most {_LONGEST_SHAPE:,} are known"
      )
