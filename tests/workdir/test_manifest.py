"""What a workdir says of its atomic, and what happened to them since."""

import json
import os
import shutil

import pytest
from test_launch import SMOKE, fails_in_one_line

from mrf_jax import UserError
from mrf_jax.io import atomic
from mrf_jax.io.atomic import replacing, replacing_folder
from mrf_jax.workdir import manifest

ENVIRONMENT = {
  "git_commit": "abc",
  "python": "3",
  "devices": ["cpu"],
  "seed": 5,
}


@pytest.fixture
def workdir(tmp_path):
  """A folder with a file, a folder, and one file that is written twice."""
  root = tmp_path / "run"
  (root / "maps").mkdir(parents=True)
  manifest.keep_ledger(root, ENVIRONMENT)
  write(root / "a.csv", "one")
  write(root / "a.csv", "two")
  write(root / "maps/b.nii", "three")
  with replacing_folder(root / "model") as folder:
    (folder / "x").write_text("four")
    (folder / "deep").mkdir()
    (folder / "deep/y").write_text("five")
  return root


def write(path, text):
  with replacing(path) as temporary:
    temporary.write_text(text)


def test_whole_files_are_as_they_were_written(workdir):
  said = manifest.verify(workdir)
  assert "4 files as run 1 wrote them" in said
  assert "commit abc" in said and "1 × cpu, seed 5" in said
  assert "changed" not in said and "not recorded" not in said


def test_what_was_changed_or_lost_is_named(workdir, capsys):
  data = bytearray((workdir / "maps/b.nii").read_bytes())
  data[2] ^= 1
  (workdir / "maps/b.nii").write_bytes(data)
  (workdir / "model/deep/y").unlink()
  (workdir / "mine.txt").write_text("a user's own")
  with pytest.raises(UserError, match="2 of 4 files are not as they were"):
    manifest.verify(workdir)
  said = capsys.readouterr().out
  assert "changed: maps/b.nii (of run 1)" in said
  assert "missing: model/deep/y (of run 1)" in said
  assert "not recorded: mine.txt" in said
  assert "2 files as run 1" in said


def test_a_later_run_owns_what_it_writes(workdir):
  manifest.keep_ledger(workdir, {**ENVIRONMENT, "git_commit": "def"})
  write(workdir / "a.csv", "six")
  # Another process of the same run.
  manifest.keep_ledger(workdir, None)
  write(workdir / "c.csv", "seven")
  said = manifest.verify(workdir)
  assert "3 files as run 1" in said
  assert "2 files as run 2" in said and "commit def" in said


def test_files_of_a_replaced_folder_are_not_missed(workdir):
  with replacing_folder(workdir / "model") as folder:
    (folder / "z").write_text("six")
  said = manifest.verify(workdir)
  assert "3 files as run 1" in said and "missing" not in said


def flip(path):
  data = bytearray(path.read_bytes())
  data[1] ^= 1
  path.write_bytes(data)


def to_folder(path):
  path.unlink()
  path.mkdir()


def to_nowhere(path):
  path.unlink()
  path.symlink_to("gone")


@pytest.mark.parametrize("damage", [flip, to_folder, to_nowhere])
def test_what_would_be_used_again_must_be_whole(workdir, damage):
  with replacing_folder(workdir / "models/cohen/fold-0") as folder:
    (folder / "model.json").write_text("six")
  manifest.check_reused(workdir)
  # Written again by each run, or not recorded at all.
  damage(workdir / "a.csv")
  (workdir / "maps/own.txt").write_text("a user's")
  manifest.check_reused(workdir)
  bundle = workdir / "models/cohen/fold-0"
  damage(bundle / "model.json")
  with pytest.raises(UserError, match=f"as run 1 wrote it; remove {bundle}, "):
    manifest.check_reused(workdir)
  shutil.rmtree(bundle)
  manifest.check_reused(workdir)
  damage(workdir / "maps/b.nii")
  with pytest.raises(UserError, match=r"remove .*maps/b.nii, "):
    manifest.check_reused(workdir)


def test_a_bundle_without_one_of_its_files_is_not_used(workdir):
  with replacing_folder(workdir / "models/cohen/fold-0") as folder:
    (folder / "a").write_text("six")
    (folder / "b").write_text("seven")
  (workdir / "models/cohen/fold-0/b").unlink()
  with pytest.raises(UserError, match=r"fold-0/b: is not as run 1"):
    manifest.check_reused(workdir)


