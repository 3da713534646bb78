"""Trains a network by `--mode=train` and tries it on what it never saw.

  python docs/run_worlds.py

Two networks, of which one sees a measured B1 map. What they never saw is
scanned by the simulated scanner: smooth random T1, T2 and PD; spheres whose T1
and T2 are like those of phantoms, at 1.5 and at 3 T; and a slice of BrainWeb,
where the folder MRF_VALIDATION_DATA has it. The table of errors beside those of
`dictionary_fit` goes into docs/worlds.md, and with the command, commit and
machine into docs/worlds.json.
"""

import dataclasses
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import jax
import nibabel
import numpy as np
import scipy.io
from scipy import ndimage, special

_ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(_ROOT))

import mrf_jax  # noqa: E402
from mrf_jax.command_line.configurations import load_built_in  # noqa: E402
from mrf_jax.evaluation.markdown import markdown_table  # noqa: E402
from mrf_jax.inference.match_doubts import match_doubts  # noqa: E402
from mrf_jax.inference.model import (  # noqa: E402
  reconstruct_with_deviations,
  seen_components,
)
from mrf_jax.io.atomic import write_text  # noqa: E402
from mrf_jax.maps import MAP_NAMES, Maps  # noqa: E402
from mrf_jax.methods.dictionary_fit import fit_subject  # noqa: E402
from mrf_jax.sequence.files import save_sequence  # noqa: E402
from mrf_jax.timing.machine import device_name  # noqa: E402
from mrf_jax.workdir.environment import git_commit  # noqa: E402

_WORK = _ROOT / "runs/worlds"
_FRAMES = 720
_BEGIN, _END = "<!-- worlds -->", "<!-- /worlds -->"
# Standard deviation of measured maps of B1.
_B1_MAP_ERROR = 0.02
_WITH_B1 = " and B1"
_LEFT_OUT = "MNI152 head that was kept out"
# T1 and T2 (ms) of 14 spheres, about those of MnCl2 in water in phantoms for
# relaxometry, by field strength.
_SPHERES = {
  "1.5 T": (
    (2376, 2183, 1870, 1539, 1237, 1030, 752, 550, 413, 293, 195, 160, 106, 83),
    (939, 594, 417, 267, 185, 141, 92, 65, 45, 31, 20, 16, 10.5, 8.2),
  ),
  "3 T": (
    (2480, 2173, 1907, 1604, 1332, 1044, 802, 609, 458, 337, 244, 177, 127, 91),
    (581, 404, 278, 191, 133, 97, 64, 46, 32, 23, 16, 11, 7.9, 5.6),
  ),
}
# BrainWeb's classes in the file, with T1, T2 (ms) and PD.
_BRAINWEB = {
  23: (2569.0, 329.0, 1.0),
  46: (833.0, 83.0, 0.86),
  70: (500.0, 70.0, 0.77),
}


def smooth() -> tuple[Maps, float]:
  """Smooth random T1, T2 and PD, which have nothing to do with each other."""
  rng = np.random.default_rng(77)
  size = (140, 170, 40)
  x, y, _ = _places(size)
  inside = (x / 66) ** 2 + (y / 82) ** 2 < 1

  def uniform(correlation_mm):
    field = ndimage.gaussian_filter(rng.normal(size=size), correlation_mm)
    return special.ndtr(field / field.std())

  t1 = np.exp(np.log(200) + uniform(5) * np.log(4500 / 200))
  longest = np.log(np.minimum(t1, 1800))
  t2 = np.exp(np.log(15) + uniform(4) * (longest - np.log(15)))
  pd = 0.3 + 0.7 * uniform(6)
  return Maps(pd * inside, t1 * inside, t2 * inside), 1.0


def spheres(field: str) -> tuple[Maps, float]:
  """Spheres of 22 mm in a bath, ten in a ring and four inside it."""
  size = (180, 180, 40)
  x, y, _ = _places(size)
  bath = np.hypot(x, y) < 85
  maps = [np.where(bath, value, 0.0) for value in (1.0, 2500.0, 1200.0)]
  for number, (t1, t2) in enumerate(zip(*_SPHERES[field], strict=True)):
    radius, angle = (
      (60, number / 10) if number < 10 else (27, (number - 10) / 4)
    )
    middle = radius * np.exp(2j * np.pi * angle)
    own = np.hypot(x - middle.real, y - middle.imag) < 11
    for values, value in zip(maps, (0.95, t1, min(t1, t2)), strict=True):
      values[own] = value
  return Maps(*maps), 1.0


