"""How long each stage of each method took: `timing.csv`."""

import csv
import dataclasses
import json
import pathlib

import jax

from mrf_jax.files import replacing


@dataclasses.dataclass(frozen=True)
class StageTime:
  """Seconds of one stage.

  Attributes:
    method: name of the method.
    stage: `train`, `simulate` (a dictionary), `compress`, `group` or
      `reconstruct`.
    seconds: wall time; reconstruction excludes compilation.
    voxels: voxels estimated or trained on, or None.
    atoms: atoms of the dictionary, or None.
  """

  method: str
  stage: str
  seconds: float
  voxels: int | None = None
  atoms: int | None = None


COLUMNS = (
  "method",
  "stage",
  "device",
  "seconds",
  "voxels",
  "atoms",
  "voxels_per_s",
)


def save_times(times: list[StageTime], path) -> None:
  """Keeps the times of one method beside its results, as JSON."""
  rows = [dataclasses.asdict(time) for time in times]
  for row in rows:
    row["device"] = jax.devices()[0].device_kind
    rate = row["voxels"] / row["seconds"] if row["voxels"] else None
    row["voxels_per_s"] = rate and round(rate, 1)
    row["seconds"] = round(row["seconds"], 6)
  with replacing(path) as temporary:
    temporary.write_text(json.dumps(rows, indent=1) + "\n")


def collect_times(paths: list[pathlib.Path], table: pathlib.Path) -> None:
  """Writes `timing.csv` from the methods' JSON files."""
  with replacing(table) as temporary, open(temporary, "w", newline="") as file:
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for path in paths:
      writer.writerows(json.loads(path.read_text()))
