"""The report on a workdir's files."""

import json
import re
import shutil

import pytest
from test_launch import SMOKE, fails_in_one_line

from mrf_jax import UserError
from mrf_jax.io.atomic import replacing
from mrf_jax.stages.verify import verify
from mrf_jax.workdir.manifest import NAME, record_files

ENVIRONMENT = {
  "versions": {"jax": "0.9"},
  "devices": ["cpu"],
  "python": "3",
  "seed": 5,
}


@pytest.fixture
def workdir(tmp_path):
  """Files of two runs."""
  for commit, names in (("first", "abc"), ("second", "d")):
    record_files(tmp_path, {**ENVIRONMENT, "git_commit": commit})
    for name in names:
      with replacing(tmp_path / name) as path:
        path.write_text(name)
  return tmp_path


def report_lines(report):
  """Without the times of runs."""
  return re.sub(r"them: \S+, ", "them: ", report).splitlines()


def test_whole_files_by_their_run(workdir):
  rest = "Python 3, jax 0.9, 1 × cpu, seed 5"
  assert report_lines(verify(workdir)) == [
    str(workdir),
    f"  3 files as run 1 wrote them: commit first, {rest}",
    f"  1 files as run 2 wrote them: commit second, {rest}",
  ]


def test_report_of_damage(workdir, capsys):
  """Also in the workdir of a question."""
  variant = workdir / "questions/rank/four"
  shutil.copytree(workdir, variant)
  (workdir / "a").write_text("A")
  (workdir / "b").unlink()
  (workdir / "mine.txt").write_text("a user's own")
  text = (variant / NAME).read_text()
  # The lines of a run and of a file.
  text = text.replace("first", "x").replace('"path": "b', '"path": "x')
  (variant / NAME).write_text(text)
  with pytest.raises(UserError, match="2 of 7 files are not as they were"):
    verify(workdir)
  rest = "commit second, Python 3, jax 0.9, 1 × cpu, seed 5"
  whole = f"  1 files as run 2 wrote them: {rest}"
  assert report_lines(capsys.readouterr().out) == [
    str(workdir),
    f"  1 files as run 1 wrote them: {rest.replace('second', 'first')}",
    whole,
    "  changed: a (of run 1)",
    "  missing: b (of run 1)",
    "  not recorded: mine.txt",
    str(variant),
    "  2 files as run 1 wrote them: the manifest's line of this run is damaged",
    whole,
    "  damaged manifest: line 2 of files.jsonl",
    "  damaged manifest: line 6 of files.jsonl",
    "  not recorded: b",
  ]


def test_no_manifest(tmp_path):
  with pytest.raises(UserError, match="is not a workdir with a manifest"):
    verify(tmp_path)


def test_finished_workdir(launch, smoke, tmp_path):
  """Every file of an experiment is recorded, and a flipped bit is found."""
  done = launch("--mode=verify", f"--workdir={smoke}")
  assert done.returncode == 0, done.stderr
  assert "not recorded" not in done.stdout
  lines = [json.loads(x) for x in (smoke / NAME).read_text().split("\n") if x]
  files = {line["path"] for line in lines if "path" in line}
  assert {"table1.csv", "figure3.png", "data/subject-00.h5"} <= files
  assert "maps/cohen/subject-01_t1.nii.gz" in files
  assert "models/cohen/fold-0/model.json" in files
  assert not any(name.startswith(("metrics", "checkpoints")) for name in files)
  copy = tmp_path / "copy"
  shutil.copytree(smoke, copy)
  with open(copy / "data/subject-01.h5", "r+b") as file:
    file.seek(5000)
    byte = file.read(1)
    file.seek(5000)
    file.write(bytes([byte[0] ^ 4]))
  done = launch("--mode=verify", f"--workdir={copy}")
  fails_in_one_line(done, copy, "1 of")
  assert "changed: data/subject-01.h5" in done.stdout
  fails_in_one_line(launch("--mode=verify"), "--workdir is missing")


def test_removed_calibration_is_not_missing(launch, smoke, tmp_path):
  copy = tmp_path / "run"
  shutil.copytree(smoke, copy)
  done = launch(SMOKE, f"--workdir={copy}", "--config.methods=('cohen',)")
  assert done.returncode == 0, done.stderr
  assert not list(copy.glob("calibration.*"))
  done = launch("--mode=verify", f"--workdir={copy}")
  assert done.returncode == 0, done.stderr
  assert "missing" not in done.stdout
