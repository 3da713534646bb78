"""Bad inputs of every kind, made from sound ones.

Bytes are flipped where the format has a checksum or the byte is part of its
structure: nobody can know a number of somebody else's file from another.
"""

import gzip
import pathlib
import random
import re
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from bad_arrays import (
  of_matlab5,
  of_nifti,
  of_npy,
  of_npz,
  of_packed_nifti,
  of_volume,
)
from bad_bundles import of_bundle
from bad_configurations import bad_flags, bad_programs
from bad_hdf5 import of_matlab73, of_raw, of_subject
from bad_schedules import of_pulseq, of_text, of_train, of_trs
from edits import Damage, hdf5_content, to_folder, to_nowhere, with_bytes
from sources import Source

# Kind of file to the damages that it alone can suffer, and how many of its bits
# are flipped besides.
_SPECIAL = {
  "subject file": (of_subject, 40),
  "ISMRMRD": (of_raw, 0),
  "model bundle": (of_bundle, 40),
  "NIfTI series": (of_nifti, 0),
  "NIfTI, packed, series": (of_packed_nifti, 12),
  "MATLAB 5 series": (of_matlab5, 12),
  "MATLAB 7.3 series": (of_matlab73, 0),
  "npy series": (of_npy, 0),
  "npz series": (of_npz, 12),
  "text schedule": (of_text, 0),
  "MATLAB schedule": (of_train, 0),
  "Pulseq schedule": (of_pulseq, 20),
  "TR schedule": (of_trs, 0),
  "NIfTI mask": (partial(of_volume, "mask"), 6),
  "NIfTI pd": (partial(of_volume, "pd"), 6),
  "NIfTI t1": (partial(of_volume, "t1"), 6),
  "NIfTI t2": (partial(of_volume, "t2"), 6),
}


class Case(NamedTuple):
  """One bad input, and the command that reads it."""

  # Of the file, or of what else is bad; and what was done to it.
  kind: str
  name: str
  # Where the bad file is to be, and what makes it of a copy of the sound one
  # there; None if flags alone are bad.
  path: pathlib.Path | None
  damage: Damage | None
  # `{out}` is a path that must not come to be.
  flags: tuple[str, ...]


def make_cases(
  sources: dict[str, Source], folder: pathlib.Path, seed: int = 0
) -> Iterator[Case]:
  """All bad inputs, to be made in a folder; a seed gives the damaged places."""
  for kind, source in sources.items():
    draw = random.Random(f"{seed} {kind}")
    path = folder / source.path.name
    flags = (*source.flags, f"{source.flag}={path}")
    special, n_flips = _SPECIAL[kind]
    damages = {
      **_general(source.path, draw),
      **_flips(source.path, draw, n_flips),
      **special(),
    }
    for name, damage in damages.items():
      yield Case(kind, name, path, damage, flags)
  for name, flags in bad_flags().items():
    yield Case("configuration", name, None, None, flags)
  for name, text in bad_programs().items():
    path = folder / "config.py"
    write = partial(pathlib.Path.write_text, data=text)
    flags = (f"--config={path}", "--workdir={out}")
    yield Case("configuration", name, path, write, flags)


def _general(source: pathlib.Path, draw: random.Random) -> dict[str, Damage]:
  """What may happen to any file: cut, emptied, overwritten, taken away."""
  damages: dict[str, Damage] = {}
  for file in _files(source):
    size = file.stat().st_size
    if source.is_dir() and size <= 200:
      continue
    # The last bytes of a text may be blank, or digits of a shorter number.
    end = size // 2 if file.suffix == ".txt" else size - 2
    cuts = {0, 1, end, *(draw.randrange(end) for _ in range(5))}
    of_file = {
      **{f"cut after {cut} bytes": _cut(cut) for cut in sorted(cuts)},
      "zeros": with_bytes(lambda data: bytes(len(data))),
      "noise": with_bytes(lambda data: random.Random(0).randbytes(len(data))),
      "a folder instead": to_folder,
      "a link to nowhere": to_nowhere,
    }
    for name, damage in of_file.items():
      damages |= _within(source, file, name, damage)
  return damages


def _files(source: pathlib.Path) -> list[pathlib.Path]:
  """The file itself, or those of a folder."""
  inside = sorted(path for path in source.rglob("*") if path.is_file())
  return inside if source.is_dir() else [source]


def _within(
  source: pathlib.Path, file: pathlib.Path, name: str, damage: Damage
) -> dict[str, Damage]:
  """Damage of a file, which the label names if it is in a folder."""
  inside = file.relative_to(source)
  # Without what orbax draws anew each time.
  steady = re.sub(r"[0-9a-f]{32}", "…", str(inside))
  label = f"{steady}: {name}" if source.is_dir() else name
  return {label: lambda path: damage(path / inside)}


def _cut(length: int) -> Damage:
  return with_bytes(lambda data: data[:length])


def _flips(
  source: pathlib.Path, draw: random.Random, count: int
) -> dict[str, Damage]:
  """One bit each, where the file says something by it."""
  files = _files(source)
  damages: dict[str, Damage] = {}
  while len(damages) < count:
    file = draw.choice(files)
    data = file.read_bytes()
    place, bit = draw.randrange(len(data)), draw.randrange(8)
    flipped = bytearray(data)
    flipped[place] ^= 1 << bit
    if not _says_the_same(file, flipped):
      write = partial(pathlib.Path.write_bytes, data=bytes(flipped))
      name = f"bit {bit} of byte {place}"
      damages |= _within(source, file, name, write)
  return damages


def _says_the_same(file: pathlib.Path, other: bytes | bytearray) -> bool:
  """Whether independent readers see no difference."""
  copy = file.with_name(f"flipped-{file.name}")
  try:
    copy.write_bytes(other)
    return _content(copy) == _content(file)
  # Damage of any kind.
  except Exception:
    return False
  finally:
    copy.unlink(missing_ok=True)


def _content(path: pathlib.Path):
  if path.suffix == ".h5":
    return hdf5_content(path)
  if path.suffix == ".gz":
    return gzip.decompress(path.read_bytes())
  if path.suffix == ".npz":
    with zipfile.ZipFile(path) as archive:
      return [(i.filename, archive.read(i)) for i in archive.infolist()]
  if path.suffix == ".mat":
    data = path.read_bytes()
    # Words for people, and the version; then one packed variable.
    return data[124:128], zlib.decompress(data[136:]), data[128:136]
  return path.read_bytes()
