import csv
import json
import math
import re
import shutil

import jax
import nibabel
import numpy as np
import pytest

from mrf_jax import load_model, load_subject
from mrf_jax.inference.bundle import load_training
from mrf_jax.networks import NETWORKS
from mrf_jax.signal.subspace import gram_matrix, temporal_basis
from mrf_jax.stages.crossval import METHODS
from tests.launcher import SMOKE

MAPS = ("pd", "t1_ms", "t2_ms")
# Those that others rely on.
TIMING_COLUMNS = [
  "method",
  "stage",
  "device",
  "seconds",
  "voxels",
  "atoms",
  "voxels_per_s",
]


def fails_in_one_line(done, *words):
  assert done.returncode != 0
  lines = [x for x in done.stderr.splitlines() if not x.endswith(" ...")]
  assert len(lines) == 1, done.stderr
  assert lines[0].startswith("error: ")
  for word in words:
    assert str(word) in lines[0]


def read_rows(path):
  with open(path, newline="") as file:
    return list(csv.DictReader(file))


def table(workdir):
  return read_rows(workdir / "table1.csv")


def test_every_result_of_the_workdir_stands(smoke):
  for name in (
    "config.json",
    "environment.json",
    "table1.csv",
    "table1.md",
    "table1_literature.csv",
    "table1_touching.md",
    "truth_table.csv",
    "truth_table.md",
    "differences.csv",
    "differences.md",
    "calibration.csv",
    "calibration.md",
    "figure3.png",
    "errors.png",
    "learning_curves.png",
    "timing.csv",
    "metrics/metrics.jsonl",
  ):
    assert (smoke / name).stat().st_size > 0, name
  for k in range(2):
    subject = load_subject(smoke / f"data/subject-{k:02d}.h5")
    assert subject.provenance.startswith("simulated")
    assert load_model(smoke / f"models/spatiotemporal/fold-{k}").window == 48
    for method in METHODS:
      for name in ("pd", "t1", "t2"):
        path = f"maps/{method}/subject-{k:02d}_{name}.nii.gz"
        image = nibabel.load(smoke / path)
        assert image.shape == subject.mask.shape[::-1]
        np.testing.assert_allclose(image.affine, subject.affine, atol=1e-3)
  assert not list(smoke.rglob("*.tmp"))


def test_table_has_every_cell(smoke):
  rows = table(smoke)
  assert list(rows[0]) == [
    "method",
    "tissue",
    "map",
    "mae_mean",
    "mae_std",
    "rmse_mean",
    "rmse_std",
    "n",
  ]
  methods = (*METHODS, "training_mean", "truth")
  cells = {(r["method"], r["tissue"], r["map"]) for r in rows}
  assert cells == {
    (method, tissue, name)
    for method in methods
    for tissue in ("wm", "gm", "csf", "brain")
    for name in MAPS
  }
  brain = {
    (r["method"], r["map"]): float(r["rmse_mean"])
    for r in rows
    if r["tissue"] == "brain"
  }
  # The truth is closer to the references than their mean is.
  for name in MAPS:
    assert brain["truth", name] < 0.7 * brain["training_mean", name]


def test_truth_table_has_acquired_maps(smoke):
  rows = read_rows(smoke / "truth_table.csv")
  assert {r["method"] for r in rows} == {
    *METHODS,
    "training_mean",
    "acquired",
    "bound",
  }

  def errors(rows, method):
    return [float(r["mae_mean"]) for r in rows if r["method"] == method]

  # How far the acquired maps are from the truth, and the other way round.
  acquired, truth = errors(rows, "acquired"), errors(table(smoke), "truth")
  np.testing.assert_allclose(acquired, truth, rtol=1e-6)
  assert errors(rows, "gomez") != errors(table(smoke), "gomez")


def test_bound_is_below_dictionary_errors(smoke):
  """No unbiased method errs less than the bound."""
  errors = {
    (r["method"], r["map"]): float(r["rmse_mean"])
    for r in read_rows(smoke / "truth_table.csv")
    if r["tissue"] == "wm"
  }
  for name in MAPS:
    # Matching knows one fingerprint only, and its grid is not an estimate.
    assert 0 < errors["bound", name] < errors["dictionary", name]


