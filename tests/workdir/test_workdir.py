"""Whose results a workdir holds."""

import subprocess

import pytest

from mrf_jax import UserError
from mrf_jax.workdir import manifest, workdir
from mrf_jax.workdir.workdir import Workdir

CONFIG = {"seed": 0, "data": {"n": 3}}


def test_another_configuration_is_refused_where_there_are_results(tmp_path):
  Workdir(tmp_path / "run", CONFIG)
  (tmp_path / "run/data/subject-00.h5").write_text("a result")
  Workdir(tmp_path / "run", CONFIG)
  with pytest.raises(UserError, match=r"another configuration: data\.n=3 "):
    Workdir(tmp_path / "run", {"seed": 0, "data": {"n": 4}})


def test_a_run_that_came_to_nothing_is_in_nobodys_way(tmp_path):
  Workdir(tmp_path / "run", CONFIG)
  (tmp_path / "run/errors.log").write_text("a story")
  other = {"seed": 1, "data": {"n": 3}}
  Workdir(tmp_path / "run", other)
  assert Workdir.existing(tmp_path / "run").config == other


@pytest.mark.parametrize(
  "leftover",
  [
    "data/.tmp-7@host-subject-00.h5",
    "models/cohen/.fold-0.7@host.tmp/model.json",
    ".new-7@host/record.json",
  ],
)
def test_half_of_a_killed_run_is_nothing(tmp_path, leftover):
  root = tmp_path / "run"
  Workdir(root, CONFIG)
  (root / leftover).parent.mkdir(parents=True, exist_ok=True)
  (root / leftover).write_text("half")
  other = {**CONFIG, "seed": 1}
  Workdir(root, other)
  assert Workdir.existing(root).config == other


def test_results_on_another_disk_are_results(tmp_path):
  root, scratch = tmp_path / "run", tmp_path / "scratch"
  scratch.mkdir()
  root.mkdir()
  (root / "data").symlink_to(scratch)
  Workdir(root, CONFIG)
  (scratch / "subject-00.h5").write_text("a result")
  with pytest.raises(UserError, match="holds results of another configuration"):
    Workdir(root, {**CONFIG, "seed": 4})


@pytest.fixture
def damaged(tmp_path):
  """A workdir with a result, in whose configuration a digit has changed."""
  root = tmp_path / "run"
  Workdir(root, CONFIG)
  (root / "data/subject-00.h5").write_text("a result")
  path = root / "config.json"
  text = path.read_text()
  path.write_text(text.replace('"seed": 0', '"seed": 4'))
  assert path.read_text() != text
  return root


def test_a_damaged_configuration_is_named(damaged, capsys):
  with pytest.raises(UserError, match="1 of 1 files"):
    manifest.verify(damaged)
  assert "changed: config.json (of run 1)" in capsys.readouterr().out
  with pytest.raises(UserError, match=r"config\.json: is not as run 1 wrote"):
    manifest.check_borrowed(damaged, "data")


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_if_the_same_is_asked_for_it_is_written_again(damaged, text):
  if text is not None:
    (damaged / "config.json").write_text(text)
  Workdir(damaged, CONFIG)
  assert Workdir.existing(damaged).config == CONFIG
  assert "1 files as run 2 wrote them" in manifest.verify(damaged)


def test_if_another_is_asked_for_it_says_what_to_remove(damaged):
  # Other methods may be asked for.
  other = {**CONFIG, "methods": ["cohen"]}
  path = damaged / "config.json"
  with pytest.raises(
    UserError, match=rf"not as run 1 wrote it \(seed=4 .*remove {path}, "
  ):
    Workdir(damaged, other)
  path.unlink()
  Workdir(damaged, other)
  assert Workdir.existing(damaged).config == other


def test_a_whole_configuration_is_another_one(tmp_path):
  Workdir(tmp_path / "run", CONFIG)
  (tmp_path / "run/data/subject-00.h5").write_text("a result")
  with pytest.raises(UserError, match="holds results of another configuration"):
    Workdir(tmp_path / "run", {**CONFIG, "seed": 4})


def test_a_configuration_that_came_to_nothing_is_not_taken_for_ours(tmp_path):
  """The first one stands in the record too."""
  root = tmp_path / "run"
  Workdir(root, CONFIG)
  Workdir(root, {**CONFIG, "seed": 1})
  (root / "data/subject-00.h5").write_text("a result")
  (root / "config.json").write_text("{}")
  with pytest.raises(UserError, match="not as run 2 wrote it"):
    Workdir(root, CONFIG)


def test_records_of_before_do_not_speak_of_the_configuration(damaged):
  record = damaged / manifest.NAME
  lines = record.read_text().splitlines()
  record.write_text("\n".join(x for x in lines if "config.json" not in x))
  with pytest.raises(UserError, match="holds results of another configuration"):
    Workdir(damaged, CONFIG)


@pytest.fixture
def repository(tmp_path, monkeypatch):
  """A user's repository of one commit, with our code in it but not of it."""
  for name in ("author", "committer"):
    monkeypatch.setenv(f"GIT_{name.upper()}_NAME", "somebody")
    monkeypatch.setenv(f"GIT_{name.upper()}_EMAIL", "somebody@example.org")
  code = tmp_path / "project/.venv/mrf_jax/workdir/workdir.py"
  code.parent.mkdir(parents=True)
  code.write_text("VERSION = 1\n")
  (tmp_path / "project/own.py").write_text("print()\n")
  monkeypatch.setattr(workdir, "__file__", str(code))
  git(tmp_path / "project", "init", "-q")
  git(tmp_path / "project", "add", "own.py")
  git(tmp_path / "project", "commit", "-qm", "one")
  return tmp_path / "project"


def git(folder, *arguments):
  return subprocess.run(
    ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
  ).stdout.strip()


def test_the_commit_of_a_repository_around_us_is_not_ours(repository):
  assert workdir.git_commit() is None


@pytest.mark.parametrize("owned", [True, False])
def test_our_commit_whoever_owns_it(repository, monkeypatch, owned):
  git(repository, "add", "-f", ".venv")
  git(repository, "commit", "-qm", "two")
  commit = git(repository, "rev-parse", "HEAD")
  if not owned:
    # A switch of git's own tests.
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(subprocess.CalledProcessError):
      git(repository, "status")
  assert workdir.git_commit() == commit
  (repository / ".venv/mrf_jax/workdir/workdir.py").write_text("VERSION = 2\n")
  assert workdir.git_commit() == f"{commit}-dirty"
