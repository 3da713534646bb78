"""What the harness holds for whole, and what it does not."""

import shutil

import pytest
import stages

from mrf_jax import load_model
from mrf_jax.inference.export import export_model


@pytest.fixture(scope="module")
def sound(smoke, tmp_path_factory):
  """A folder with what the stages make, to be copied."""
  folder = tmp_path_factory.mktemp("sound")
  shutil.copytree(smoke, folder / "run")
  bundle = smoke / "models/cohen/fold-0"
  shutil.copytree(bundle, folder / "bundle")
  exported = export_model(load_model(bundle))
  (folder / "model.stablehlo").write_bytes(exported)
  page = folder / "report/report.html"
  page.parent.mkdir()
  page.write_text("<html>\n<p>Table 1</p>\n</html>\n")
  # Left by a run that was killed, which says nothing of it.
  (folder / "run/.tmp-1@host-table1.md").write_text("half")
  stages.check_whole(folder)
  return folder


def to_half(content: bytes) -> bytes:
  return content[: len(content) // 2]


def to_two_lines(content: bytes) -> bytes:
  return b"".join(content.splitlines(keepends=True)[:2])


@pytest.mark.parametrize(
  ("name", "damage"),
  [
    ("run/config.json", to_half),
    ("run/data/subject-00.h5", to_half),
    ("run/figure3.png", to_half),
    ("run/maps/cohen/subject-00_t1.nii.gz", to_half),
    ("run/models/hoppe/fold-1/model.json", to_half),
    ("run/models/hoppe/fold-1/variables/arrays.npz", to_half),
    ("run/models/hoppe/fold-1/variables/commit_success.txt", to_half),
    ("run/table1.csv", to_two_lines),
    ("run/table1.md", lambda content: content.partition(b"\n")[0] + b"\n"),
    ("bundle/variables/arrays.npz", to_half),
    ("bundle/model.json", to_half),
    ("model.stablehlo", to_half),
    ("model.stablehlo", lambda content: content[:4]),
    ("report/report.html", to_two_lines),
  ],
)
def test_half_a_file_is_found(sound, tmp_path, name, damage):
  copy = tmp_path / "copy"
  shutil.copytree(sound, copy)
  path = copy / name
  content = path.read_bytes()
  path.write_bytes(damage(content))
  assert path.read_bytes() != content
  with pytest.raises(Exception):  # noqa: B017
    stages.check_whole(copy)


@pytest.mark.parametrize("name", ["arrays.npz", "checkpoint.json"])
def test_half_a_checkpoint_is_found(sound, tmp_path, name):
  step = tmp_path / "bundle.training/cohen/fold--1/step-00000001"
  shutil.copytree(sound / "bundle/variables", step / "arrays")
  (step / "checkpoint.json").write_text('{"step": 1}')
  stages.check_whole(tmp_path)
  (path,) = step.rglob(name)
  path.write_bytes(to_half(path.read_bytes()))
  with pytest.raises(Exception):  # noqa: B017
    stages.check_whole(tmp_path)


def test_missing_results_are_no_damage(sound, tmp_path):
  """They may be about to be written."""
  shutil.copytree(sound / "run", tmp_path / "run")
  (tmp_path / "run/table1.md").unlink()
  stages.check_whole(tmp_path)


@pytest.mark.parametrize(
  "name",
  [
    "run/data/.tmp-1@host-subject-00.h5",
    "run/models/cohen/.fold-0.1@host.tmp/model.json",
    "maps/.new-1@host/t1.nii.gz",
    "bundle.training/.lock",
  ],
)
def test_leftovers_are_seen(tmp_path, name):
  path = tmp_path / name
  path.parent.mkdir(parents=True)
  (tmp_path / "run").mkdir(exist_ok=True)
  (tmp_path / "run/.lock").write_text("1 on host")
  assert not [x for x in stages.leftovers(tmp_path / "run") if x == ".lock"]
  path.write_text("half")
  assert stages.leftovers(tmp_path)
