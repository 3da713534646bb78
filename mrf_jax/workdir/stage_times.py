"""Wall times of the stages of each method: `timing.csv`."""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Sequence

import jax

from mrf_jax.io.atomic import replacing, write_text


@dataclasses.dataclass(frozen=True)
class StageTime:
  """Wall time of one stage of a method.

  Attributes:
    stage: `train`, `simulate` (a dictionary), `compress`, `group` or
      `reconstruct`.
    seconds: wall time, s; of `reconstruct` without compilation.
    voxels: number of voxels estimated or trained on, or None.
    atoms: number of atoms of the dictionary, or None.
  """

  method: str
  stage: str
  seconds: float
  voxels: int | None = None
  atoms: int | None = None


# Other programs read the first seven. `source` is `crossval` or `benchmark`;
# the columns after it are filled by `benchmark` only.
COLUMNS = (
  "method",
  "stage",
  "device",
  "seconds",
  "voxels",
  "atoms",
  "voxels_per_s",
  "source",
  "precision",
  "jax",
  "cold_s",
  "spread",
  "noisy",
  "repeats",
  "timed_voxels",
  "gflop",
  "gbyte",
  "product_share",
  "copy_share",
  "peak_mib",
)


def save_times(times: list[StageTime], path) -> None:
  """Writes the times of one method to its `times_file`."""
  rows = [dataclasses.asdict(time) for time in times]
  for row in rows:
    row["device"] = jax.devices()[0].device_kind
    rate = row["voxels"] / row["seconds"] if row["voxels"] else None
    row["voxels_per_s"] = rate and round(rate, 1)
    row["seconds"] = round(row["seconds"], 6)
    row["source"] = "crossval"
  write_text(json.dumps(rows, indent=1) + "\n", path)


def times_file(root: pathlib.Path, method: str) -> pathlib.Path:
  """JSON file of the times of a method's stages."""
  return root / "maps" / method / "timing.json"


def benchmark_file(root: pathlib.Path) -> pathlib.Path:
  """JSON file of the timing comparison."""
  return root / "benchmark.json"


def write_timing(root: pathlib.Path, methods: Sequence[str]) -> None:
  """Writes `timing.csv`: the times of methods and of the timing comparison."""
  rows = []
  for method in methods:
    path = times_file(root, method)
    if path.exists():
      rows += json.loads(path.read_text())
  if benchmark_file(root).exists():
    rows += json.loads(benchmark_file(root).read_text())["rows"]
  table = root / "timing.csv"
  with replacing(table) as temporary, open(temporary, "w", newline="") as file:
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
