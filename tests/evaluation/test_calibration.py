import numpy as np
import pytest

from mrf_jax.evaluation.calibration import (
  calibrate,
  errors_by_deviation,
  format_bins,
  format_calibration,
)
from mrf_jax.maps import MAP_NAMES, Maps

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


def calibrated(estimates, deviations, references, masks, factor=1.0):
  return calibrate(
    {"other": [], "plus": [*map(of, estimates)]},
    {"plus": [of(factor * d) for d in deviations]},
    [*map(of, references)],
    masks,
  )


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_normal_errors(scans, factor):
  rows = calibrated(*scans, factor)
  assert set(zip(rows["method"], rows["tissue"], rows["map"], strict=True)) == {
    ("plus", "wm", name) for name in MAP_NAMES
  }
  expected = (0.6827, 0.9545) if factor == 1 else (0.9545, 0.99994)
  for row in rows.itertuples():
    assert row.n == 2
    assert row.predicted / row.rmse == pytest.approx(factor, rel=0.02)
    assert (row.within_one, row.within_two) == pytest.approx(expected, abs=0.01)


def test_markdown(scans):
  rows = calibrated(*scans)
  text = format_calibration(rows)
  assert "WM" in text and "CSF" not in text
  t1 = rows.iloc[1]
  assert f"{t1.rmse:.1f} / {t1.predicted:.1f}" in text


def test_errors_grow_with_predicted_deviations(scans):
  estimates, deviations, references, _ = scans
  scan = (of(values[0]) for values in (estimates, deviations, references))
  bins = errors_by_deviation(*scan, n_bins=7)
  assert bins["map"].value_counts().to_dict() == dict.fromkeys(MAP_NAMES, 7)
  for name, own in bins.groupby("map"):
    assert own["n_voxels"].sum() == N and own["n_voxels"].max() == N // 7 + 1
    assert own["predicted"].is_monotonic_increasing, name
    np.testing.assert_allclose(own["rmse"], own["predicted"], rtol=0.06)
  line = format_bins(bins).splitlines()[2]
  assert line.startswith(f"| {bins['n_voxels'][0]:,} | ")
  assert line.count("|") == 8