def brainweb(folder: pathlib.Path) -> tuple[Maps, float]:
  """The brain of an axial slice of BrainWeb, repeated over 36 mm."""
  labels = scipy.io.loadmat(folder / "koma/brain2D.mat")["axial"].astype(int)
  brain = np.isin(labels, list(_BRAINWEB))
  parts, _ = ndimage.label(ndimage.binary_opening(brain, iterations=2))
  largest = 1 + np.argmax(np.bincount(parts.ravel())[1:])
  brain &= ndimage.binary_dilation(parts == largest, iterations=3)
  values = np.zeros((3, *labels.shape))
  for label, (t1, t2, pd) in _BRAINWEB.items():
    own = brain & (labels == label)
    values[:, own] = np.array([pd, t1, t2])[:, None]
  turned = np.rot90(values, -1, (1, 2))
  return Maps(*np.repeat(turned[..., None], 36, -1)), 0.5


def _places(size: tuple[int, ...]) -> list[np.ndarray]:
  axes = [np.arange(n) - n / 2 + 0.5 for n in size]
  return np.meshgrid(*axes, indexing="ij")


def write_maps(maps: Maps, side_mm: float, folder: pathlib.Path) -> None:
  """Writes maps of voxels of that side in the slice, and 1 mm across."""
  folder.mkdir(parents=True, exist_ok=True)
  affine = np.diag([side_mm, side_mm, 1.0, 1.0])
  for name, file in (("pd", "pd"), ("t1_ms", "t1"), ("t2_ms", "t2")):
    values = getattr(maps, name).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, affine), folder / f"{file}.nii.gz")


def launch(*flags: str) -> None:
  """Runs a command of the program."""
  subprocess.run([sys.executable, "launch.py", *flags], cwd=_ROOT, check=True)


def scan(name: str, maps: Maps, side_mm: float, schedule: str) -> pathlib.Path:
  """Simulates a scan of maps as the training scans were; its subject file."""
  folder, workdir = _WORK / "maps" / name, _WORK / "scans" / name
  if not folder.exists():
    write_maps(maps, side_mm, folder)
  launch(
    "--mode=simulate",
    "--config=train",
    "--config.seed=9",
    f"--config.data.maps=('{folder}',)",
    f"--config.sequence.path={schedule}",
    # Nothing is trained.
    "--config.generated_heads.count=0",
    f"--config.scan.b1_map_error={_B1_MAP_ERROR}",
    f"--workdir={workdir}",
  )
  return workdir / "data/subject-00.h5"


def commit_of(bundle: pathlib.Path) -> str:
  """Commit of the code that trained a network."""
  folder = bundle.with_name(f"{bundle.name}.training")
  return json.loads((folder / "environment.json").read_text())["git_commit"]


def errors_of(subject, estimates: dict) -> dict:
  """RMSE of each map by method, and coverage of the network's deviations."""
  truth = subject.truth
  rows = {}
  for method, (maps, deviations) in estimates.items():
    own = {}
    for name in MAP_NAMES:
      error = np.abs(getattr(maps, name) - getattr(truth, name))
      own[name] = {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "within": [
          float(np.mean(error < k * getattr(deviations, name))) for k in (1, 2)
        ],
      }
    rows[method] = own
  return rows


def spheres_of(subject, maps: Maps, beyond) -> list[dict]:
  """Median T1 and T2 of each sphere, of voxels that lie wholly in it.

  And the share of them that the match finds beyond its atoms.
  """
  rows = []
  truth = subject.truth
  pairs = np.stack([truth.t1_ms, truth.t2_ms], 1).round(1)
  for t1, t2 in np.unique(pairs, axis=0):
    own = (pairs == (t1, t2)).all(1)
    # Mixed voxels have other values, and the bath has thousands.
    if 60 < own.sum() < 2000:
      found = [float(np.median(x[own])) for x in (maps.t1_ms, maps.t2_ms)]
      row = {"true": [float(t1), float(t2)], "found": found}
      rows.append({**row, "beyond": float(np.mean(beyond[own]))})
  return sorted(rows, key=lambda row: -row["true"][0])


