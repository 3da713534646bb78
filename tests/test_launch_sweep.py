"""Some subjects left out, questions, and what other workdirs lend."""

import csv
import json

import pytest

from configs import smoke as smoke_config
from mrf_jax import UserError, load_subject
from mrf_jax.questions import changed, ways
from mrf_jax.settings import find_folds
from mrf_jax.workdir import Workdir

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
        one="",
        two="dictionary.svd_rank=3 subjects_from='questions/heads/one'",
      ),
    ),
    scans=dict(
      base="folds=(1,) methods=('cohen','dictionary_svd') models_from='here'",
      ways=dict(
        noisy="scan.noise_level=0.9",
        lesions="data.lesions.count=2",
      ),
    ),
  )
  return config
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
  path = tmp_path_factory.mktemp("config") / "questions.py"
  path.write_text(CONFIG)
  return path


def rows(workdir):
  with open(workdir / "table1.csv", newline="") as file:
    return list(csv.DictReader(file))


def test_ways_have_workdirs_of_their_own(smoke, config, launch):
  done = launch("--mode=sweep", f"--config={config}", f"--workdir={smoke}")
  assert done.returncode == 0, done.stderr
  found = smoke / "questions"
  for way, fold in (
    ("epochs/one", 1),
    ("epochs/two", 1),
    ("heads/one", 0),
    ("heads/two", 0),
    ("scans/noisy", 1),
    ("scans/lesions", 1),
  ):
    table = rows(found / way)
    assert {row["n"] for row in table if row["tissue"] == "brain"} == {"1"}
    stored = json.loads((found / way / "config.json").read_text())
    assert stored["folds"] == [fold]
  assert len(list((found / "heads/one/data").iterdir())) == 2
  assert not list((found / "heads/two/data").iterdir())
  # Subjects are the workdir's own where a change leaves them as they are.
  assert not list((found / "epochs/one/data").iterdir())
  assert len(list((found / "scans/noisy/data").iterdir())) == 2
  one, two = rows(found / "epochs/one"), rows(found / "epochs/two")
  assert [r for r in one if r["method"] == "truth"] == [
    r for r in two if r["method"] == "truth"
  ]
  assert [r for r in one if r["method"] == "cohen"] != [
    r for r in two if r["method"] == "cohen"
  ]
  # Two epochs are what the workdir itself has: the same network.
  here = [r for r in rows(smoke) if r["method"] == "cohen"]
  assert [r["mae_mean"] for r in here] != [
    r["mae_mean"] for r in two if r["method"] == "cohen"
  ]
  assert not list((found / "scans/noisy/models").iterdir())
  # A lesion lies in the same head.
  plain = load_subject(smoke / "data/subject-01.h5")
  changed_head = load_subject(found / "scans/lesions/data/subject-01.h5")
  assert plain.lesion is None and changed_head.lesion.max() > 0.9
  there = changed_head.lesion > 0.99
  assert (changed_head.truth.t1_ms[there] > 1100).all()
  untouched = changed_head.lesion == 0
  assert (changed_head.mask == plain.mask).all()
  assert (
    changed_head.truth.t1_ms[untouched] == plain.truth.t1_ms[untouched]
  ).all()
  assert "lesion" in {row["tissue"] for row in rows(found / "scans/lesions")}


def test_bad_questions_end_in_one_line(smoke, config, launch):
  done = launch(
    "--mode=sweep", f"--config={config}", f"--workdir={smoke}", "--questions=x"
  )
  assert done.returncode == 1
  (line,) = done.stderr.splitlines()
  assert "x" in line and "epochs, heads, scans" in line


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


def test_a_networks_own_training_takes_what_all_have():
  config = smoke_config.get_config()
  found = changed(config, "hoppe.training.epochs=7 training.batch=9")
  assert found.hoppe.training.epochs == 7
  assert found.training.batch == 9
  assert config.training.batch != 9
  assert not list(ways(found))


@pytest.mark.parametrize("folds", [(), (0, 0), (2,), (-1,)])
def test_folds_that_are_none(folds):
  config = smoke_config.get_config()
  config.folds = folds
  with pytest.raises(UserError, match="folds"):
    find_folds(config)


def test_others_lend_only_what_fits(tmp_path, smoke):
  stands = Workdir.existing(smoke)
  asked = {**stands.config, "seed": 5, "folds": (0,)}
  stands.refuse_other(asked, parts=("data", "folds_"))
  with pytest.raises(UserError, match="seed=0"):
    stands.refuse_other(asked, parts=("seed", "data"))
  with pytest.raises(UserError, match=r"config\.json"):
    Workdir.existing(tmp_path)
