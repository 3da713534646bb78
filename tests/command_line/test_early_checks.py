"""Files and folders are checked before JAX starts."""

import collections

import ml_collections
import pytest

from mrf_jax import UserError
from mrf_jax.command_line.inputs import check_inputs
from mrf_jax.command_line.modes import MODES
from tests.launcher import run_python


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """The current folder, with bundles, a scan and a schedule."""
  monkeypatch.chdir(tmp_path)
  for k in range(6):
    bundle = tmp_path / f"run/models/cohen/fold-{k}"
    bundle.mkdir(parents=True)
    (bundle / "model.json").write_text("{}")
  for name in ("scan.nii.gz", "mask.nii.gz", "train.txt", "subject.h5"):
    (tmp_path / name).write_text("")
  return tmp_path


NETWORK = "run/models/cohen/fold-0"
GIVEN = {
  "crossval": {"workdir": "run"},
  "report": {"workdir": "run"},
  "verify": {"workdir": "run"},
  "import": {"scan": "scan.nii.gz", "schedule": "train.txt", "output": "a.h5"},
  "reconstruct": {"model": [NETWORK], "scan": "subject.h5", "output": "maps"},
  "finetune": {"model": [NETWORK], "subjects": ["subject.h5"], "output": "net"},
  "export": {"model": [NETWORK], "output": "net.stablehlo"},
}
CONFIG = {
  "data": {"files": ()},
  "sequence": {"path": None, "tr_path": None},
}


def check(mode, **changes):
  given = {**GIVEN[mode], **changes}
  if mode == "crossval":
    given = {"config": ml_collections.ConfigDict(CONFIG), **given}
  check_inputs(mode, collections.defaultdict(lambda: None, given))


@pytest.mark.parametrize("mode", GIVEN)
def test_what_is_there_passes(folder, mode):
  check(mode)


@pytest.mark.parametrize("mode", GIVEN)
def test_what_is_needed_is_named(folder, mode):
  for name in MODES[mode].needs:
    with pytest.raises(UserError, match=f"^--{name} is missing"):
      check(mode, **{name: None})