def test_design_shows_the_bounds(launch, tmp_path):
  design = (SMOKE, "--mode=design")
  coarse = (*design, "--config.design.step_percent=60")
  done = launch.succeed(*coarse, f"--workdir={tmp_path}")
  rows = re.findall(r"\| (WM|GM|CSF) \|.* ([\d.]+) \|", done.stdout)
  assert [row[0] for row in rows] == ["WM", "GM", "CSF"]
  assert (tmp_path / "design.md").read_text().strip() in done.stdout
  assert (tmp_path / "design.png").stat().st_size > 10_000
  grid = read_rows(tmp_path / "design.csv")
  assert len(grid) > 20
  for row in grid:
    assert float(row["t2_ms"]) <= float(row["t1_ms"])
    assert float(row["sd_t1_ms"]) > 0
  # Twice the noise, twice the bound; the options of `design` are free.
  louder = "--config.scan.noise_level=0.06"
  launch.succeed(*coarse, louder, f"--workdir={tmp_path / 'loud'}")
  loud = read_rows(tmp_path / "loud/design.csv")
  np.testing.assert_allclose(
    [float(row["sd_t2_ms"]) for row in loud],
    [2 * float(row["sd_t2_ms"]) for row in grid],
    rtol=1e-4,
  )
  silent = "--config.scan.noise_level=0.0"
  done = launch(*design, silent, f"--workdir={tmp_path / 'silent'}")
  fails_in_one_line(done, "noise_level is 0")


def test_differences_are_those_of_the_table(smoke):
  means = {
    (r["method"], r["tissue"], r["map"]): float(r["rmse_mean"])
    for r in table(smoke)
  }
  rows = read_rows(smoke / "differences.csv")
  rows = [r for r in rows if r["error"] == "rmse"]
  methods = json.loads((smoke / "config.json").read_text())["methods"]
  # Pairs of methods, tissues, maps.
  assert len(rows) == math.comb(len(methods), 2) * 4 * len(MAPS)
  for row in rows:
    key = row["tissue"], row["map"]
    expected = means[row["method"], *key] - means[row["other"], *key]
    assert float(row["mean"]) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert float(row["low"]) <= float(row["mean"]) <= float(row["high"])


def test_learning_curves_have_both_errors(smoke):
  """Errors of the training subjects and of the left-out one."""
  lines = (smoke / "metrics/metrics.jsonl").read_text().splitlines()
  records = [json.loads(line) for line in lines]
  assert {(r["method"], r["fold"], r["epoch"]) for r in records} == {
    (m, fold, epoch) for m in NETWORKS for fold in (0, 1) for epoch in (1, 2)
  }
  for record in records:
    for whose in ("training", "left_out"):
      assert 0 < record[f"{whose}_mae_t1_ms"] < 1e5


def test_timing_counts_voxels_and_atoms(smoke):
  rows = read_rows(smoke / "timing.csv")
  assert list(rows[0])[:7] == TIMING_COLUMNS
  assert {row["source"] for row in rows} == {"crossval"}
  stages = {(r["method"], r["stage"]) for r in rows}
  assert stages == {
    *((method, "reconstruct") for method in METHODS),
    *((method, "train") for method in NETWORKS),
    *((m, "simulate") for m in ("dictionary", "dictionary_svd")),
    *((m, "compress") for m in ("gomez", "dictionary_svd")),
    ("dictionary_fit", "build"),
  }
  for row in rows:
    assert float(row["seconds"]) > 0
    if row["voxels_per_s"]:
      rate = int(row["voxels"]) / float(row["seconds"])
      assert float(row["voxels_per_s"]) == pytest.approx(rate, rel=0.02)


def test_simulated_subjects_are_plausible(smoke):
  """Subjects differ, and their maps are in the range of tissue."""
  one, two = (load_subject(smoke / f"data/subject-0{k}.h5") for k in (0, 1))
  assert one.n_voxels != two.n_voxels
  assert one.maps is not None
  assert one.truth is not None
  assert 600 < np.percentile(one.truth.t1_ms, 10) < 800
  assert 55 < np.percentile(one.truth.t2_ms, 10) < 80
  # References carry errors of their own, but no gross ones.
  ratio = one.maps.t1_ms / one.truth.t1_ms
  assert 0.02 < ratio.std() < 0.3
  assert 0.85 < np.median(ratio) < 1.15


@pytest.fixture(scope="module")
def finished(smoke, tmp_path_factory):
  """A finished workdir that may be written to."""
  workdir = tmp_path_factory.mktemp("finished") / "run"
  shutil.copytree(smoke, workdir)
  return workdir


