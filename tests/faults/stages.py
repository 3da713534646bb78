"""Stages that are interrupted, and what shows that nothing came of it."""

import contextlib
import csv
import io
import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.export
import nibabel
import numpy as np
from edits import hdf5_content
from PIL import Image

from mrf_jax import UserError, load_model
from mrf_jax.io.atomic import is_unfinished
from mrf_jax.stages.verify import verify
from mrf_jax.workdir.manifest import NAME, OF_RUNS
from tests.launcher import ROOT, SMOKE

# A run that goes on for so long hangs, on any machine.
HANGS_S = 3600


class Stage(NamedTuple):
  """A command that may be interrupted anywhere."""

  name: str
  # `{folder}` is where it may write.
  flags: tuple[str, ...]
  # Gives what it has made there, to be compared.
  content: Callable[[pathlib.Path], Any]


def make_stages(smoke: pathlib.Path, sources: dict) -> dict[str, Stage]:
  """The stages by their names, with a finished workdir and sound files."""
  series, text = sources["NIfTI series"].path, sources["text schedule"].path
  bundle = smoke / "models/spatiotemporal_plus/fold-0"
  subject = smoke / "data/subject-00.h5"
  model = f"--model={bundle}"
  stages = {
    "simulate": ((SMOKE, "--mode=simulate", "--workdir={folder}/run"), _files),
    "crossval": ((SMOKE, "--workdir={folder}/run"), _results),
    "import": (
      (
        "--mode=import",
        "--misfit=accept",
        "--field_strength_t=1.5",
        f"--scan={series}",
        f"--schedule={text}",
        "--output={folder}/subject.h5",
      ),
      _files,
    ),
    "reconstruct": (
      (
        "--mode=reconstruct",
        model,
        f"--scan={subject}",
        "--uncertainty",
        "--output={folder}/maps",
      ),
      _files,
    ),
    "finetune": (
      (
        "--mode=finetune",
        model,
        f"--subjects={subject}",
        "--epochs=20",
        "--output={folder}/bundle",
      ),
      lambda folder: _bundle(folder / "bundle"),
    ),
    "export": (
      ("--mode=export", model, "--output={folder}/model.stablehlo"),
      _files,
    ),
    "report": (
      ("--mode=report", f"--workdir={smoke}", "--output={folder}/report"),
      _files,
    ),
  }
  return {name: Stage(name, *rest) for name, rest in stages.items()}


def start(
  stage: Stage, folder: pathlib.Path, *, before: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
  """The stage as a user starts it, by a program that comes before, if any."""
  flags = [flag.format(folder=folder) for flag in stage.flags]
  return subprocess.Popen(
    [*before, sys.executable, "launch.py", *flags],
    cwd=ROOT,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )


def whole_run(stage: Stage, folder: pathlib.Path, *, may_stand: bool = False):
  """What a run to its end makes, or made before, if that `may_stand`.

  Raises:
    AssertionError: it failed, or left something behind.
  """
  folder.mkdir(exist_ok=True)
  process = start(stage, folder)
  _, said = process.communicate(timeout=HANGS_S)
  assert process.returncode == 0 or (may_stand and stands(process, said)), said
  check_whole(folder)
  assert not leftovers(folder)
  return stage.content(folder)


def stands(process: subprocess.Popen, said: str) -> bool:
  """Whether a run came to its end, or says that one before it had."""
  return process.returncode == 0 or (
    process.returncode == 1 and "is there already" in said
  )


def results(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """Files under the names of results, whether of this run or of one before."""
  return {
    str(name): path
    for path in sorted(folder.rglob("*"))
    if path.is_file()
    and not is_unfinished(name := path.relative_to(folder))
    and path.name not in OF_RUNS
  }


def leftovers(folder: pathlib.Path) -> list[str]:
  """What unfinished runs have left behind, locks of workdirs aside."""
  names = (path.relative_to(folder) for path in folder.rglob("*"))
  return [
    str(name)
    for name in names
    # The last is of `--mode=finetune`, until its bundle stands.
    if is_unfinished(name) or name.suffix == ".training"
  ]


def check_whole(folder: pathlib.Path) -> None:
  """Reads every result to its end, and holds workdirs against their records.

  What is missing there was noted a moment before it was to come.

  Raises:
    Exception: whatever its reader raises for half a file.
  """
  for name, path in results(folder).items():
    # Logs grow line by line, and hold the beginning of one at worst.
    if not name.startswith(("run/metrics/", "run/profile/")):
      read(path)
    if path.name == "model.json":
      load_model(path.parent)
  for record in folder.rglob(NAME):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(UserError):
      print(verify(record.parent))
    # At least itself, which is how the answer begins.
    assert str(record.parent) in said.getvalue(), record
    changed = re.findall("^  changed: .*", said.getvalue(), re.MULTILINE)
    assert not changed, changed


def read(path: pathlib.Path):
  """What a result file says, but for times, paths and who wrote it."""
  if path.suffix == ".h5":
    return hdf5_content(path)
  if path.name.endswith(".nii.gz"):
    image = nibabel.load(path)
    return image.affine.tobytes(), np.asarray(image.dataobj).tobytes()
  if path.suffix == ".json":
    return _without_times(json.loads(path.read_text()))
  if path.suffix == ".png":
    with Image.open(path) as image:
      image.load()
      return image.size
  if path.suffix == ".csv":
    with open(path, newline="") as file:
      rows = list(csv.DictReader(file))
    assert rows and None not in rows[-1].values(), path
    return None if "seconds" in rows[0] else rows
  if path.suffix in (".md", ".html"):
    text = path.read_text()
    end = "</html>\n" if path.suffix == ".html" else "\n"
    assert text.endswith(end), path
    # Tables with seconds in them stand beside those without.
    return None
  if path.suffix == ".npz":
    # NumPy leaves half a file open.
    with open(path, "rb") as file, np.load(file) as arrays:
      return {name: arrays[name].tobytes() for name in arrays}
  content = path.read_bytes()
  if path.suffix == ".stablehlo":
    jax.export.deserialize(bytearray(content)).mlir_module()
  return content


def _without_times(content):
  """Of a JSON file, what two equal runs have in common."""
  if isinstance(content, dict):
    return {
      key: _without_times(value)
      for key, value in content.items()
      if not re.search("second|_per_s$|environment|commit|began|_ns$", key)
    }
  if isinstance(content, list):
    return [_without_times(value) for value in content]
  return content


def _files(folder: pathlib.Path) -> dict:
  return {name: read(path) for name, path in results(folder).items()}


def _results(folder: pathlib.Path) -> dict:
  """Of a cross-validation, which also trains and times."""
  found = {
    name: read(path)
    for name, path in results(folder).items()
    if name.startswith(("run/data/", "run/maps/"))
    or path.suffix == ".csv"
    or path.name == "config.json"
  }
  for path in sorted(folder.glob("run/models/*/fold-*")):
    found[str(path.relative_to(folder))] = _bundle(path)
  # What checkpoints were needed for is over.
  assert not (folder / "run/checkpoints").exists()
  return found


def _bundle(path: pathlib.Path) -> list[bytes]:
  model = load_model(path)
  return [
    np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(model.variables)
  ]
