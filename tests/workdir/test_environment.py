"""The commit of the code that runs."""

import subprocess

import pytest

from mrf_jax.workdir import environment


@pytest.fixture
def repository(tmp_path, monkeypatch):
  """A user's repository of one commit around our code, which is not in it."""
  for name in ("author", "committer"):
    monkeypatch.setenv(f"GIT_{name.upper()}_NAME", "somebody")
    monkeypatch.setenv(f"GIT_{name.upper()}_EMAIL", "somebody@example.org")
  code = tmp_path / "project/.venv/mrf_jax/workdir/environment.py"
  code.parent.mkdir(parents=True)
  code.write_text("VERSION = 1\n")
  (tmp_path / "project/own.py").write_text("print()\n")
  monkeypatch.setattr(environment, "__file__", str(code))
  git(tmp_path / "project", "init", "-q")
  git(tmp_path / "project", "add", "own.py")
  git(tmp_path / "project", "commit", "-qm", "one")
  return tmp_path / "project"


def git(folder, *arguments):
  return subprocess.run(
    ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
  ).stdout.strip()


def test_repository_around_the_code(repository):
  assert environment.git_commit() is None


@pytest.mark.parametrize("owned", [True, False])
def test_commit_whoever_owns_the_files(repository, monkeypatch, owned):
  git(repository, "add", "-f", ".venv")
  git(repository, "commit", "-qm", "two")
  commit = git(repository, "rev-parse", "HEAD")
  if not owned:
    # A switch of git's own tests.
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(subprocess.CalledProcessError):
      git(repository, "status")
  assert environment.git_commit() == commit
  code = repository / ".venv/mrf_jax/workdir/environment.py"
  code.write_text("VERSION = 2\n")
  assert environment.git_commit() == f"{commit}-dirty"
