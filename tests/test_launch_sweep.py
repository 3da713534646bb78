"""Some subjects left out, questions, and what other workdirs lend."""

import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from test_launch import fails_in_one_line, table

from configs import smoke as smoke_config
from mrf_jax import UserError, load_subject
from mrf_jax.experiment.settings import find_folds
from mrf_jax.experiment.variants import changed, variants
from mrf_jax.io.atomic import is_unfinished
from mrf_jax.report.page import results_page
from mrf_jax.report.write import read_notes
from mrf_jax.workdir.workdir import Workdir
from tests.launcher import ROOT

CONFIG = """
from configs import smoke

def get_config():
  config = smoke.get_config()
  config.questions = dict(
    epochs=dict(
      base="folds=(1,) methods=('cohen',)",
      ways=dict(one="cohen.training.epochs=1", two="cohen.training.epochs=2"),
    ),
    heads=dict(
      base="seed=1 folds=(0,) methods=('dictionary_svd',)",
      ways=dict(
        borrowing="dictionary.svd_rank=3 subjects_from='questions/heads/own'",
        own="",
      ),
    ),
    scans=dict(
      base="folds=(1,) methods=('cohen','dictionary_svd') models_from='here'",
      ways=dict(
        noisy="scan.noise_level=0.9",
        lesions="data.lesions.count=2",
      ),
    ),
    causes=dict(
      base="methods=('cohen',) cohen.training.epochs=20",
      paired=dict(same=("none",), none=("b1_alone",)),
      ways=dict(
        same="",
        none="scan.noise_level=0.0 data.b1_deviation=0.0",
        b1_alone="scan.noise_level=0.0",
      ),
    ),
  )
  return config
"""


_TIMES = "Time of each variant, without what earlier runs have done:"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
  path = tmp_path_factory.mktemp("config") / "questions.py"
  path.write_text(CONFIG)
  return path


@pytest.fixture(scope="module")
def study(smoke, config, launch, tmp_path_factory):
  """A finished experiment, and all variants of its questions."""
  workdir = tmp_path_factory.mktemp("study") / "run"
  shutil.copytree(smoke, workdir)
  done = launch.succeed(
    "--mode=sweep", f"--config={config}", f"--workdir={workdir}"
  )
  # How long each variant took.
  lines = done.stderr.splitlines()
  summary = lines[lines.index(_TIMES) + 1 :]
  names = [line.split("  ")[-1] for line in summary]
  assert len(names) == 10 and names[-1] == "all"
  assert {"epochs, one", "heads, borrowing", "causes, none"} < {*names}
  return workdir


def test_variants_have_workdirs_of_their_own(smoke, study):
  found = study / "questions"
  for way, fold in (
    ("epochs/one", 1),
    ("epochs/two", 1),
    ("heads/own", 0),
    ("heads/borrowing", 0),
    ("scans/noisy", 1),
    ("scans/lesions", 1),
  ):
    rows = table(found / way)
    assert {row["n"] for row in rows if row["tissue"] == "brain"} == {"1"}
    stored = json.loads((found / way / "config.json").read_text())
    assert stored["folds"] == [fold]
  assert len(list((found / "heads/own/data").iterdir())) == 2
  assert not list((found / "heads/borrowing/data").iterdir())
  # Subjects are the workdir's own where a change leaves them as they are.
  assert not list((found / "epochs/one/data").iterdir())
  assert len(list((found / "scans/noisy/data").iterdir())) == 2

  def rows_of(method, workdir):
    return [r for r in table(workdir) if r["method"] == method]

  one, two = found / "epochs/one", found / "epochs/two"
  assert rows_of("truth", one) == rows_of("truth", two)
  # Two epochs are what the workdir itself has: the same network.
  errors = [
    [row["mae_mean"] for row in rows_of("cohen", workdir)]
    for workdir in (one, two, smoke)
  ]
  assert errors[0] != errors[1] != errors[2]
  assert not list((found / "scans/noisy/models").iterdir())
  # A lesion lies in the same head.
  plain = load_subject(smoke / "data/subject-01.h5")
  changed_head = load_subject(found / "scans/lesions/data/subject-01.h5")
  assert plain.lesion is None and changed_head.lesion.max() > 0.9
  there = changed_head.lesion > 0.99
  assert (changed_head.truth.t1_ms[there] > 1100).all()
  assert (changed_head.mask == plain.mask).all()
  same = changed_head.truth.t1_ms == plain.truth.t1_ms
  assert same[changed_head.lesion == 0].all()
  assert "lesion" in {row["tissue"] for row in table(found / "scans/lesions")}


def test_bad_questions_end_in_one_line(study, config, launch):
  done = launch(
    "--mode=sweep", f"--config={config}", f"--workdir={study}", "--questions=x"
  )
  fails_in_one_line(done, "x", "epochs, heads, scans")
  assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
  "changes",
  [
    "training.epoch=5",
    "training.epochs='five'",
    "nonsense",
    "cohen.training.epoch=5",
    "hoppe.network.widths=(3,)",
  ],
)
def test_changes_that_do_not_fit(changes):
  with pytest.raises(UserError, match="questions"):
    changed(smoke_config.get_config(), changes)


