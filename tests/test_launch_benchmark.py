"""`--mode=benchmark`, `--mode=report` and `--profile` through `launch.py`."""

import gzip
import json

import nibabel
import numpy as np
import pytest
from test_launch import SMOKE, TIMING_COLUMNS, fails_in_one_line, read_rows

# Each network takes seconds to compile; the long part has all of them.
NETWORKS = ("cohen",)
ALL_NETWORKS = ("spatiotemporal", "spatiotemporal_plus", "cohen", "hoppe")


def run_benchmark(launch, workdir, networks):
  methods = (
    *networks,
    "gomez",
    "dictionary",
    "dictionary_svd",
    "dictionary_fit",
  )
  flags = [
    SMOKE,
    "--mode=benchmark",
    f"--workdir={workdir}",
    f"--config.methods={methods}",
    # Sub-slices would fill the trace, whose number of events is limited.
    "--config.scan.slice_time_bandwidth=0.0",
    # A network with one more channel is timed, too.
    "--config.spatiotemporal_plus.network.sees_b1=True",
    "--config.scan.b1_map_error=0.02",
  ]
  return workdir, flags, launch.succeed(*flags, "--profile")


@pytest.fixture(scope="module")
def benchmark(launch, tmp_path_factory):
  return run_benchmark(launch, tmp_path_factory.mktemp("benchmark"), NETWORKS)


def test_all_stages_are_timed(benchmark):
  check_benchmark(*benchmark, NETWORKS)


@pytest.mark.long
def test_every_network_is_timed(launch, tmp_path):
  check_benchmark(*run_benchmark(launch, tmp_path, ALL_NETWORKS), ALL_NETWORKS)


def check_benchmark(workdir, _, done, networks):
  content = json.loads((workdir / "benchmark.json").read_text())
  assert content["command"].startswith("python launch.py")
  assert content["rates"]["products_gflop_per_s"] > 1
  sizes = {108, 1041}
  assert {(r["method"], r["stage"], r["atoms"]) for r in content["rows"]} == {
    *((m, "reconstruct", None) for m in networks),
    *((m, "train_step", None) for m in networks),
    ("gomez", "compress", None),
    *(("gomez", s, 636) for s in ("align", "reconstruct")),
    ("dictionary_fit", "build", None),
    ("dictionary_fit", "reconstruct", 563),
    *(("dictionary", s, n) for s in ("simulate", "reconstruct") for n in sizes),
    *(
      ("dictionary_svd", stage, n)
      for stage in ("compress", "reconstruct", "group", "reconstruct_groups")
      for n in sizes
    ),
  }
  for row in content["rows"]:
    assert 0 < row["seconds"] < 60
    assert row["cold_s"] > 0 and row["repeats"] >= 2
    assert row["precision"] == "float32" and row["jax"] and row["device"]
    assert row["noisy"] == (row["spread"] > 0.1)
  assert done.stdout.startswith("# Timing comparison on a simulated scan")
  assert (workdir / "timing.md").read_text() == done.stdout[:-1]
  assert (workdir / "timing.png").stat().st_size > 10_000


def test_first_columns_of_timing_csv(benchmark):
  """Others rely on these columns."""
  rows = read_rows(benchmark[0] / "timing.csv")
  assert list(rows[0])[:7] == TIMING_COLUMNS
  assert {row["source"] for row in rows} == {"benchmark"}


def test_a_profile_names_the_tasks(benchmark):
  (trace,) = (benchmark[0] / "profile").rglob("perfetto_trace.json.gz")
  events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
  names = {event.get("name") for event in events}
  assert "cohen reconstruct" in names
  assert "dictionary reconstruct, 108 atoms" in names
  assert list((benchmark[0] / "profile").rglob("*.xplane.pb"))


def test_what_stands_is_not_measured_again(benchmark, launch):
  workdir, flags, _ = benchmark
  before = (workdir / "benchmark.json").read_bytes()
  done = launch.succeed(*flags)
  assert "exists already" in done.stderr
  assert (workdir / "benchmark.json").read_bytes() == before


def test_files_are_compared(benchmark, launch, tmp_path):
  path = benchmark[0] / "benchmark.json"
  compare = f"--compare={path},{path}"
  done = launch.succeed("--mode=report", compare, f"--workdir={tmp_path}")
  text = (tmp_path / "comparison.md").read_text()
  assert text in done.stdout
  rows = [x for x in text.splitlines() if x.startswith("| cohen | reconstruct")]
  assert len(rows) == 2 and all(x.endswith("| 1 |") for x in rows)


def test_both_searches_find_the_same_maps(launch, tmp_path):
  maps = []
  for search in ("exhaustive", "groups"):
    workdir = tmp_path / search
    launch.succeed(
      SMOKE,
      f"--workdir={workdir}",
      "--config.data.n_subjects=1",
      "--config.methods=('dictionary_svd',)",
      "--config.dictionary.step_percent=10.0",
      f"--config.dictionary.search={search}",
    )
    path = workdir / "maps/dictionary_svd/subject-00_t1.nii.gz"
    maps.append(nibabel.load(path).get_fdata())
  assert np.mean(maps[0] == maps[1]) > 0.99


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (["--config.benchmark.atoms=(100000000,)"], ["need", "atoms would fit"]),
    (["--config.benchmark.atoms=(0,)"], ["benchmark.atoms", "0"]),
    (["--config.benchmark.seconds=-1.0"], ["benchmark.seconds"]),
    (["--config.precision=half"], ["half", "tf32"]),
    (["--config.dictionary.search=tree"], ["tree", "exhaustive, groups"]),
  ],
)
def test_bad_benchmarks_are_refused(launch, tmp_path, flags, words):
  done = launch(SMOKE, "--mode=benchmark", f"--workdir={tmp_path}", *flags)
  fails_in_one_line(done, *words)
  assert not (tmp_path / "benchmark.json").exists()


def test_bad_reports_are_refused(launch, tmp_path):
  done = launch("--mode=report")
  fails_in_one_line(done, "--workdir is missing", "--compare")
  gone = tmp_path / "gone.json"
  fails_in_one_line(launch("--mode=report", f"--compare={gone}"), gone)


def test_unknown_device_is_named(launch_alone, tmp_path):
  done = launch_alone(SMOKE, f"--workdir={tmp_path}", JAX_PLATFORMS="rocm")
  fails_in_one_line(done, "JAX_PLATFORMS=rocm", "no such device")
