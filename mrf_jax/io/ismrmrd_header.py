"""The XML header of ISMRMRD files: encodings, scanner, field strength.

The package `ismrmrd` reads it with xsdata, which refuses headers that lack what
its schema requires; here only what is used must be sound.
"""

import contextlib
import dataclasses
import math
from xml.etree import ElementTree

import h5py
import numpy as np

from mrf_jax.errors import UserError
from mrf_jax.io.hdf5 import check_dataset

# The name of a user parameter that says the unit of the trajectory. ISMRMRD
# itself defines none; our files have it in their `trajectoryDescription`.
UNIT_PARAMETER = "trajectory_unit"

Size = tuple[int, int, int]
Length = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Encoding:
  """One encoding of a header; None where the header has no such element.

  Attributes:
    encoded_fov_mm: field of view of the encoded space (x, y, z).
    encoded_matrix: its voxels (x, y, z).
    fov_mm: field of view of the reconstruction space (x, y, z).
    matrix: its voxels (x, y, z).
    trajectory_unit: unit of the trajectory, as a user parameter says it.
    centre_z: number of the partition in the centre of k-space.
  """

  encoded_fov_mm: Length | None = None
  encoded_matrix: Size | None = None
  fov_mm: Length | None = None
  matrix: Size | None = None
  trajectory_unit: str | None = None
  centre_z: int | None = None


class Header:
  """The XML header of one dataset; empty if the file has none.

  Raises:
    UserError: it is no sound XML.
  """

  def __init__(self, file: h5py.File, measurement: str = "dataset"):
    """Parses the text; numbers are checked when they are asked for."""
    self._root = _parse(file.get(f"{measurement}/xml"))

  @property
  def n_encodings(self) -> int:
    """Number of encodings."""
    return 0 if self._root is None else len(self._encodings())

  def encoding(self, number: int) -> Encoding:
    """An encoding, counted from 0; an empty one if the header has none.

    Raises:
      UserError: it has sizes that are no positive numbers.
    """
    if self._root is None or not self.n_encodings:
      return Encoding()
    root = self._encodings()[number]
    encoded, recon = "encodedSpace", "reconSpace"
    return Encoding(
      encoded_fov_mm=_lengths(root, encoded),
      encoded_matrix=_sizes(root, encoded),
      fov_mm=_lengths(root, recon),
      matrix=_sizes(root, recon),
      trajectory_unit=_parameter(
        (root.find("trajectoryDescription"), UNIT_PARAMETER),
        (self._root.find("userParameters"), UNIT_PARAMETER),
      ),
      centre_z=_centre_z(root),
    )

  @property
  def vendor(self) -> str | None:
    """Maker of the scanner, or the simulator."""
    if self._root is None:
      return None
    vendor = self._root.findtext("acquisitionSystemInformation/systemVendor")
    return vendor.strip() if vendor else None

  @property
  def field_strength_t(self) -> float | None:
    """Main magnetic field, tesla; None also for what is none, such as 0."""
    if self._root is None:
      return None
    text = self._root.findtext(
      "acquisitionSystemInformation/systemFieldStrength_T"
    )
    with contextlib.suppress(ValueError):
      field_t = float(text or "")
      return field_t if 0 < field_t < math.inf else None
    return None

  def _encodings(self) -> list[ElementTree.Element]:
    assert self._root is not None
    return self._root.findall("encoding")


def _parse(dataset: h5py.Dataset | None) -> ElementTree.Element | None:
  """The root of the XML in a dataset, or None."""
  if not isinstance(dataset, h5py.Dataset):
    return None
  check_dataset(dataset)
  stored = np.ravel(dataset[()])
  if stored.size != 1 or not isinstance(stored[0], bytes):
    raise UserError("dataset/xml is not one text")
  try:
    text = stored[0].decode("utf-8")
    # A DOCTYPE can define entities, which can grow without bound.
    if "<!DOCTYPE" in text.upper():
      raise UserError("dataset/xml has a DOCTYPE, which is not read")
    root = ElementTree.fromstring(text)
  except (UnicodeDecodeError, ElementTree.ParseError) as error:
    raise UserError(f"dataset/xml is not sound XML ({error})") from error
  # Headers that were written by hand often lack the namespace.
  for element in root.iter():
    element.tag = element.tag.rpartition("}")[2]
  return root


def _centre_z(encoding: ElementTree.Element) -> int | None:
  """The centre of the limits of the partitions, if they have one."""
  text = encoding.findtext("encodingLimits/kspace_encoding_step_2/center")
  with contextlib.suppress(ValueError):
    return max(0, int(text or ""))
  return None


def _parameter(*places) -> str | None:
  """The value of a user parameter, at the first place that has it."""
  for parent, name in places:
    if parent is None:
      continue
    for parameter in parent.iter("userParameterString"):
      if (parameter.findtext("name") or "").strip() == name:
        return (parameter.findtext("value") or "").strip()
  return None


def _lengths(encoding: ElementTree.Element, space: str) -> Length | None:
  return _numbers(encoding, f"{space}/fieldOfView_mm", float)


def _sizes(encoding: ElementTree.Element, space: str) -> Size | None:
  return _numbers(encoding, f"{space}/matrixSize", int)


def _numbers(root: ElementTree.Element, parent: str, kind: type):
  """Positive numbers below an element; None where one is absent."""
  texts = [root.findtext(f"{parent}/{name}") for name in "xyz"]
  if any(text is None for text in texts):
    return None
  try:
    numbers = tuple(kind(text) for text in texts)
  except ValueError:
    numbers = ()
  if not numbers or not all(0 < number < math.inf for number in numbers):
    values = ", ".join(repr(text) for text in texts)
    raise UserError(f"dataset/xml: encoding/{parent} is {values}")
  return numbers