def test_against_an_unknown_question():
  config = smoke_config.get_config()
  config.questions = {"rank": {"base": "", "against": "x", "ways": {"a": ""}}}
  with pytest.raises(UserError, match="rank: against 'x'"):
    list(variants(config))


@pytest.mark.parametrize(
  ("paired", "words"),
  [
    (
      "other",
      "rank: paired 'other', which is not one of its variants, a, b, c",
    ),
    ({"a": ("b", "gone")}, "rank: paired 'gone'"),
    ("c", "rank: a has seed 0, c 1; heads of two seeds are no pairs"),
  ],
)
def test_variants_that_are_no_pairs(paired, words):
  config = smoke_config.get_config()
  ways = {"a": "", "b": "scan.noise_level=0.1", "c": "seed=1"}
  config.questions = {"rank": {"base": "", "paired": paired, "ways": ways}}
  with pytest.raises(UserError, match=words):
    list(variants(config))


def test_network_overrides_training_options():
  """A network's own section takes every training option."""
  config = smoke_config.get_config()
  found = changed(config, "hoppe.training.epochs=7 training.batch=9")
  assert found.hoppe.training.epochs == 7
  assert found.training.batch == 9
  assert config.training.batch != 9
  assert not list(variants(found))


@pytest.mark.parametrize("folds", [(), (0, 0), (2,), (-1,)])
def test_folds_that_are_none(folds):
  config = smoke_config.get_config()
  config.folds = folds
  with pytest.raises(UserError, match="folds"):
    find_folds(config)


def test_others_lend_only_what_fits(tmp_path, smoke):
  stands = Workdir.existing(smoke)
  asked = {**stands.config, "seed": 5, "folds": (0,)}
  stands.check_config(asked, parts=("data", "folds_"))
  with pytest.raises(UserError, match="seed=0"):
    stands.check_config(asked, parts=("seed", "data"))
  with pytest.raises(UserError, match=r"config\.json"):
    Workdir.existing(tmp_path)


def test_finished_sweep_is_not_repeated(study, config, launch):
  way = study / "questions/epochs/one"
  path, model = way / "table1.csv", way / "models/cohen/fold-1/model.json"
  before = path.read_bytes(), model.stat().st_mtime_ns
  flags = f"--config={config}", f"--workdir={study}", "--questions=epochs"
  launch.succeed("--mode=sweep", *flags)
  assert before == (path.read_bytes(), model.stat().st_mtime_ns)


def test_a_killed_sweep_goes_on_in_its_variant(
  smoke, study, config, launch, tmp_path
):
  """Heads that are simulated and folds that are half trained stay."""
  workdir = tmp_path / "run"
  shutil.copytree(smoke, workdir)
  flags = f"--config={config}", f"--workdir={workdir}", "--questions=causes"
  variant = workdir / "questions/causes/none"
  with subprocess.Popen(
    [sys.executable, "launch.py", "--mode=sweep", *flags],
    cwd=ROOT,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
    stderr=subprocess.DEVNULL,
    stdout=subprocess.DEVNULL,
  ) as process:
    try:
      while process.poll() is None and not _checkpoints(variant):
        time.sleep(0.002)
    finally:
      process.kill()
  assert process.returncode == -signal.SIGKILL
  assert not list(variant.glob("models/cohen/*"))
  assert not (variant / "table1.csv").exists()
  made = [
    *variant.glob("data/subject-*.h5"),
    *workdir.glob("questions/causes/*/models/cohen/fold-*/model.json"),
  ]
  before = {path: path.stat().st_mtime_ns for path in made}
  assert len(list(variant.glob("data/*.h5"))) == 2
  launch.succeed("--mode=sweep", *flags)
  assert before == {path: path.stat().st_mtime_ns for path in made}
  for name in ("same", "none", "b1_alone"):
    for file in ("table1.csv", "errors_by_subject.csv"):
      path = f"questions/causes/{name}/{file}"
      assert (workdir / path).read_bytes() == (study / path).read_bytes()


def _checkpoints(variant):
  """Finished checkpoints of a variant's network."""
  # Not `Path.glob`, which ends at a folder that is renamed while it looks.
  return [
    path
    for folder, _, names in os.walk(variant / "checkpoints/cohen")
    for path in (pathlib.Path(folder, name) for name in names)
    if not is_unfinished(path.relative_to(variant))
  ]


