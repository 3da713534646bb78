"""The import stage: files of a scan in, a subject file out."""

import os
import pathlib
from typing import Any

import nibabel
import numpy as np

from mrf_jax.dataset.subject import Subject
from mrf_jax.errors import UserError
from mrf_jax.importing.plausible import UNITS_MS
from mrf_jax.importing.raw import RawSeries
from mrf_jax.importing.scan import Imported, import_scan
from mrf_jax.importing.series import open_series
from mrf_jax.importing.volumes import plain_affine
from mrf_jax.io.nifti import read_place
from mrf_jax.maps import Maps
from mrf_jax.sequence.files import load_sequence, open_times
from mrf_jax.sequence.sequence import Sequence

RAW_SUFFIXES = (".mrd", ".h5", ".ismrmrd")
# Flags that name files to read.
_INPUTS = (
  "scan",
  "imaginary",
  "schedule",
  "schedule_tr",
  "mask",
  "pd",
  "t1",
  "t2",
  "affine_from",
)
_PHASE_TAKEN = (
  "the phase of the images is taken as it is (--align_phases turns every "
  "fingerprint so that its largest part is real)"
)
# What a schedule may leave open, and its name in a sentence.
_OPEN = {"tr_ms": "TR", "te_ms": "TE", "inversion_time_ms": "inversion time"}


def spare_inputs(path: pathlib.Path, options: dict[str, Any]) -> None:
  """Raises `UserError` if a file to be written is one that is read.

  Args:
    path: the file to be written.
    options: values of the flags by name, None where not given.
  """
  if not path.exists():
    return
  for name in _INPUTS:
    given = options[name]
    if given and os.path.exists(given) and os.path.samefile(given, path):
      raise UserError(f"--output: {path} is --{name} itself")


def read_schedule(
  options: dict[str, Any],
) -> tuple[Sequence, int, int, list[str]]:
  """The train, window and stride that the flags say, and a sentence on them.

  Args:
    options: values of the flags by name, None where not given.

  Raises:
    UserError: the file is missing or damaged, or does not fit the flags.
  """
  if not options["schedule"]:
    raise UserError("--schedule is missing")
  sequence, said = _sequence(options)
  window, stride = options["window"] or 1, options["stride"] or 1
  if not 1 <= window <= sequence.n_frames or stride < 1:
    raise UserError(
      f"--window={window} and --stride={stride} do not fit "
      f"{sequence.n_frames} frames"
    )
  said.insert(0, _summary(sequence, options["schedule"]))
  return sequence, window, stride, said


def read_scan(
  options: dict[str, Any],
  sequence: Sequence,
  *,
  window: int,
  stride: int,
  said: list[str],
) -> Imported:
  """A subject of the files that the flags name.

  Args:
    options: values of the flags by name, None where not given.
    sequence: the train.
    window: frames that one image averages.
    stride: frames from one image to the next.
    said: what was assumed before.

  Raises:
    UserError: something is missing, damaged, does not fit or cannot be right.
  """
  for name in ("t1_unit", "t2_unit"):
    if options[name] is not None and options[name] not in UNITS_MS:
      raise UserError(
        f"--{name}: {options[name]!r} is not one of {', '.join(UNITS_MS)}"
      )
  path = pathlib.Path(options["scan"])
  is_raw = path.suffix.lower() in RAW_SUFFIXES
  field_t = options["field_strength_t"]
  said = list(said)
  images: Any
  if is_raw:
    _refuse(options, path, ("imaginary", "imaginary_variable", "axes"))
    images = RawSeries(
      path,
      sequence,
      window=window,
      stride=stride,
      trajectory_unit=options["trajectory_unit"],
      demodulate=bool(options["demodulate"]),
    )
    said += images.assumptions
    field_t = field_t or images.field_strength_t
  else:
    _refuse(options, path, ("trajectory_unit", "demodulate"))
    images = open_series(
      path,
      imaginary_path=options["imaginary"],
      variable=options["variable"],
      imaginary_variable=options["imaginary_variable"],
      axes=options["axes"],
    )
  if field_t is None:
    raise UserError(
      f"{path}: does not say its field strength; --field_strength_t does"
    )
  align = options["align_phases"]
  if align is None:
    # Estimated coils leave a phase of their own.
    align = is_raw
    if not align:
      said.append(_PHASE_TAKEN)
  return import_scan(
    images,
    _affine(images, options, said),
    sequence,
    name=options["subject"] or path.name.split(".")[0],
    window=window,
    stride=stride,
    field_strength_t=field_t,
    mask_path=options["mask"],
    map_paths={
      name: options[flag]
      for name, flag in (("pd", "pd"), ("t1_ms", "t1"), ("t2_ms", "t2"))
      if options[flag] is not None
    },
    units={
      name: options[flag]
      for name, flag in (("t1_ms", "t1_unit"), ("t2_ms", "t2_unit"))
      if options[flag] is not None
    },
    leave_out_invalid=bool(options["leave_out_invalid"]),
    align=bool(align),
    said=said,
  )


