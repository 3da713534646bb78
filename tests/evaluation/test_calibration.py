import csv

import numpy as np
import pytest

from mrf_jax.evaluation.calibration import (
  calibrate,
  format_calibration,
  write_calibration,
)
from mrf_jax.maps import Maps

N = 20000


def of(values):
  return Maps(*(values * scale for scale in (1.0, 1000.0, 100.0)))


@pytest.fixture
def scans():
  """Normal errors of deviations that differ from voxel to voxel."""
  rng = np.random.default_rng(0)
  deviations = rng.uniform(0.01, 0.2, (2, N))
  references = rng.uniform(0.5, 1.0, (2, N))
  estimates = references + deviations * rng.normal(size=(2, N))
  masks = [{"wm": np.arange(N) % 2 == 0, "csf": np.zeros(N, bool)}] * 2
  return estimates, deviations, references, masks


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_normal_errors(scans, factor):
  *arrays, masks = scans
  estimates, deviations, references = ([*map(of, a)] for a in arrays)
  deviations = [of(factor * d) for d in arrays[1]]
  rows = calibrate("plus", estimates, deviations, references, masks)
  assert {(r.tissue, r.map) for r in rows} == {
    ("wm", name) for name in ("pd", "t1_ms", "t2_ms")
  }
  expected = (0.6827, 0.9545) if factor == 1 else (0.9545, 0.99994)
  for row in rows:
    assert row.n == 2
    assert row.predicted / row.rmse == pytest.approx(factor, rel=0.02)
    assert (row.within_one, row.within_two) == pytest.approx(expected, abs=0.01)


def test_files(scans, tmp_path):
  *arrays, masks = scans
  rows = calibrate("plus", *([*map(of, a)] for a in arrays), masks)
  write_calibration(rows, tmp_path / "calibration.csv")
  with open(tmp_path / "calibration.csv", newline="") as file:
    stored = list(csv.DictReader(file))
  assert [float(r["rmse"]) for r in stored] == [r.rmse for r in rows]
  text = format_calibration(rows)
  assert "WM" in text and "CSF" not in text
  assert f"{rows[1].rmse:.1f} / {rows[1].predicted:.1f}" in text
