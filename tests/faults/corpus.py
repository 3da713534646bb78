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
from typing import NamedTuple

import h5py
from bad_arrays import of_nifti, of_npy, of_packed, of_volume
from bad_bundles import of_bundle
from bad_configurations import bad_flags, bad_programs
from bad_hdf5 import of_matlab73, of_raw, of_subject
from bad_schedules import of_pulseq, of_text, of_train, of_trs
from edits import Damage
from sources import Source


class Case(NamedTuple):
  """One bad input.

  Attributes:
    kind: of the file, or of what else is bad.
    name: what was done to it.
    path: where the bad file is to be, or None.
    damage: makes it of a copy of the sound one there, or None.
    flags: of `launch.py`; `{out}` is a path that must not come to be.
  """

  kind: str
  name: str
  path: pathlib.Path | None
  damage: Damage | None
  flags: tuple[str, ...]


def make_cases(
  sources: dict[str, Source], folder: pathlib.Path, seed: int = 0
) -> Iterator[Case]:
  """All bad inputs, the same for the same seed.

  Args:
    sources: sound files.
    folder: where the bad ones are to be.
    seed: of the places that are damaged.
  """
  for kind, source in sources.items():
    draw = random.Random(f"{seed} {kind}")
    path = folder / source.path.name
    damages = {
      **_general(source.path, draw),
      **_special(kind, source.path, draw),
    }
    for name, damage in damages.items():
      yield Case(
        kind, name, path, damage, (*source.flags, f"{source.flag}={path}")
      )
  for name, flags in bad_flags().items():
    yield Case("configuration", name, None, None, flags)
  for name, text in bad_programs().items():
    path = folder / "config.py"

    def write(path, text=text):
      path.write_text(text)

    flags = (f"--config={path}", "--workdir={out}")
    yield Case("configuration", name, path, write, flags)


def _general(source: pathlib.Path, draw: random.Random) -> dict[str, Damage]:
  """What may happen to any file: cut, emptied, overwritten, taken away."""
  files = [source]
  if source.is_dir():
    files = sorted(
      f for f in source.rglob("*") if f.is_file() and f.stat().st_size > 200
    )
  damages: dict[str, Damage] = {}
  for file in files:
    inside = file.relative_to(source)
    label = f"{_steady(inside)}: " if source.is_dir() else ""
    size = file.stat().st_size
    # The last bytes of a text may be blank, or digits of a shorter number.
    end = size // 2 if file.suffix == ".txt" else size - 2
    cuts = {0, 1, end, *(draw.randrange(end) for _ in range(5))}
    for cut in sorted(cuts):
      damages[f"{label}cut after {cut} bytes"] = _in(inside, _cut(cut))
    damages[f"{label}zeros"] = _in(inside, _zeros)
    damages[f"{label}noise"] = _in(inside, _noise)
    damages[f"{label}a folder instead"] = _in(inside, _folder)
    damages[f"{label}a link to nowhere"] = _in(inside, _link)
  return damages


def _steady(name: pathlib.Path) -> str:
  """A name without what orbax draws anew each time."""
  return re.sub(r"[0-9a-f]{32}", "…", str(name))


def _in(inside: pathlib.Path, damage: Damage) -> Damage:
  return lambda path: damage(path / inside)


def _cut(length: int) -> Damage:
  def cut(path):
    path.write_bytes(path.read_bytes()[:length])

  return cut


def _zeros(path):
  path.write_bytes(bytes(path.stat().st_size))


def _noise(path):
  path.write_bytes(random.Random(0).randbytes(path.stat().st_size))


def _folder(path):
  path.unlink()
  path.mkdir()


def _link(path):
  path.unlink()
  path.symlink_to("nowhere")


def _special(
  kind: str, source: pathlib.Path, draw: random.Random
) -> dict[str, Damage]:
  """What one kind of file alone can suffer."""
  if kind == "subject file":
    return {**_flips(source, draw, 40), **of_subject()}
  if kind == "ISMRMRD":
    return of_raw()
  if kind == "model bundle":
    return {**_flips(source, draw, 40), **of_bundle()}
  if kind in ("NIfTI series", "npy series", "MATLAB 7.3 series"):
    return {
      "NIfTI series": of_nifti,
      "npy series": of_npy,
      "MATLAB 7.3 series": of_matlab73,
    }[kind]()
  if kind == "Pulseq schedule":
    return {**_flips(source, draw, 20), **of_pulseq()}
  if kind in ("npz series", "MATLAB 5 series", "NIfTI, packed, series"):
    return {**_flips(source, draw, 12), **of_packed(kind)}
  if kind.startswith("NIfTI"):
    return {**_flips(source, draw, 6), **of_volume(kind)}
  return {
    "text schedule": of_text,
    "TR schedule": of_trs,
    "MATLAB schedule": of_train,
  }[kind]()


def _flips(
  source: pathlib.Path, draw: random.Random, count: int
) -> dict[str, Damage]:
  """One bit each, where the file says something by it."""
  files = [source]
  if source.is_dir():
    files = sorted(f for f in source.rglob("*") if f.is_file())
  damages: dict[str, Damage] = {}
  while len(damages) < count:
    file = draw.choice(files)
    data = file.read_bytes()
    place, bit = draw.randrange(len(data)), draw.randrange(8)
    flipped = bytearray(data)
    flipped[place] ^= 1 << bit
    if not _says_the_same(file, bytes(flipped)):
      inside = file.relative_to(source)
      label = f"{_steady(inside)}: " if source.is_dir() else ""
      damages[f"{label}bit {bit} of byte {place}"] = _in(
        inside, _write(bytes(flipped))
      )
  return damages


def _write(data: bytes) -> Damage:
  return lambda path: path.write_bytes(data) and None


def _says_the_same(file: pathlib.Path, other: bytes) -> bool:
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
    return _hdf5_content(path)
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


def _hdf5_content(path: pathlib.Path):
  found = {}

  def visit(name, item):
    found[name] = sorted((k, repr(v)) for k, v in item.attrs.items())
    if isinstance(item, h5py.Dataset):
      found[name, "values"] = (item.dtype, item.shape, item[()].tobytes())

  with h5py.File(path) as file:
    visit("/", file)
    file.visititems(visit)
  return found
