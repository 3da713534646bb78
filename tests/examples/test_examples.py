"""The example scripts run, at the smallest size, and show what they say."""

import ast
import pathlib

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]
# Of every script, the constants that the tests make smaller.
SMALL = {
  "dictionary_match": {
    "FRAMES": 96,
    "STEP_PERCENT": 12.0,
    "VOXELS": 200,
    "RANK": 5,
  },
  "cramer_rao": {"FRAMES": 60, "SIDE": 4, "VOXELS": 300},
  "train_network": {
    "MATRIX": 24,
    "SLICES": 1,
    "HEADS": 2,
    "WIDTHS": (8, 8),
    "RANK": 4,
    "EPOCHS": 2,
    "FRAMES": 96,
  },
  "own_scan": {"FRAMES": 96, "MATRIX": 32, "COILS": 2, "STEPS": 20},
}


def run_example(name, folder, **constants):
  """Runs a script with other constants; returns its variables."""
  path = ROOT / "examples" / f"{name}.py"
  tree = ast.parse(path.read_text(), path)
  constants["FOLDER"] = folder
  left = set(constants)
  for node in tree.body:
    names = []
    if isinstance(node, ast.Assign):
      (target,) = node.targets
      names = target.elts if isinstance(target, ast.Tuple) else [target]
    own = [x.id for x in names if isinstance(x, ast.Name) and x.id in left]
    if own:
      # After the assignment, which may be of several.
      change = ast.parse("\n".join(f"{n} = _constants[{n!r}]" for n in own))
      at = tree.body.index(node) + 1
      tree.body[at:at] = change.body
      left -= set(own)
  assert not left
  variables = {"__name__": "__main__", "_constants": constants}
  exec(compile(ast.fix_missing_locations(tree), path, "exec"), variables)
  return variables


@pytest.fixture
def run(tmp_path):
  matplotlib.use("Agg")
  folder = tmp_path / "out"
  yield lambda name: (run_example(name, folder, **SMALL[name]), folder)
  pyplot.close("all")


def assert_pictures(folder, *names):
  """Each picture is there, and not of one colour."""
  for name in names:
    with Image.open(folder / f"{name}.png") as picture:
      assert np.ptp(np.asarray(picture.convert("L"))) > 100


def test_dictionary_match(run, capsys):
  seen, folder = run("dictionary_match")
  assert_pictures(folder, "dictionary_fingerprints", "dictionary_match")
  printed = capsys.readouterr().out
  assert "Sequence: 96 frames" in printed
  assert "mrf_jax.sliding_window(frames, window=48, stride=8)" in printed
  # Of a coarse dictionary, in steps of 12 %.
  error = np.abs(seen["maps"].t1_ms / seen["true_t1_ms"] - 1)
  assert np.median(error) < 0.3


def test_cramer_rao(run):
  seen, folder = run("cramer_rao")
  assert_pictures(folder, "cramer_rao")
  bounds = seen["bounds"]
  for name in seen["sequences"]:
    known, unknown = bounds[name, True], bounds[name, False]
    assert np.all(known.t1_ms <= unknown.t1_ms)


def test_train_network(run, capsys):
  seen, folder = run("train_network")
  assert_pictures(folder, "train_network", "train_network_curve")
  assert len(seen["curve"]) == 2
  assert seen["maps"].t1_ms.shape == (seen["left_out"].n_voxels,)
  assert "training mean" in capsys.readouterr().out


# A tiny scan whose sequence leaves much to noise and undersampling.
@pytest.mark.filterwarnings("ignore:any sequence could explain:UserWarning")
def test_own_scan(run, capsys):
  _, folder = run("own_scan")
  assert_pictures(folder, "own_scan")
  maps = sorted(path.name for path in (folder / "maps").iterdir())
  assert maps == ["pd.nii.gz", "t1.nii.gz", "t2.nii.gz"]
  assert "simulated by mrf_jax" in capsys.readouterr().out


def test_every_example_is_tested():
  scripts = {path.stem for path in (ROOT / "examples").glob("*.py")}
  assert scripts == set(SMALL)