@pytest.mark.parametrize(
  ("mode", "change", "words"),
  [
    (
      "import",
      {"scan": "scam.nii.gz"},
      "--scan: scam.nii.gz: there is no such "
      "file; this folder has scan.nii.gz, ",
    ),
    ("import", {"mask": "a/mask.nii"}, "no such file; there is no folder a$"),
    ("import", {"schedule": "run"}, "--schedule: run is a folder, not a file"),
    ("import", {"output": "a.nii"}, "a.nii does not end in .h5"),
    ("import", {"output": "a/b.h5"}, "cannot be written .there is no folder a"),
    ("import", {"t1_unit": "h"}, "--t1_unit: 'h' is not one of s, ms"),
    ("import", {"echo": "late"}, "--echo: 'late' is not one of adc_start"),
    ("import", {"time_unit": "h"}, "--time_unit: 'h' is not one of s, ms, us"),
    ("import", {"misfit": "x"}, "--misfit: 'x' is not one of refuse, accept"),
    (
      "reconstruct",
      {"model": ["run"]},
      "run: no model bundle .* in it are "
      "models/cohen/fold-0, .*models/cohen/fold-3 and 2 more",
    ),
    ("reconstruct", {"model": [NETWORK, "gone"]}, "gone: .*no such folder"),
    ("reconstruct", {"model": ["dictionary"]}, "--config is missing"),
    ("reconstruct", {"b1": "free"}, "--b1 is for --model=dictionary_fit, not"),
    (
      "reconstruct",
      {"model": ["dictionary_svd"], "b1_map": "scan.nii.gz"},
      "--b1_map is for dictionary_fit and networks, not",
    ),
    (
      "reconstruct",
      {"model": ["dictionary_fit"], "b1": "x"},
      "--b1: 'x' is not one of none, free, map",
    ),
    (
      "reconstruct",
      {"model": ["dictionary_fit"], "b1": "free", "b1_map": "scan.nii.gz"},
      "--b1=free does not use --b1_map",
    ),
    (
      "reconstruct",
      {"model": ["dictionary_svd"], "uncertainty": True},
      "dictionary_svd has no standard deviations; --model=dictionary_fit has",
    ),
    (
      "reconstruct",
      {"model": ["dictionary_fit"], "uncertainty": True, "passes": 4},
      "--passes is for networks, not dictionary_fit",
    ),
    ("import", {"b1_map": "gone.nii"}, "--b1_map: gone.nii: there is no such"),
    ("reconstruct", {"output": "train.txt"}, "train.txt is not a folder"),
    ("reconstruct", {"output": "train.txt/a"}, "train.txt is not a folder"),
    (
      "finetune",
      {"subjects": ["subject.h5", "b.h5"]},
      "--subjects: b.h5: there is no such file; this folder has subject.h5",
    ),
    ("finetune", {"output": "run"}, "--output: run is there already"),
    ("finetune", {"output": "."}, "--output: . is there already"),
    ("import", {"output": "subject.h5", "scan": "subject.h5"}, "--scan itself"),
    ("verify", {"workdir": 300 * "long"}, "there is no such folder"),
    ("export", {"model": [300 * "long"]}, "no model bundle"),
    ("finetune", {"model": [NETWORK] * 2}, "2 bundles; only reconstruct"),
    ("export", {"export_shape": "6"}, "'6' is not three numbers"),
    ("export", {"output": "a/b.stablehlo"}, "there is no folder a"),
    ("report", {"workdir": None}, "--workdir is missing: .*--compare"),
    ("report", {"workdir": "rum"}, "rum: there is no such folder; .* has run"),
    ("report", {"workdir": None, "compare": ["b.json"]}, "--compare: b.json"),
    ("verify", {"workdir": "train.txt"}, "train.txt is a file, not a folder"),
    ("crossval", {"workdir": "train.txt/a"}, "--workdir: .* cannot be written"),
  ],
)
def test_what_is_wrong_is_named(folder, mode, change, words):
  with pytest.raises(UserError, match=words) as caught:
    check(mode, **change)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("data.files", ("subject.h5", "gone.h5")),
    ("sequence.path", "gone.txt"),
    ("sequence.tr_path", "gone.txt"),
  ],
)
def test_files_of_a_configuration_are_named(folder, name, value):
  config = ml_collections.ConfigDict(CONFIG)
  config.update_from_flattened_dict({name: value})
  with pytest.raises(UserError, match=f"{name}: gone.*no such file"):
    check("crossval", config=config)


def test_folders_of_maps_are_named(folder):
  """If the workdir is new: another one may have their heads already."""
  config = ml_collections.ConfigDict(CONFIG)
  config.data.maps = ("run", "gone")
  words = r"--config\.data\.maps: gone: there is"
  with pytest.raises(UserError, match=words):
    check("crossval", config=config, workdir="new")
  check("crossval", config=config, workdir="run")


@pytest.mark.parametrize("config", [3, None, ml_collections.ConfigDict()])
def test_what_is_no_configuration_is_left_to_the_stage(folder, config):
  check_inputs(
    "crossval",
    collections.defaultdict(lambda: None, config=config or "x", workdir="run"),
  )


def test_names_of_files_stay_in_one_line(folder):
  (folder / "scan\n1.nii.gz").write_text("")
  with pytest.raises(UserError) as caught:
    check("import", scan="scan1.nii.gz")
  assert "\n" not in str(caught.value)


def test_a_missing_file_does_not_wait_for_jax(folder):
  """The program has not even imported it."""
  flags = [f"--model={folder / NETWORK}", "--scan=gone.h5", "--output=maps"]
  code = (
    "import atexit, sys; from mrf_jax.command_line.script import run; "
    "atexit.register(lambda: print('jax' in sys.modules)); "
    "sys.argv = ['mrf-jax', 'reconstruct', *sys.argv[1:]]; run()"
  )
  done = run_python(code, *flags)
  assert done.returncode == 1
  assert done.stderr.startswith("error: --scan: gone.h5: there is no such file")
  assert done.stdout == "False\n"
