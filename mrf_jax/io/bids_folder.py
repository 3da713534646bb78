"""Folders of BIDS derivatives: their paths, and whether they may be written.

Without JAX, so that the command line can ask before JAX starts.
"""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Iterator

from mrf_jax.errors import UserError, reason
from mrf_jax.io.atomic import is_unfinished

DESCRIPTION = "dataset_description.json"
# Name of the program that made a data set, in its description.
PROGRAM = "mrf_jax"
# Field of the maps to the end of its file's name.
SUFFIXES = {"pd": "PDmap", "t1_ms": "T1map", "t2_ms": "T2map"}


@dataclasses.dataclass(frozen=True)
class BidsFolder:
  """Folder of a subject, or of one of its sessions, in a data set.

  Attributes:
    dataset: folder of the data set.
    subject: label of the subject, letters and digits.
    session: label of the session, or None.
  """

  dataset: pathlib.Path
  subject: str
  session: str | None = None

  @classmethod
  def from_path(cls, path: str | os.PathLike) -> "BidsFolder":
    """Reads the labels off a path such as `derivatives/mrf_jax/sub-01/ses-2`.

    Raises:
      UserError: the path does not end in this way.
    """
    folder, session = pathlib.Path(path), None
    if folder.name.startswith("ses-"):
      session, folder = _label(folder.name, "ses", path), folder.parent
    if not folder.name.startswith("sub-"):
      raise UserError(
        f"{os.fspath(path)}: is not the folder of a subject in a BIDS data "
        "set, such as derivatives/mrf_jax/sub-01, or sub-01/ses-1"
      )
    return cls(folder.parent, _label(folder.name, "sub", path), session)

  @property
  def anat(self) -> pathlib.Path:
    """Folder of the maps."""
    parts = [f"sub-{self.subject}"]
    if self.session is not None:
      parts.append(f"ses-{self.session}")
    return self.dataset.joinpath(*parts, "anat")

  def files(self) -> Iterator[pathlib.Path]:
    """Files of the maps and their sidecars."""
    for suffix in SUFFIXES.values():
      for ending in (".nii.gz", ".json"):
        yield self.anat / self.name(suffix + ending)

  def name(self, ending: str) -> str:
    """Name of a file: `sub-01_T1map.nii.gz` for `T1map.nii.gz`."""
    session = "" if self.session is None else f"_ses-{self.session}"
    return f"sub-{self.subject}{session}_{ending}"


def check_dataset(folder: BidsFolder) -> None:
  """Raises `UserError` unless the data set is ours, or can be made there."""
  dataset = folder.dataset
  if not dataset.exists():
    return
  if not dataset.is_dir():
    raise UserError(f"{dataset}: is not a folder")
  path = dataset / DESCRIPTION
  if not path.exists():
    others = [p for p in dataset.iterdir() if not is_unfinished(p)]
    if others:
      raise UserError(
        f"{dataset}: has files, such as {others[0].name}, but no "
        f"{DESCRIPTION}; maps need a data set of their own, in a new folder"
      )
    return
  try:
    description = json.loads(path.read_text(encoding="utf-8"))
    kind = description.get("DatasetType", "raw")
    names = [by["Name"] for by in description.get("GeneratedBy", ())]
  except OSError as error:
    raise UserError(f"{path}: cannot be read ({reason(error)})") from error
  except (ValueError, AttributeError, KeyError, TypeError) as error:
    raise UserError(f"{path}: is not a description of a data set") from error
  if kind != "derivative" or PROGRAM not in names:
    made = (
      f"made by {', '.join(map(str, names))}" if names else f"of type {kind}"
    )
    raise UserError(
      f"{dataset}: is a data set {made}; maps need a data set of their own, "
      f"such as {dataset / 'derivatives' / PROGRAM}"
    )


def _label(name: str, entity: str, path: str | os.PathLike) -> str:
  """The label in a name such as `sub-01`."""
  label = name.removeprefix(f"{entity}-")
  if not re.fullmatch("[0-9a-zA-Z]+", label):
    raise UserError(
      f"{os.fspath(path)}: {label!r} is not a label of BIDS, which has letters "
      "and digits only"
    )
  return label
