"""What makes series and volumes bad: NIfTI, NumPy, MATLAB 5."""

import gzip
import zipfile

import nibabel
import numpy as np
import scipy.io
from edits import Damage, patched, with_bytes, with_one


def of_nifti() -> dict[str, Damage]:
  """Fields of the 348 bytes of its header, by their offsets."""

  def shorts(*values):
    return b"".join(int(v).to_bytes(2, "little", signed=True) for v in values)

  floats = {name: np.float32(name).tobytes() for name in ("nan", "inf")}
  return {
    "sizeof_hdr 0": patched(0, bytes(4)),
    "sizeof_hdr 349": patched(0, (349).to_bytes(4, "little")),
    "no axes": patched(40, shorts(0)),
    "nine axes": patched(40, shorts(9)),
    "axes turned": patched(40, shorts(4, 12, 3, 18, 16)),
    "a negative axis": patched(42, shorts(-16)),
    "an axis of 0": patched(44, shorts(0)),
    "an axis of 32767": patched(46, shorts(32767)),
    "all axes of 32767": patched(42, shorts(*[32767] * 4)),
    "one frame more": patched(48, shorts(13)),
    "one frame less": patched(48, shorts(11)),
    "unknown type": patched(70, shorts(9999)),
    "colours": patched(70, shorts(128, 24)),
    "real numbers": patched(70, shorts(16, 32)),
    "an offset behind the end": patched(108, np.float32(1e9).tobytes()),
    "a negative offset": patched(108, np.float32(-352).tobytes()),
    "an offset of nan": patched(108, floats["nan"]),
    "an offset of inf": patched(108, floats["inf"]),
    "an affine of nan": patched(280, 12 * floats["nan"]),
    "an affine of 0": patched(280, bytes(48)),
    "a sample of nan": patched(352 + 8 * 5000, floats["nan"]),
    "a sample of inf": patched(352 + 8 * 5000, floats["inf"]),
  }


def of_npy() -> dict[str, Damage]:
  def rewritten(change):
    return lambda path: np.save(path, change(np.load(path)))

  def header(old, new):
    # Of the same length, padded before the end of line.
    def change(data):
      assert old in data
      return data.replace(old, new, 1)

    return with_bytes(change)

  def objects(path):
    np.save(path, np.array([{}, []], object), allow_pickle=True)

  return {
    "no magic": patched(0, b"\x00"),
    "version 9": patched(6, b"\x09"),
    "a long header": patched(8, b"\xff\xff"),
    "no dictionary": header(b"{'descr'", b"['descr'"),
    "a call": header(b"'<c8'", b"id(3)"),
    "objects by type": header(b"'<c8'", b"'|O' "),
    "text by type": header(b"'<c8'", b"'<U2'"),
    "dates by type": header(b"'<c8'", b"'<M8'"),
    "a negative size": header(b"(16, 18", b"(-16,18"),
    "a huge size": header(b"(16, 18", b"(9999999"),
    "half a size": header(b"(16, 18", b"(1.5, 8"),
    "objects": objects,
    "one nan": rewritten(lambda x: with_one(x, np.nan)),
    "one inf": rewritten(lambda x: with_one(x, np.inf)),
    "two axes": rewritten(lambda x: x.reshape(16, -1)),
    "six axes": rewritten(lambda x: x[None, None]),
    "turned": rewritten(lambda x: x.T),
    "real": rewritten(lambda x: x.real),
    "one frame less": rewritten(lambda x: x[..., 1:]),
    "nothing": rewritten(lambda x: x[:0]),
    "text": rewritten(lambda x: np.array([["text"]])),
    "yes and no": rewritten(lambda x: np.abs(x) > 1),
    "zeros": rewritten(np.zeros_like),
  }


def of_packed_nifti() -> dict[str, Damage]:
  def cut_inside(data):
    return gzip.compress(gzip.decompress(data)[:5000])

  return {
    "packed twice": with_bytes(gzip.compress),
    "a bomb": with_bytes(lambda data: gzip.compress(bytes(1 << 28))),
    "a cut inside": with_bytes(cut_inside),
  }


def of_matlab5() -> dict[str, Damage]:
  def variables(form="5", **values):
    return lambda path: scipy.io.savemat(path, values, format=form)

  ones = np.ones((3, 4, 5))
  return {
    "another name": variables(text="text"),
    "cells": variables(scan=np.array([[1, "a"], [{}, 3]], object)),
    "a structure": variables(scan={"a": 1}),
    "two of them": variables(a=ones, b=ones),
    "version 4": variables(scan=np.ones((3, 4)), form="4"),
  }


def of_npz() -> dict[str, Damage]:
  def members(**texts):
    def write(path):
      with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in texts.items():
          archive.writestr(name, data)

    return write

  return {
    "no members": members(),
    "no arrays": members(text=b"text"),
    "zeros inside": members(**{"scan.npy": bytes(1 << 28)}),
    "a path inside": members(**{"../../scan.npy": b"\x93NUMPY"}),
    "objects": lambda path: np.savez(path, scan=np.array([{}], object)),
  }


def of_volume(kind: str) -> dict[str, Damage]:
  def values(change, affine=None):
    def write(path):
      image = nibabel.load(path)
      found = change(np.asarray(image.dataobj))
      place = image.affine if affine is None else affine
      nibabel.save(nibabel.Nifti1Image(found, place), path)

    return write

  def placed_nowhere(path):
    image = nibabel.load(path)
    for name in ("srow_x", "srow_y", "srow_z"):
      image.header[name] = np.nan
    values = np.asarray(image.dataobj)
    nibabel.save(nibabel.Nifti1Image(values, None, image.header), path)

  def unpacked(change):
    return with_bytes(lambda data: change(gzip.decompress(data)))

  def all_zero(data):
    header = nibabel.Nifti1Header(data[:348])
    header.set_data_dtype(np.uint8)
    header.set_data_shape((1024, 1024, 1536))
    return gzip.compress(header.binaryblock + data[348:352]) + zeros

  def offset(value):
    field = np.float32(value).tobytes()
    return unpacked(lambda data: gzip.compress(data[:108] + field + data[112:]))

  # 1.5 GiB in 1.6 MB.
  zeros = 24 * gzip.compress(bytes(1 << 26))
  same = np.asarray
  away = np.diag([2.0, 2.0, 5.0, 1.0])
  away[:3, 3] = 5000
  damages = {
    "elsewhere": values(same, away),
    "an affine of nan": placed_nowhere,
    "complex": values(lambda x: x.astype(np.complex64)),
    "two volumes": values(lambda x: np.stack([x, x], -1)),
    "two axes": values(lambda x: x[:, :, 0]),
    "zeros": values(np.zeros_like),
    "a bomb behind it": unpacked(lambda data: gzip.compress(data) + zeros),
    "a bomb as it says": unpacked(all_zero),
    "a bomb alone": with_bytes(lambda data: zeros),
    "an offset behind the end": offset(1e9),
    "a negative offset": offset(-352),
    "an offset of nan": offset(np.nan),
  }
  if kind != "mask":
    damages["nan"] = values(lambda x: x * np.float32(np.nan))
    damages["inf"] = values(lambda x: x + np.float32(np.inf))
    damages["negative"] = values(np.negative)
  if kind in ("t1", "t2"):
    damages["in s"] = values(lambda x: x / np.float32(1000))
    damages["in µs"] = values(lambda x: x * np.float32(1000))
  return damages
