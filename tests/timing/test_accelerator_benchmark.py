"""`benchmarks/accelerator.py` at tiny sizes, and with parts that fail."""

import json
import os
import subprocess
import sys

import pytest

from mrf_jax.evaluation.markdown import between_marks
from tests.report.test_documents import ROOT, script

PARTS = ("train-float32-shard_map", "transfer")
accelerator = script("benchmarks/accelerator.py")


def run(*flags):
  """The command on two virtual devices of a CPU."""
  virtual = "--xla_force_host_platform_device_count=2"
  return subprocess.run(
    [sys.executable, "benchmarks/accelerator.py", "--small", *flags],
    cwd=ROOT,
    env={
      **os.environ,
      "JAX_PLATFORMS": "cpu",
      "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {virtual}",
    },
    capture_output=True,
    text=True,
    check=False,
  )


def test_tiny_run(tmp_path):
  target = tmp_path / "new" / "accelerator"
  done = run(
    f"--parts={','.join(PARTS)}",
    f"--target={target}",
    "--warm_s=0",
    "--minutes=60",
  )
  assert done.returncode == 0, done.stderr
  content = json.loads(target.with_suffix(".json").read_text())
  assert content["machine"]["n_devices"] == 2
  parts = content["parts"]
  assert list(parts) == ["products", "scan", *PARTS]
  assert all(part["failed"] is None for part in parts.values()), parts
  products = [row["precision"] for row in parts["products"]["rows"]]
  assert products == ["float32", "tf32", "bfloat16"]
  for name in PARTS:
    (row,) = parts[name]["rows"]
    assert row["seconds"] > 0 and row["copy_share"] > 0
    assert (row["gflop"] is None) == (name == "transfer")
  (step,) = parts[PARTS[0]]["rows"]
  # 3 folds, 2 steps, 8 tiles of 4 × 4.
  assert step["count"] == 3 * 2 * 8 * 16 and step["unit"] == "patches"
  assert 0 < step["compile_s"]
  text = target.with_suffix(".md").read_text()
  assert text == done.stdout == accelerator.table(content) + "\n"
  assert "| train 3 folds, 2 steps, by_shard_map | float32 | " in text


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (["--parts=gomez"], "error: --parts: gomez is unknown; known are train-"),
    (["--write_docs"], "error: --write_docs: documents have no results of"),
  ],
)
def test_bad_flags_are_refused(flags, words):
  done = run(*flags)
  assert done.returncode == 1
  assert done.stderr.splitlines()[-1].startswith(words)


@pytest.mark.parametrize(
  ("end", "reason"),
  [
    ("", None),
    ("raise ValueError('no such device')", "failed: ValueError: no such dev"),
    ("sys.exit('RESOURCE_EXHAUSTED: 9 GiB')", "does not fit into the device"),
    ("os.kill(os.getpid(), 9)", "was ended by signal 9"),
    ("time.sleep(600)", "no time was left"),
  ],
)
def test_a_part_that_dies_leaves_its_lines(tmp_path, end, reason):
  path = tmp_path / "part.jsonl"
  code = (
    "import os, sys, time\n"
    "with open(sys.argv[1], 'w') as file: file.write('{\"a\": 1}\\n{\"a\": ')\n"
    f"{end}"
  )
  result = accelerator.run_part(
    [sys.executable, "-c", code, str(path)],
    path,
    seconds=2 if "sleep" in end else 600,
  )
  assert result["rows"] == [{"a": 1}]
  if reason is None:
    assert result["failed"] is None
  else:
    assert result["failed"].startswith(reason)


def test_a_part_that_failed_has_a_line():
  content = {
    "command": "python benchmarks/accelerator.py",
    "commit": "0123",
    "machine": {},
    "minutes": 1.0,
    "parts": {"match": {"rows": [], "failed": "no time was left"}},
  }
  *_, line = accelerator.table(content).splitlines()
  assert line.startswith("| match | no time was left |")


def test_the_command_itself_holds_no_device():
  """Else its parts would find the device's memory taken."""
  code = (
    "import accelerator, accelerator_parts\n"
    "from jax._src import xla_bridge\n"
    "assert not xla_bridge._backends"
  )
  folders = f"{ROOT}{os.pathsep}{ROOT / 'benchmarks'}"
  subprocess.run(
    [sys.executable, "-c", code],
    env={**os.environ, "PYTHONPATH": folders},
    check=True,
  )


def test_training_page_has_the_record():
  page = (ROOT / "docs" / "training.md").read_text()
  record = ROOT / "docs" / "accelerator.json"
  part = "Not run on a GPU yet."
  if record.exists():
    part = accelerator.table(json.loads(record.read_text()))
  assert page == between_marks(page, accelerator.MARK, part)