def _refuse(options: dict[str, Any], path, names: tuple[str, ...]) -> None:
  """Options that say nothing about such a file."""
  for name in names:
    if options[name]:
      raise UserError(f"{path}: --{name} is not for a file of this kind")


def _sequence(options: dict[str, Any]) -> tuple[Sequence, list[str]]:
  """The schedule, from its file and what the flags add; what is assumed."""
  given = {
    name: options[name]
    for name in ("tr_ms", "te_ms", "time_unit", "angle_unit", "n_frames")
    if options[name] is not None
  }
  inversion = options["inversion_time_ms"]
  if inversion is not None:
    try:
      value = None if inversion == "none" else float(inversion)
    except ValueError:
      raise UserError(
        f"--inversion_time_ms: {inversion!r} is neither a number nor none"
      ) from None
    given["inversion_time_ms"] = value
  path, tr_path = options["schedule"], options["schedule_tr"]
  sequence = load_sequence(path, tr_path=tr_path, **given)
  assumed = [
    f"{_OPEN[name]} {float(np.ravel(getattr(sequence, name))[0]):g} ms"
    for name in open_times(path, tr_path=tr_path)
    if name not in given
  ]
  if not assumed:
    return sequence, []
  return sequence, [
    f"{path} does not say all of it; assumed: " + ", ".join(assumed)
  ]


def _summary(sequence: Sequence, path) -> str:
  """The train in a sentence."""

  def span(values, unit):
    low, high = float(np.min(values)), float(np.max(values))
    shown = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return f"{shown}{unit}"

  inversion = sequence.inversion_time_ms
  spoiling = "balanced" if sequence.balanced else "taken to be gradient-spoiled"
  return (
    f"schedule {path}: {sequence.n_frames} frames, flip angles "
    f"{span(sequence.flip_angles_deg, '°')}, TR {span(sequence.tr_ms, ' ms')}, "
    f"TE {span(sequence.te_ms, ' ms')}, "
    + ("no inversion" if inversion is None else f"inversion {inversion:g} ms")
    + f" before the first pulse; {spoiling}"
  )


def _affine(images, options: dict[str, Any], said: list[str]) -> np.ndarray:
  """Where the voxels lie, from the file, another one, or their size."""
  shape = images.shape[:3]
  if options["affine_from"]:
    other, affine = read_place(options["affine_from"])
    if other[:3] != shape:
      raise UserError(
        f"{options['affine_from']}: shape {other[:3]}, but "
        f"{images.path} has {shape}"
      )
    said.append(f"voxels lie where those of {options['affine_from']} do")
    return affine
  if options["voxel_mm"]:
    sizes = options["voxel_mm"].split(",")
    try:
      voxel_mm = np.array([float(size) for size in sizes])
    except ValueError:
      voxel_mm = np.empty(0)
    if voxel_mm.shape != (3,) or not np.all(voxel_mm > 0):
      raise UserError(
        f"--voxel_mm: {options['voxel_mm']!r} is not three sizes in mm, such "
        "as 1,1,5"
      )
    said.append("x to the right, y to the front, slices upwards, centred")
    return plain_affine(shape, voxel_mm)
  if images.affine is None:
    raise UserError(
      f"{images.path}: does not say where its voxels lie; --affine_from=FILE "
      "(a NIfTI file of the same shape) or --voxel_mm=1,1,5 does"
    )
  return images.affine


def medians(name: str, maps: Maps) -> str:
  """A line on maps, for the eye.

  Args:
    name: what they are, of eleven letters at most.
    maps: of the masked voxels.
  """
  return (
    f"{name:<12} T1 {np.median(maps.t1_ms):.0f} ms, "
    f"T2 {np.median(maps.t2_ms):.0f} ms, PD {np.median(maps.pd):.3g} (medians)"
  )


def describe(subject: Subject) -> str:
  """Medians of references, share of the mask and axes, for the eye."""
  axes = "".join(nibabel.aff2axcodes(subject.affine))
  sizes = np.linalg.norm(subject.affine[:3, :3], axis=0)
  lines = [
    f"Voxels       {subject.n_voxels:,}, {subject.mask.mean():.0%} of "
    f"{' × '.join(map(str, subject.mask.shape[::-1]))}, "
    f"{' × '.join(f'{size:.3g}' for size in sizes)} mm, axes towards {axes}",
    f"Images       {subject.n_windows}, windows of {subject.window} frames",
  ]
  if subject.maps is not None:
    lines.append(medians("References", subject.maps))
  return "\n".join(lines)
