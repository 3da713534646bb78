"""Which acquisitions of an ISMRMRD file are those of the images.

By their flags, and by the encoding that they name.
"""

import numpy as np

from mrf_jax.errors import UserError
from mrf_jax.io.ismrmrd_header import Encoding, Header

# Flags of acquisitions that are no frames, by their numbers in ismrmrd.h, which
# count from 1: flag 19 is bit 18.
_NOISE = 19
_NO_FRAMES = {
  _NOISE: "noise",
  23: "navigator",
  24: "phase correction",
  26: "HP feedback",
  27: "dummy",
  28: "real-time feedback",
  29: "surface coil correction",
  30: "phase stabilization reference",
  31: "phase stabilization",
  20: "calibration",
}
# Calibration that is imaging too, and flags that change what is stored.
_CALIBRATION, _CALIBRATION_AND_IMAGING, _REVERSE = 20, 21, 22
_COMPRESSIONS = (53, 54, 55, 56)
# Acquisitions of another encoding are left out if they are fewer than this
# share of those of the encoding that most of them name.
_FEW = 0.5


def _has(heads: np.ndarray, flag: int) -> np.ndarray:
  """Which acquisitions have a flag, counted from 1."""
  return heads["flags"] & np.uint64(1 << (flag - 1)) != 0


def _images(heads: np.ndarray) -> tuple[np.ndarray, list[str]]:
  """Which acquisitions are images, and how many of each kind are not."""
  kept = np.ones(len(heads), bool)
  left_out = []
  for flag, name in _NO_FRAMES.items():
    marked = kept & _has(heads, flag)
    if flag == _CALIBRATION:
      marked &= ~_has(heads, _CALIBRATION_AND_IMAGING)
    if marked.any():
      left_out.append(f"{np.count_nonzero(marked):,} {name}")
      kept &= ~marked
  return kept, left_out


def has_images(heads: np.ndarray) -> bool:
  """Whether any acquisition is one of an image."""
  return bool(_images(heads)[0].any())


def noise_acquisitions(heads: np.ndarray) -> np.ndarray:
  """Numbers of the acquisitions that are flagged as noise."""
  return np.flatnonzero(_has(heads, _NOISE))


def image_acquisitions(heads: np.ndarray) -> tuple[np.ndarray, list[str]]:
  """Numbers of the acquisitions that are images, and what was left out.

  Raises:
    UserError: there are none, or their flags say that they are stored in a way
      that is not read.
  """
  kept, left_out = _images(heads)
  numbers = np.flatnonzero(kept)
  text = f"left out by their flags: {', '.join(left_out)} acquisitions"
  if not numbers.size:
    what = f", {text}" if left_out else ""
    raise UserError(f"no acquisitions of images in dataset/data{what}")
  for flag in (_REVERSE, *_COMPRESSIONS):
    marked = kept & _has(heads, flag)
    if marked.any():
      what = (
        "is marked as read in reverse (ACQ_IS_REVERSE); whether its samples or "
        "its trajectory were turned is not known: store each sample with its "
        "place in k-space, without this flag"
        if flag == _REVERSE
        else f"is compressed (flag {flag}), which is not read"
      )
      raise UserError(f"acquisition {np.argmax(marked)} {what}")
  return numbers, [text] if left_out else []


def one_encoding(
  heads: np.ndarray, kept: np.ndarray, header: Header, notes: list[str]
) -> tuple[np.ndarray, Encoding]:
  """The acquisitions of one encoding, and what the header has of it.

  Raises:
    UserError: they name several encodings, or one that the header has not.
  """
  if "encoding_space_ref" not in (heads.dtype.names or ()):
    return kept, header.encoding(0)
  references = heads["encoding_space_ref"][kept]
  known, counts = np.unique(references, return_counts=True)
  main = int(known[np.argmax(counts)])
  others = int(counts.sum() - counts.max())
  if others > _FEW * counts.max():
    raise UserError(
      "acquisitions of images name several encodings ("
      + ", ".join(
        f"{count:,} encoding {number}"
        for number, count in zip(known, counts, strict=True)
      )
      + "), which are scans of their own: store each in a file of its own"
    )
  if others:
    notes.append(
      f"{others:,} acquisitions are left out: they are of another encoding "
      f"than {main}, which {counts.max():,} name"
    )
  kept = kept[references == main]
  # A header with one encoding has no other for them.
  if header.n_encodings <= 1:
    return kept, header.encoding(0)
  if main >= header.n_encodings:
    raise UserError(
      f"acquisition {kept[0]}: encoding_space_ref is {main}, but the header "
      f"has {header.n_encodings} encodings, counted from 0"
    )
  return kept, header.encoding(main)
