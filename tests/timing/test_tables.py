"""Tables of the timing comparison, from contents made by hand."""

import json

import pytest

from mrf_jax.errors import UserError
from mrf_jax.timing.tables import (
  compare_benchmarks,
  conclusions,
  format_benchmark,
  load_benchmark,
)


def row(method, stage, seconds, *, atoms=None, device="one", **changed):
  return {
    "method": method,
    "stage": stage,
    "precision": "float32",
    "seconds": seconds,
    "spread": 0.01,
    "repeats": 5,
    "cold_s": 2 * seconds,
    "voxels": 1000,
    "timed_voxels": 1000,
    "atoms": atoms,
    "gflop": 1.0,
    "gbyte": None,
    "product_share": 0.5,
    "copy_share": None,
    "peak_mib": 3.0,
    "noisy": False,
    "voxels_per_s": 1000 / seconds,
    "device": device,
    "jax": "0.12",
    "source": "benchmark",
  } | changed


def content(rows, device="one"):
  return {
    "format": "mrf-benchmark",
    "version": 1,
    "command": "python launch.py --mode=benchmark",
    "machine": {
      "device": device,
      "cores": 2,
      "python": "3.12",
      "git_commit": "abc",
      "versions": {"jax": "0.12"},
    },
    "precision": "float32",
    "options": {},
    "scan": {"slices": 2, "matrix": 32, "voxels": 1000, "windows": 7},
    "rates": {"products_gflop_per_s": 100.0, "copies_gb_per_s": 10.0},
    "rows": rows,
  }


ROWS = [
  row("spatiotemporal", "reconstruct", 2.0),
  *(
    row("dictionary", "reconstruct", n / 1000, atoms=n)
    for n in (1000, 10_000, 1_000_000)
  ),
]


def test_ratio_and_break_even():
  (line,) = conclusions(content(ROWS))
  assert "50 × as fast at 100,000 atoms" in line
  assert "break even at about 2,000 atoms" in line


def test_no_extrapolation():
  (line,) = conclusions(content(ROWS[:3]))
  assert "at 10,000 atoms" in line and "about 2,000" in line
  slow = [row("cohen", "reconstruct", 1e6), *ROWS[1:]]
  assert "more than 1,000,000 atoms" in conclusions(content(slow))[0]
  fast = [row("cohen", "reconstruct", 1e-3), *ROWS[1:]]
  assert "fewer than 1,000 atoms" in conclusions(content(fast))[0]


def test_partial_and_noisy_rows_are_marked():
  noisy = row("cohen", "reconstruct", 1.0, timed_voxels=100, noisy=True)
  lines = format_benchmark(content([noisy])).splitlines()
  (line,) = (line for line in lines if line.startswith("| cohen"))
  assert "1†" in line and "‡" in line


def test_machines_in_one_table(tmp_path):
  paths = [tmp_path / name for name in ("a.json", "b.json")]
  other = [row("spatiotemporal", "reconstruct", 0.5, device="two", voxels=500)]
  paths[0].write_text(json.dumps(content(ROWS)))
  paths[1].write_text(json.dumps(content(other, device="two")))
  text = compare_benchmarks(paths)
  rows = [x for x in text.splitlines() if x.startswith("| spatiotemporal")]
  assert len(rows) == 2
  # Half the voxels in a quarter of the time.
  assert "| [2] | two | float32 | 0.12 | 0.5 |" in rows[1]
  assert rows[1].endswith("| 2 |")
  assert rows[0].endswith("| 1 |")


@pytest.mark.parametrize(
  ("text", "message"),
  [(None, "No such file"), ("{", "not JSON"), ("[]", "is not the benchmark")],
)
def test_other_files_are_refused(tmp_path, text, message):
  path = tmp_path / "x.json"
  if text is not None:
    path.write_text(text)
  with pytest.raises(UserError, match=message):
    load_benchmark(path)