def test_finished_run_is_not_repeated(finished, launch):
  """The same command does nothing and gives the same table."""
  files = [p for p in finished.glob("*/**/*") if p.is_file()]
  before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in files}
  text = (finished / "table1.csv").read_bytes()
  done = launch.succeed(SMOKE, f"--workdir={finished}")
  assert "Simulating" not in done.stderr
  assert "Estimating" not in done.stderr
  assert before == {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in files}
  assert (finished / "table1.csv").read_bytes() == text


def test_same_seed_gives_same_table(smoke, launch, tmp_path):
  """To the last digit."""
  launch.succeed(SMOKE, f"--workdir={tmp_path}")
  again = (tmp_path / "table1.csv").read_bytes()
  assert again == (smoke / "table1.csv").read_bytes()


def test_workdir_of_another_seed(finished, launch):
  before = (finished / "config.json").read_bytes()
  done = launch(SMOKE, f"--workdir={finished}", "--config.seed=1")
  fails_in_one_line(done, finished, "seed=0", "now 1", "--workdir")
  assert (finished / "config.json").read_bytes() == before


def test_missing_maps_are_made_again(smoke, launch, tmp_path):
  """From the trained models, which are not trained again."""
  workdir = tmp_path / "run"
  shutil.copytree(smoke, workdir)
  shutil.rmtree(workdir / "maps" / "spatiotemporal")
  bundle = workdir / "models/spatiotemporal/fold-0/model.json"
  before = bundle.stat().st_mtime_ns
  launch.succeed(SMOKE, f"--workdir={workdir}")
  assert bundle.stat().st_mtime_ns == before
  again = (workdir / "table1.csv").read_bytes()
  assert again == (smoke / "table1.csv").read_bytes()


def test_networks_train_on_generated_heads(smoke, launch, tmp_path):
  """Beside the subjects of another run; no table knows them."""
  shutil.copytree(smoke / "data", tmp_path / "data")
  flags = (
    SMOKE,
    f"--workdir={tmp_path}",
    "--config.methods=('cohen','gomez')",
    "--config.generated_heads.count=1",
    "--config.training.generated_heads=True",
  )
  launch.succeed(*flags)
  head = load_subject(tmp_path / "data/generated-00.h5")
  assert "generated maps of random regions" in head.provenance
  np.testing.assert_array_equal(head.maps.stack(), head.truth.stack())
  own, plain = (
    load_training(root / "models/cohen/fold-0")["voxels"]
    for root in (tmp_path, smoke)
  )
  n_further = own - plain
  assert n_further == head.n_voxels
  rows = {row["method"]: row for row in read_rows(tmp_path / "table1.csv")}
  expected = {row["method"]: row for row in read_rows(smoke / "table1.csv")}
  assert rows["gomez"] == expected["gomez"]
  assert rows["cohen"]["n"] == "2"
  assert rows["cohen"] != expected["cohen"]
  # The same command finds it.
  before = (tmp_path / "data/generated-00.h5").stat().st_mtime_ns
  launch.succeed(*flags)
  assert before == (tmp_path / "data/generated-00.h5").stat().st_mtime_ns


def test_temporal_components_in_bfloat16(smoke, launch, tmp_path):
  """With the subjects of another run, whose simulation is the same."""
  shutil.copytree(smoke / "data", tmp_path / "data")
  launch.succeed(
    SMOKE,
    f"--workdir={tmp_path}",
    "--config.methods=('cohen',)",
    "--config.training.rank=4",
    "--config.precision=bfloat16",
    "--config.training.storage=bfloat16",
  )
  model = load_model(tmp_path / "models/cohen/fold-0")
  assert model.basis is not None
  assert model.normalise_signals_per == "subject"
  np.testing.assert_allclose(
    model.basis.conj().T @ model.basis, np.eye(4), atol=1e-5
  )
  # Real and imaginary part of four components.
  assert model.variables["params"]["hidden_0"]["kernel"].shape[0] == 8
  kernels = jax.tree.leaves(model.variables["params"])
  assert {kernel.dtype for kernel in kernels} == {np.dtype(np.float32)}
  # The left-out subject has no part in the basis.
  other = load_subject(tmp_path / "data/subject-01.h5").signals
  alone = temporal_basis(gram_matrix(other), rank=4)
  overlap = np.linalg.svd(alone.conj().T @ model.basis, compute_uv=False)
  np.testing.assert_allclose(overlap, 1, atol=1e-4)


def test_environment_records_versions_and_commit(smoke):
  environment = json.loads((smoke / "environment.json").read_text())
  assert re.match(r"\d+\.\d+", environment["versions"]["jax"])
  assert environment["seed"] == 0
  assert set(environment) >= {"python", "devices", "git_commit"}
