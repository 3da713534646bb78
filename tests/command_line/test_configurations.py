"""Configurations by name or file, and the package `configs` for each."""

import pathlib
import sys

import pytest
from test_launch import fails_in_one_line

from mrf_jax import UserError
from mrf_jax.command_line import configurations
from mrf_jax.command_line.configurations import built_in, opened
from tests.conftest import ROOT

# Files that say which `configs.paper` they got.
MINE = "from configs import paper\n\nwhose = getattr(paper, 'whose', 'ours')\n"


def read(text):
  """Value `whose` of a configuration that is read as the program does."""
  with opened(text) as path:
    content: dict = {}
    exec(pathlib.Path(path).read_text(), content)
  return content["whose"]


@pytest.fixture
def mine(tmp_path, monkeypatch):
  """A folder with a configuration of one's own, in which the program runs."""
  monkeypatch.chdir(tmp_path)
  # As for an installed command.
  monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(ROOT)])
  (tmp_path / "mine.py").write_text(MINE)
  (tmp_path / "configs").mkdir()
  return tmp_path


def test_built_in_ones_have_a_sentence():
  assert list(built_in()) == [
    "ablation",
    "demo",
    "paper",
    "smoke",
    "study",
    "train",
  ]
  assert built_in()["smoke"].startswith("Every stage of the experiment")


def test_names_are_built_in_configurations():
  folder = configurations.built_in_folder()
  with opened("demo") as path:
    assert path == str(folder / "demo.py")
  with opened("demo:an argument") as path:
    assert path == f"{folder / 'demo.py'}:an argument"


def test_a_file_finds_the_built_in_ones(mine):
  assert read("mine.py") == "ours"


@pytest.mark.parametrize("is_package", [False, True])
def test_a_users_package_comes_first(mine, is_package):
  """What it does not have is built in."""
  if is_package:
    (mine / "configs/__init__.py").write_text("")
  (mine / "configs/base.py").write_text("whose = 'mine'\n")
  assert read("mine.py") == "ours"
  both = "from configs import base, smoke\nwhose = base.whose, smoke"
  (mine / "mine.py").write_text(both)
  whose, smoke = read("mine.py")
  assert whose == "mine" and smoke.get_config().data.n_subjects == 2
  (mine / "mine.py").write_text(MINE)
  (mine / "configs/paper.py").write_text("whose = 'mine'\n")
  assert read("mine.py") == "mine"


def test_built_in_ones_do_not_see_a_users_package(mine, monkeypatch):
  (mine / "configs/__init__.py").write_text("raise ValueError")
  (mine / "configs/paper.py").write_text("raise ValueError")
  monkeypatch.setattr(configurations, "built_in", lambda: {"mine": ""})
  folder = configurations.built_in_folder()
  monkeypatch.syspath_prepend(mine)
  with opened("mine") as path:
    assert path == str(folder / "mine.py")
    from configs import paper

    assert paper.__file__ == str(folder / "paper.py")


def test_a_users_module_of_this_name_stays(mine, monkeypatch):
  """Before and after, it is the one that Python finds."""
  (mine / "configs").rmdir()
  (mine / "configs.py").write_text("paper = None\n")
  monkeypatch.delitem(sys.modules, "configs", raising=False)
  monkeypatch.syspath_prepend(mine)
  import configs

  assert read("mine.py") == "ours"
  with opened("smoke"):
    from configs import paper

    assert paper.get_config
  assert sys.modules["configs"] is configs


def test_missing_ones_are_named(mine, launch):
  for name in ("dmo", "configs/demo.py"):
    with pytest.raises(UserError, match=f"{name}: there is no such.*demo, pap"):
      read(name)
  with pytest.raises(UserError, match="configs is a folder"):
    read("configs")
  done = launch("design", "--config=dmo", f"--workdir={mine / 'run'}")
  fails_in_one_line(
    done, "dmo", "built in are ablation, demo, paper, smoke, study"
  )
  assert not (mine / "run").exists()
