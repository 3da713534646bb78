"""The report on a workdir's files."""

import json
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
  "git_commit": "abc",
  "python": "3",
  "seed": 5,
}


@pytest.fixture
def workdir(tmp_path):
  """Files of two runs."""
  for run, names in ((1, ("a.csv", "b.csv", "c.csv")), (2, ("d.csv",))):
    record_files(tmp_path, {**ENVIRONMENT, "git_commit": f"commit-{run}"})
    for name in names:
      with replacing(tmp_path / name) as path:
        path.write_text(name)
  return tmp_path


def test_whole_files_by_their_run(workdir):
  first, second, third = verify(workdir).splitlines()
  assert first == str(workdir)
  assert second.startswith("  3 files as run 1 wrote them: ")
  assert second.endswith(
    ", commit commit-1, Python 3, jax 0.9, 1 × cpu, seed 5"
  )
  assert "1 files as run 2" in third and "commit commit-2" in third


def test_changed_and_lost_files(workdir, capsys):
  (workdir / "a.csv").write_text("A.csv")
  (workdir / "b.csv").unlink()
  (workdir / "mine.txt").write_text("a user's own")
  with pytest.raises(UserError, match="2 of 4 files are not as they were"):
    verify(workdir)
  lines = capsys.readouterr().out.splitlines()
  assert [line for line in lines if "as run" not in line] == [
    str(workdir),
    "  changed: a.csv (of run 1)",
    "  missing: b.csv (of run 1)",
    "  not recorded: mine.txt",
  ]
  assert [line[:24] for line in lines if "as run" in line] == [
    "  1 files as run 1 wrote",
    "  1 files as run 2 wrote",
  ]


def test_damaged_manifest(workdir):
  """Lines of a run and of a file."""
  lines = (workdir / NAME).read_text().split("\n")
  for number, line in enumerate(lines):
    lines[number] = line.replace("commit-2", "x").replace("b.csv", "x")
  (workdir / NAME).write_text("\n".join(lines))
  report = verify(workdir)
  assert "run 2 wrote them: the manifest's line of this run is dam" in report
  damaged = [n for n, line in enumerate(lines, 1) if '"x"' in line]
  for number in damaged:
    assert f"\n  damaged manifest: line {number} of files.jsonl" in report
  assert len(damaged) == report.count("damaged manifest") == 2
  assert report.endswith("\n  not recorded: b.csv")


def test_workdirs_of_questions_count(workdir):
  variant = workdir / "questions/rank/four"
  shutil.copytree(workdir, variant)
  (variant / "a.csv").unlink()
  with pytest.raises(UserError, match="1 of 8 files"):
    verify(workdir)


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


def test_calibration_of_other_methods_goes(launch, smoke, tmp_path):
  """It is removed, and not missing then."""
  copy = tmp_path / "run"
  shutil.copytree(smoke, copy)
  done = launch(SMOKE, f"--workdir={copy}", "--config.methods=('cohen',)")
  assert done.returncode == 0, done.stderr
  assert not list(copy.glob("calibration.*"))
  done = launch("--mode=verify", f"--workdir={copy}")
  assert done.returncode == 0, done.stderr
  assert "missing" not in done.stdout
