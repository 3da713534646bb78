"""Sound files of every kind that a stranger may bring, for tests to damage."""

import pathlib
import shutil
from typing import NamedTuple

import nibabel
import numpy as np
import pypulseq
import scipy.io

from tests.io.matlab_files import save_v73

N_FRAMES = 12
_SHAPE = (16, 18, 3)
_AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


class Source(NamedTuple):
  """A sound file, or bundle, and the command that reads it."""

  path: pathlib.Path
  # `{out}` is a path that the command would write to.
  flags: tuple[str, ...]
  # The one which the path is the value of.
  flag: str


def make_sources(
  folder: pathlib.Path, smoke: pathlib.Path, raw: pathlib.Path
) -> dict[str, Source]:
  """Files by their kind, all of which the commands take as they are.

  They are written to a folder, from a finished workdir of `configs/smoke.py`
  and the ISMRMRD file of one of its subjects.
  """
  bundle = smoke / "models/cohen/fold-0"
  model = f"--model={bundle}"
  subject = smoke / "data/subject-00.h5"
  reconstruct = ("--mode=reconstruct", "--output={out}")
  # One series for all schedules, most of which it does not fit.
  import_ = (
    "--mode=import",
    "--field_strength_t=1.5",
    "--output={out}.h5",
    "--misfit=accept",
  )
  schedule, images = _schedules(folder), _series(folder)
  placed = (*import_, "--voxel_mm=2,2,5")
  train = f"--schedule={schedule['text']}"
  series = f"--scan={images['npy']}"
  sources = {
    "subject file": Source(
      _copy(subject, folder), (*reconstruct, model), "--scan"
    ),
    "ISMRMRD": Source(_copy(raw, folder), (*reconstruct, model), "--scan"),
    "model bundle": Source(
      _copy(bundle, folder), (*reconstruct, f"--scan={subject}"), "--model"
    ),
  }
  for kind, path in images.items():
    flags = import_ if kind.startswith("NIfTI") else placed
    sources[f"{kind} series"] = Source(path, (*flags, train), "--scan")
  for kind, path in schedule.items():
    sources[f"{kind} schedule"] = Source(path, (*placed, series), "--schedule")
  trs = folder / "trs.txt"
  np.savetxt(trs, np.linspace(12, 14, N_FRAMES), fmt="%.4f", header="TR")
  flags = (*placed, series, train)
  sources["TR schedule"] = Source(trs, flags, "--schedule_tr")
  volumes = _volumes(folder)
  scan = (*import_, train, f"--scan={images['NIfTI']}")
  for kind, path in volumes.items():
    others = tuple(f"--{k}={p}" for k, p in volumes.items() if k != kind)
    sources[f"NIfTI {kind}"] = Source(path, (*scan, *others), f"--{kind}")
  return sources


def _copy(path: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  copy = folder / path.name
  (shutil.copytree if path.is_dir() else shutil.copyfile)(path, copy)
  return copy


def _inside() -> np.ndarray:
  x, y, z = np.indices(_SHAPE)
  return (x - 7) ** 2 + (y - 8) ** 2 + 3 * (z - 1) ** 2 < 30


def _series(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  rng = np.random.default_rng(0)
  noise = rng.standard_normal((*_SHAPE, N_FRAMES, 2)).view(complex)[..., 0]
  curve = (1 - 1.8 * np.exp(-np.arange(N_FRAMES) / 3)) * np.exp(0.4j)
  images = _inside()[..., None] * curve + 0.02 * noise
  images = images.astype(np.complex64)
  paths = {
    "NIfTI": folder / "scan.nii",
    "NIfTI, packed,": folder / "scan.nii.gz",
    "MATLAB 5": folder / "scan-5.mat",
    "MATLAB 7.3": folder / "scan-73.mat",
    "npy": folder / "scan.npy",
    "npz": folder / "scan.npz",
  }
  for kind in ("NIfTI", "NIfTI, packed,"):
    nibabel.save(nibabel.Nifti1Image(images, _AFFINE), paths[kind])
  scipy.io.savemat(paths["MATLAB 5"], {"scan": images}, do_compression=True)
  packed = {"chunks": True, "compression": "gzip"}
  save_v73(paths["MATLAB 7.3"], {"scan": images}, **packed)
  np.save(paths["npy"], images)
  np.savez_compressed(paths["npz"], scan=images)
  return paths


def _volumes(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  rng = np.random.default_rng(1)
  volumes = {
    "mask": _inside().astype(np.uint8),
    "pd": rng.uniform(0.5, 1, _SHAPE).astype(np.float32),
    "t1": rng.uniform(600, 1200, _SHAPE).astype(np.float32),
    "t2": rng.uniform(50, 120, _SHAPE).astype(np.float32),
  }
  paths = {}
  for kind, values in volumes.items():
    paths[kind] = folder / f"{kind}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, _AFFINE), paths[kind])
  return paths


def _schedules(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  angles = np.linspace(10, 60, N_FRAMES)
  paths = {
    "text": folder / "train.txt",
    "MATLAB": folder / "train.mat",
    "Pulseq": folder / "train.seq",
  }
  columns = [angles, np.full(N_FRAMES, 12.0), np.full(N_FRAMES, 2.0)]
  np.savetxt(paths["text"], np.stack(columns, 1), fmt="%.4f")
  names = ("FA", "TR", "TE")
  values = dict(zip(names, columns, strict=True))
  scipy.io.savemat(paths["MATLAB"], values, do_compression=True)
  _write_pulseq(paths["Pulseq"], angles)
  return paths


def _write_pulseq(path: pathlib.Path, angles_deg: np.ndarray) -> None:
  system = pypulseq.Opts(rf_ringdown_time=0, adc_dead_time=0)
  file = pypulseq.Sequence(system=system)
  for angle_deg in angles_deg:
    pulse = pypulseq.make_sinc_pulse(
      flip_angle=np.deg2rad(angle_deg),
      duration=0.002,
      delay=system.rf_dead_time,
      use="excitation",
      system=system,
    )
    readout = pypulseq.make_adc(
      num_samples=100, duration=0.004, delay=0.0005, system=system
    )
    file.add_block(pulse)
    file.add_block(readout, pypulseq.make_delay(0.01))
  file.write(str(path))