def test_report_of_all_results(study, launch, tmp_path):
  (tmp_path / "results_notes.md").write_text("## table1\n\nWhat surprised.\n")
  report = ("--mode=report", f"--workdir={study}", f"--output={tmp_path}")
  launch.succeed(*report)
  page = (tmp_path / "results.md").read_text()
  record = json.loads((tmp_path / "results.json").read_text())
  assert page == results_page(record, read_notes(tmp_path / "results_notes.md"))
  for words in (
    "simulated",
    "What surprised.",
    "The paper's ranking",
    "159.4 / 242.7",
    "spatiotemporal_plus compared with spatiotemporal",
    "true RMSE / bound",
    "Question: epochs",
    "LESION T1",
    "literature T1",
    "Question: causes",
  ):
    assert words in page, words
  _check_paired(study, page, tmp_path)
  # Networks that a way took from the study, with what they took to train.
  noisy = next(w for w in record["ways"] if w["name"] == "noisy")
  assert noisy["steps"] == {"cohen": record["steps"]["cohen"]}
  assert noisy["n_folds"] == 1 and record["n_folds"] == 2
  seconds = record["times"]["cohen"]["train"]
  assert noisy["times"]["cohen"]["train"] == pytest.approx(seconds / 2)
  for picture in ("figure3", "errors", "learning_curves"):
    assert f"results/{picture}.png" in page
    assert (tmp_path / f"results/{picture}.png").stat().st_size > 0
  # A cell of the table, as the run itself wrote it.
  row = next(
    r
    for r in table(study)
    if (r["method"], r["tissue"], r["map"]) == ("cohen", "wm", "t1_ms")
  )
  cell = f"{float(row['mae_mean']):.1f} ± {float(row['mae_std']):.1f}"
  assert cell in page

  # What another workdir has found stays.
  elsewhere = tmp_path / "elsewhere"
  elsewhere.mkdir()
  for name in ("config.json", "environment.json"):
    shutil.copy(study / name, elsewhere / name)
  elsewhere_report = (report[0], f"--workdir={elsewhere}", report[2])
  launch.succeed(*elsewhere_report)
  assert json.loads((tmp_path / "results.json").read_text()) == record
  assert (tmp_path / "results.md").read_text() == page
  other = json.loads((elsewhere / "environment.json").read_text())
  other["git_commits"] = ["a1b2"]
  (elsewhere / "environment.json").write_text(json.dumps(other))
  done = launch(*elsewhere_report)
  assert done.returncode == 1 and "table1.csv" in done.stderr
  assert (tmp_path / "results.md").read_text() == page

  # What does not belong together is not one table.
  way = study / "questions/epochs/one"
  for name, change, words in (
    ("environment.json", {"git_commits": ["a1b2"]}, ("epochs/one", "a1b2")),
    ("config.json", {"seed": 9}, ("epochs/one", "seed=9")),
    ("environment.json", {"git_commits": ["a", "b"]}, ("several", "a, b")),
  ):
    stored = (way / name).read_text()
    (way / name).write_text(json.dumps({**json.loads(stored), **change}))
    before = (tmp_path / "results.md").read_bytes()
    done = launch(*report)
    (way / name).write_text(stored)
    fails_in_one_line(done, *words)
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "results.md").read_bytes() == before


def _check_paired(study, page, folder):
  """Differences head by head, from what each variant wrote of its own heads."""
  errors = {
    name: {
      int(row["subject"]): float(row["mae"])
      for row in _rows(study / f"questions/causes/{name}/errors_by_subject.csv")
      if (row["method"], row["tissue"], row["map"]) == ("cohen", "wm", "t1_ms")
    }
    for name in ("none", "b1_alone")
  }
  assert [*errors["none"]] == [0, 1]
  differences = [errors["b1_alone"][k] - errors["none"][k] for k in (0, 1)]
  (row,) = (
    row
    for row in _rows(folder / "results/causes.csv")
    if (row["variant"], row["other"]) == ("b1_alone", "none")
    and (row["method"], row["tissue"], row["map"], row["error"])
    == ("cohen", "wm", "t1_ms", "mae")
  )
  assert row["n"] == "2"
  mean, own, other = (
    float(row[name]) for name in ("difference", "value", "other_value")
  )
  assert mean == pytest.approx(sum(differences) / 2)
  assert own - other == pytest.approx(mean)
  section = page.split("## Question: causes")[1].split("\n## ")[0]
  lines = [line for line in section.splitlines() if line.startswith("|")]
  assert [line.split(" | ")[0] for line in lines[2:]] == [
    *("| *same*", "| none", "| *none*", "| b1_alone")
  ]
  assert f"| {mean:+.1f} [" in lines[-1].replace("**", "")


def _rows(path):
  with open(path, newline="") as file:
    return list(csv.DictReader(file))


def test_a_report_wants_a_finished_study(tmp_path, launch):
  done = launch("--mode=report", f"--workdir={tmp_path}")
  fails_in_one_line(done, "is not a workdir")


def test_a_report_of_variants_alone_names_what_is_missing(
  study, launch, tmp_path
):
  """As of a sweep without the cross-validation that they are compared with."""
  run = shutil.copytree(study, tmp_path / "run")
  (run / "table1.csv").unlink()
  output = tmp_path / "out"
  done = launch("--mode=report", f"--workdir={run}", f"--output={output}")
  fails_in_one_line(done, run, "has no table1.csv; launch.py without --mode")
  assert not output.exists()