def main() -> None:
  """Trains, scans, reconstructs, and writes both files."""
  _WORK.mkdir(parents=True, exist_ok=True)
  schedule, bundle = _WORK / "train.txt", _WORK / "model"
  bundle_with_b1 = _WORK / "model-b1"
  save_sequence(mrf_jax.tailored(_FRAMES), schedule)
  seconds = _WORK / "seconds.txt"
  command = "--mode=train", f"--schedule={schedule}"
  if not bundle.exists():
    begin = time.monotonic()
    launch(*command, f"--output={bundle}")
    seconds.write_text(f"{time.monotonic() - begin:.0f}")
  if not bundle_with_b1.exists():
    launch(*command, f"--output={bundle_with_b1}", "--b1=map")
  worlds = {"smooth random maps": smooth()}
  worlds |= {f"spheres, {field}": spheres(field) for field in _SPHERES}
  validation = os.environ.get("MRF_VALIDATION_DATA")
  if validation:
    worlds["BrainWeb slice"] = brainweb(pathlib.Path(validation))
  kept_out = load_built_in("train").folds[0]
  files = {
    # The same head in both trainings, here with its B1 map.
    _LEFT_OUT: bundle_with_b1.with_name("model-b1.training")
    / f"data/subject-{kept_out:02d}.h5"
  }
  for name, (maps, side_mm) in worlds.items():
    short = name.replace(" ", "-").replace(",", "")
    files[name] = scan(short, maps, side_mm, str(schedule))
  config = load_built_in("train")
  models = {
    "": mrf_jax.load_model(bundle),
    _WITH_B1: mrf_jax.load_model(bundle_with_b1),
  }
  errors, of_spheres = {}, {}
  of_match = models[""]
  for name, file in files.items():
    subject = mrf_jax.load_subject(file)
    estimates = {}
    for known, model in models.items():
      own = subject if known else dataclasses.replace(subject, b1=None)
      fitted = fit_subject(config, own)
      estimates |= {
        f"spatiotemporal_plus{known}": reconstruct_with_deviations(model, own),
        f"dictionary_fit{known}": (fitted.maps, fitted.deviations),
      }
    errors[name] = errors_of(subject, estimates)
    if name.startswith("spheres"):
      of_spheres[name] = spheres_of(
        subject,
        estimates["spatiotemporal_plus"][0],
        match_doubts(of_match, seen_components(of_match, subject)).is_beyond,
      )
  commits = {commit_of(own) for own in (bundle, bundle_with_b1)}
  if len(commits) > 1:
    sys.exit(f"error: remove {_WORK}: its networks are of several commits")
  record = {
    "commit": git_commit(),
    "commit_of_training": commits.pop(),
    "python": platform.python_version(),
    "jax": jax.__version__,
    "machine": device_name(),
    "training_seconds": int(seconds.read_text()),
    "errors": errors,
    "spheres": of_spheres,
  }
  write_text(json.dumps(record, indent=1) + "\n", _ROOT / "docs/worlds.json")
  page = _ROOT / "docs/worlds.md"
  write_text(with_worlds(page.read_text(), record), page)


def with_worlds(text: str, record: dict) -> str:
  """Text of docs/worlds.md with the tables of a record between its marks."""
  before, rest = text.split(_BEGIN)
  _, after = rest.split(_END)
  return f"{before}{_BEGIN}\n{_tables(record)}\n{_END}{after}"


def _tables(record: dict) -> str:
  rows = []
  for world, by_method in record["errors"].items():
    for method, own in by_method.items():
      cells = [
        (f"{own[name]['rmse']:{form}}", _shares(own[name]["within"]))
        for name, form in zip(MAP_NAMES, (".3f", ".0f", ".1f"), strict=True)
      ]
      rows.append([world, method, *(x for pair in cells for x in pair)])
  head = ["scan of", "method"]
  for quantity in ("PD", "T1 (ms)", "T2 (ms)"):
    head += [f"RMSE of {quantity}", "within 1, 2 sd"]
  parts = [markdown_table(head, rows)]
  head_of_spheres = "T1 (ms): true: found", "T2 (ms)", "marked as beyond"
  for world, found in record["spheres"].items():
    cells = [
      [
        f"{true:g}: {value:.{0 if value > 100 else 1}f} "
        f"({100 * (value / true - 1):+.0f} %)"
        for true, value in zip(row["true"], row["found"], strict=True)
      ]
      + [f"{row['beyond']:.0%}"]
      for row in found
    ]
    parts += [f"## {world}", markdown_table(head_of_spheres, cells)]
  parts.append(
    f"Commit {record['commit'][:7]}, Python {record['python']}, jax "
    f"{record['jax']}, {record['machine']}; training of commit "
    f"{record['commit_of_training'][:7]}, {_minutes(record)}."
  )
  return "\n\n".join(parts)


def _shares(within: list[float]) -> str:
  return ", ".join(f"{share:.2f}" for share in within)


def _minutes(record: dict) -> str:
  minutes, seconds = divmod(record["training_seconds"], 60)
  return f"{minutes} min {seconds} s"


if __name__ == "__main__":
  main()