def killed_before_the_rename(monkeypatch, write_again):
  """What stands if a process dies between the record and the new name."""
  with monkeypatch.context() as patch:
    patch.setattr(atomic.os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      write_again()


def test_a_kill_between_record_and_name_blames_no_file(workdir, monkeypatch):
  bundle = workdir / "models/cohen/fold-0"

  def write_bundle(text="six"):
    with replacing_folder(bundle) as folder:
      (folder / "model.json").write_text(text)

  write_bundle()
  killed_before_the_rename(
    monkeypatch, lambda: write(workdir / "maps/b.nii", "other")
  )
  killed_before_the_rename(monkeypatch, lambda: write_bundle("seven"))
  manifest.check_reused(workdir)
  assert "5 files as run 1" in manifest.verify(workdir)
  flip(bundle / "model.json")
  with pytest.raises(UserError, match="as run 1 wrote it"):
    manifest.check_reused(workdir)


def test_bundles_trained_again_by_versions_that_noted_no_folders(workdir):
  """They drew new names for the files of each."""
  record = workdir / manifest.NAME
  folder = workdir / "models/cohen/fold-0"
  folder.mkdir(parents=True)
  lines = record.read_text()
  for run, name in ((1, "drawn-1"), (2, "drawn-2")):
    if run == 2:
      manifest.keep_ledger(workdir, ENVIRONMENT)
    write(folder / name, name)
  assert "folder" not in record.read_text().removeprefix(lines)
  (folder / "drawn-1").unlink()
  manifest.check_reused(workdir)
  (folder / "drawn-2").unlink()
  with pytest.raises(UserError, match="drawn-2: is not as run 2"):
    manifest.check_reused(workdir)


def test_what_another_workdir_lends_is_looked_at_and_no_more(workdir):
  write(workdir / "maps/c.nii", "eight")
  (workdir / "data").mkdir()
  write(workdir / "data/subject-00.h5", "nine")
  flip(workdir / "maps/c.nii")
  manifest.check_borrowed(workdir, "data")
  other = workdir.parent / "other"
  shutil.copytree(workdir, other)
  flip(other / "data/subject-00.h5")
  with pytest.raises(
    UserError, match=r"the command that made .*other makes it"
  ):
    manifest.check_borrowed(other, "data")


def test_what_comes_and_goes_is_not_recorded(workdir):
  record = workdir / manifest.NAME
  before = record.read_text()
  for step in ("step-1", "step-2"):
    with replacing_folder(workdir / "checkpoints/cohen" / step) as folder:
      (folder / "arrays").write_text("many")
  atomic.remove(workdir / "checkpoints/cohen/step-1/arrays")
  assert record.read_text() == before


def test_half_a_line_costs_its_own_file_only(workdir):
  record = workdir / manifest.NAME
  record.write_bytes(record.read_bytes()[:-20])
  manifest.keep_ledger(workdir, ENVIRONMENT)
  write(workdir / "c.csv", "seven")
  said = manifest.verify(workdir)
  assert said.count("not recorded") == 1
  assert "1 files as run 2" in said


@pytest.mark.parametrize("part", ["sha256", "path"])
def test_a_damaged_line_is_no_word_against_its_file(workdir, part):
  """A hexadecimal digit of a checksum, or a letter of a name."""
  record = workdir / manifest.NAME
  # The line before it speaks of what was there then.
  write(workdir / "maps/b.nii", "written again")
  lines = record.read_text().split("\n")
  (number,) = [k for k, x in enumerate(lines) if "b.nii" in x][1:]
  at = lines[number].index(part) + len(part) + 6
  other = "0" if lines[number][at] != "0" else "1"
  lines[number] = lines[number][:at] + other + lines[number][at + 1 :]
  record.write_text("\n".join(lines))
  manifest.check_reused(workdir)
  said = manifest.verify(workdir)
  assert f"damaged record: line {number + 1} of atomic.jsonl" in said
  # Of others it says nothing.
  flip(workdir / "a.csv")
  with pytest.raises(UserError, match="1 of 4 files"):
    manifest.verify(workdir)


@pytest.mark.parametrize("part", ["folder", "began"])
def test_damaged_lines_of_folders_and_runs(workdir, part, capsys):
  with replacing_folder(workdir / "models/cohen/fold-0") as folder:
    (folder / "old").write_text("six")
  manifest.keep_ledger(workdir, ENVIRONMENT)
  with replacing_folder(workdir / "models/cohen/fold-0") as folder:
    (folder / "new").write_text("seven")
  record = workdir / manifest.NAME
  before, found, after = record.read_text().rpartition(f'"{part}": "')
  record.write_text(before + found + "x" + after[1:])
  manifest.check_reused(workdir)
  said = manifest.verify(workdir)
  assert "damaged record" in said and "files as run 2 wrote them" in said
  # Its number is not given again.
  manifest.keep_ledger(workdir, ENVIRONMENT)
  write(workdir / "a.csv", "eight")
  assert "1 files as run 3" in manifest.verify(workdir)


@pytest.mark.parametrize(
  "line",
  [
    '{"path": 5, "sha256": "0", "bytes": 1, "run": 1}',
    '{"path": "maps/x", "sha256": 0, "bytes": "1", "run": 1}',
    '{"folder": 7, "run": 1}',
    '{"run": [1], "began": "x"}',
    '{"run": 1, "began": "x", "versions": 3}',
    '{"run": 1, "began": "x", "devices": 3}',
    '{"run": 1}',
    '["run"]',
    "[" * 100_000,
    "\0\ufffd",
  ],
)
def test_odd_lines_are_named(workdir, line):
  with open(workdir / manifest.NAME, "a") as file:
    file.write(line + "\n")
  manifest.check_reused(workdir)
  manifest.keep_ledger(workdir, None)
  said = manifest.verify(workdir)
  assert "4 files as run 1 wrote them" in said
  assert said.count("damaged record") == 1


def test_records_of_versions_without_checksums_count(workdir):
  record = workdir / manifest.NAME
  lines = [json.loads(x) for x in record.read_text().split("\n") if x]
  for line in lines:
    del line["crc32"]
  record.write_text("".join(f"\n{json.dumps(line)}\n" for line in lines))
  assert "4 files as run 1 wrote them" in manifest.verify(workdir)
  flip(workdir / "maps/b.nii")
  with pytest.raises(UserError, match=r"b\.nii: is not as run 1 wrote it"):
    manifest.check_reused(workdir)


@pytest.mark.parametrize("damage", [to_folder, to_nowhere])
def test_what_is_no_record_is_named(workdir, damage):
  record = workdir / manifest.NAME
  damage(record)
  with pytest.raises(UserError, match=f"is no file; remove {record}, and the"):
    manifest.keep_ledger(workdir, ENVIRONMENT)


def test_a_failed_write_is_not_recorded(workdir):
  with pytest.raises(ZeroDivisionError), replacing(workdir / "a.csv") as path:
    path.write_text("half")
    _ = 1 / 0
  assert "4 files as run 1" in manifest.verify(workdir)


def test_what_has_become_untrue_is_not_missed(workdir):
  atomic.remove(workdir / "a.csv")
  atomic.remove(workdir / "never.csv")
  assert not (workdir / "a.csv").exists()
  said = manifest.verify(workdir)
  assert "3 files as run 1" in said and "missing" not in said
  write(workdir / "a.csv", "anew")
  assert "4 files as run 1" in manifest.verify(workdir)


def test_calibration_of_other_methods_goes(launch, smoke, tmp_path):
  copy = tmp_path / "run"
  shutil.copytree(smoke, copy)
  done = launch(SMOKE, f"--workdir={copy}", "--config.methods=('cohen',)")
  assert done.returncode == 0, done.stderr
  assert not list(copy.glob("calibration.*"))
  done = launch("--mode=verify", f"--workdir={copy}")
  assert done.returncode == 0, done.stderr
  assert "missing" not in done.stdout


def test_folders_on_another_disk_are_recorded_too(tmp_path, monkeypatch):
  root, scratch = tmp_path / "run", tmp_path / "scratch"
  root.mkdir()
  scratch.mkdir()
  (root / "data").symlink_to(scratch)
  # So may the workdir itself.
  (tmp_path / "link").symlink_to(root)
  monkeypatch.chdir(tmp_path)
  manifest.keep_ledger("link", ENVIRONMENT)
  write(root / "data/subject-00.h5", "one")
  write(root.relative_to(tmp_path) / "data/subject-01.h5", "two")
  write(tmp_path / "link/a.csv", "three")
  assert "3 files as run 1" in manifest.verify(root)
  flip(scratch / "subject-00.h5")
  with pytest.raises(UserError, match=r"00\.h5: is not as run 1"):
    manifest.check_reused(root)


def test_a_group_may_write_the_record_if_the_user_lets_it(tmp_path):
  before = os.umask(0o002)
  try:
    manifest.keep_ledger(tmp_path, ENVIRONMENT)
  finally:
    os.umask(before)
  assert (tmp_path / manifest.NAME).stat().st_mode & 0o777 == 0o664


def test_no_record(tmp_path):
  with pytest.raises(UserError, match="is no workdir with a record"):
    manifest.verify(tmp_path)


def test_every_file_of_an_experiment_is_recorded(launch, smoke, tmp_path):
  done = launch("--mode=verify", f"--workdir={smoke}")
  assert done.returncode == 0, done.stderr
  assert "not recorded" not in done.stdout
  lines = [
    json.loads(x) for x in (smoke / manifest.NAME).read_text().split("\n") if x
  ]
  files = {line["path"] for line in lines if "path" in line}
  assert {"table1.csv", "figure3.png", "data/subject-00.h5"} <= files
  assert "maps/cohen/subject-01_t1.nii.gz" in files
  assert "models/cohen/fold-0/model.json" in files
  assert not any(name.startswith(("metrics", "checkpoints")) for name in atomic)
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
