"""The acquisition and the subject that import options describe."""

import pathlib
from collections.abc import Mapping
from typing import Any

import nibabel
import numpy as np

from mrf_jax.errors import UserError
from mrf_jax.importing.b0 import read_b0
from mrf_jax.importing.b1 import with_b1
from mrf_jax.importing.options import ImportOptions
from mrf_jax.importing.places import Grid, plain_affine
from mrf_jax.importing.raw import RawSeries
from mrf_jax.importing.scan import Images, Imported, import_scan
from mrf_jax.importing.series import open_series
from mrf_jax.io.nifti import Place, read_place
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.files import Schedule, read_schedule
from mrf_jax.sequence.pulseq import is_pulseq, read_train
from mrf_jax.sequence.sequence import Sequence
from mrf_jax.units import check_field_strength

_RAW_SUFFIXES = (".mrd", ".h5", ".ismrmrd")
# Flags that are for raw data alone.
OF_RAW_DATA = (
  *("trajectory_unit", "frame", "demodulate"),
  *("noise", "whiten", "coil_loss"),
  *("b0_map", "b0_unit", "b0_sign", "sample_time_us"),
  *("trajectory", "trajectory_variable", "delay_us"),
)
# Field strengths that differ by less are one: scanners of "3 T" have 2.89 T.
_SAME_FIELD = 0.06
_PHASE_TAKEN = (
  "the phase of the images is taken as it is (--align_phases turns every "
  "fingerprint so that its largest part is real)"
)
_DEMODULATED = (
  "the pulses have different phases; the {data} are taken to have the phase of "
  "each frame's pulse removed{remedy}"
)
# Times that a schedule may lack, and their names in a sentence.
_TIMES = {"tr_ms": "TR", "te_ms": "TE", "inversion_time_ms": "inversion time"}
_COLUMNS = {
  "flip_angles_deg": "flip angle",
  "tr_ms": "TR",
  "te_ms": "TE",
  "rf_phases_deg": "phase",
}


def read_acquisition(options: ImportOptions) -> tuple[Acquisition, list[str]]:
  """Pulse sequence and sliding window, and sentences on what is assumed.

  Raises:
    UserError: the file is missing or damaged, or does not fit the options.
  """
  if not options.schedule:
    raise UserError("--schedule is missing")
  schedule, assumptions = _schedule(options)
  sequence = schedule.sequence
  window, stride = options.window or 1, options.stride or 1
  try:
    acquisition = Acquisition(sequence, window, stride)
  except UserError as error:
    raise UserError(f"--window, --stride: {error}") from error
  return acquisition, [_summary(schedule, options.schedule), *assumptions]


def read_scan(
  options: ImportOptions,
  acquisition: Acquisition,
  *,
  assumptions: list[str],
) -> Imported:
  """Imports the scan that the options describe; adds to the assumptions.

  Raises:
    UserError: an input is missing, damaged, implausible, or does not fit.
  """
  assert options.scan is not None
  path = pathlib.Path(options.scan)
  assumptions = list(assumptions)
  images = open_images(options, acquisition, assumptions)
  is_raw = isinstance(images, RawSeries)
  field_t = options.field_strength_t
  if isinstance(images, RawSeries):
    field_t = _field_strength(field_t, images, assumptions)
  if field_t is None:
    raise UserError(
      f"{path}: the field strength is missing; --field_strength_t gives it"
    )
  # Estimated coil sensitivities leave an arbitrary phase in each voxel, and so
  # do scanners in their phase images, whose 0 may also be half a turn.
  has_own_phase = is_raw or options.phase is not None
  align = options.align_phases
  align = has_own_phase if align is None else align
  if options.align_phases is None and not has_own_phase:
    assumptions.append(_PHASE_TAKEN)
  place = _place(images, options, assumptions)
  grid = Grid(
    images.shape[:3],
    place.affine,
    place.code,
    images.path,
    bool(options.voxel_by_voxel),
  )
  if isinstance(images, RawSeries) and options.b0_map:
    assumptions.append(
      images.correct_field(
        read_b0(options.b0_map, grid, assumptions),
        path=options.b0_map,
        field_t=field_t,
        unit=options.b0_unit,
        sign=options.b0_sign,
      )
    )
  imported = import_scan(
    images,
    place,
    acquisition,
    name=options.subject or path.name.split(".")[0],
    field_strength_t=field_t,
    mask_path=options.mask,
    map_paths=_not_none(pd=options.pd, t1_ms=options.t1, t2_ms=options.t2),
    units=_not_none(t1_ms=options.t1_unit, t2_ms=options.t2_unit),
    voxel_by_voxel=bool(options.voxel_by_voxel),
    leave_out_invalid=bool(options.leave_out_invalid),
    align=align,
    assumptions=assumptions,
  )
  if not options.b1_map:
    return imported
  subject, said = with_b1(imported.subject, options.b1_map, grid)
  return Imported(subject, (*imported.assumptions, *said))


def open_images(
  options: ImportOptions, acquisition: Acquisition, assumptions: list[str]
) -> Images:
  """Opens the images that the options describe; adds to the assumptions.

  Raises:
    UserError: a file is missing or damaged, or an option is not for it.
  """
  assert options.scan is not None
  path = pathlib.Path(options.scan)
  images: Images
  is_raw = path.suffix.lower() in _RAW_SUFFIXES
  if is_raw:
    others = ("imaginary", "imaginary_variable", "phase", "phase_turn", "axes")
    _check_not_given(options, path, others)
    images = RawSeries(
      path,
      acquisition,
      trajectory_unit=options.trajectory_unit,
      frame=options.frame,
      phases_deg=_phases_to_remove(options, acquisition, assumptions),
      noise=options.noise,
      whiten=options.whiten,
      coil_loss=options.coil_loss,
      sample_time_us=options.sample_time_us,
      trajectory=options.trajectory,
      trajectory_variable=options.trajectory_variable,
      delay_us=options.delay_us,
    )
    assumptions += images.assumptions
  else:
    _check_not_given(options, path, OF_RAW_DATA)
    images = open_series(
      path,
      imaginary_path=options.imaginary,
      variable=options.variable,
      imaginary_variable=options.imaginary_variable,
      axes=options.axes,
      phase_path=options.phase,
      phase_turn=options.phase_turn,
    )
    if images.turn is not None:
      assumptions.append(
        f"{options.phase}: phases of which {images.turn:.6g} are a full turn"
      )
    if not acquisition.sequence.has_constant_phase:
      assumptions.append(_DEMODULATED.format(data="images", remedy=""))
  return images


def _field_strength(
  stated_t: float | None, images: RawSeries, assumptions: list[str]
) -> float | None:
  """Field strength of a flag, or of a raw file; a sentence if both differ."""
  own_t = images.field_strength_t
  if stated_t is None and own_t is not None:
    check_field_strength(
      f"{images.path}: systemFieldStrength_T (--field_strength_t replaces it)",
      own_t,
    )
  if stated_t is not None and own_t is not None:
    if abs(stated_t - own_t) > _SAME_FIELD * own_t:
      assumptions.append(
        f"--field_strength_t={stated_t:g}, but {images.path} says {own_t:g} T"
      )
  return own_t if stated_t is None else stated_t


def _phases_to_remove(
  options: ImportOptions, acquisition: Acquisition, assumptions: list[str]
) -> np.ndarray | None:
  """Phases that the receiver has left in raw data, [frame], degrees, or None.

  A Pulseq file has them. Adds a sentence to the assumptions.
  """
  sequence = acquisition.sequence
  if options.demodulate is False or sequence.has_constant_phase:
    return None
  if options.schedule and is_pulseq(options.schedule):
    train = read_train(options.schedule, n_frames=options.n_frames)
    if not train.receiver_follows:
      assumptions.append(
        "the phases that the receiver did not follow are removed from the raw "
        "data"
      )
      return train.received_phases_deg
    if options.demodulate:
      assumptions.append(
        f"the receiver of {options.schedule} follows the pulses, but "
        "--demodulate removes their phases from the raw data all the same"
      )
  elif not options.demodulate:
    remedy = "; if not, --demodulate removes it"
    assumptions.append(_DEMODULATED.format(data="raw data", remedy=remedy))
  return sequence.rf_phases_deg if options.demodulate else None


def _not_none(**values) -> dict[str, Any]:
  return {name: value for name, value in values.items() if value is not None}


def _check_not_given(options: ImportOptions, path, names) -> None:
  """Raises `UserError` for flags that mean nothing for this kind of file."""
  for name in names:
    if getattr(options, name) is not None:
      raise UserError(f"{path}: --{name} is not for a file of this kind")


def _schedule(options: ImportOptions) -> tuple[Schedule, list[str]]:
  """Schedule of a file and options, and sentences on what is assumed."""
  times: dict[str, Any] = _not_none(tr_ms=options.tr_ms, te_ms=options.te_ms)
  times |= options.preparation()
  path, tr_path = options.schedule, options.schedule_tr
  assert path is not None
  if options.echo is not None and not is_pulseq(path):
    raise UserError(f"{path}: --echo is for .seq files")
  schedule = read_schedule(
    path,
    tr_path=tr_path,
    **times,
    **_not_none(
      time_unit=options.time_unit,
      angle_unit=options.angle_unit,
      phase_unit=options.phase_unit,
      n_frames=options.n_frames,
      echo=options.echo,
    ),
  )
  _check_times_apply(times, schedule, path)
  assumed = [
    f"{_TIMES[name]} {time:g} ms"
    for name, time in schedule.open_values().items()
    if name not in times
  ]
  notes = list(schedule.notes)
  if not assumed:
    return schedule, notes
  return schedule, [
    f"{path} does not say all of it; assumed: " + ", ".join(assumed),
    *notes,
  ]


def _check_times_apply(times: Mapping[str, Any], schedule: Schedule, path):
  """Raises `UserError` if the schedule has another time than its flag."""
  for name, time_ms in times.items():
    if name in schedule.open_times:
      continue
    own = getattr(schedule.sequence, name)
    if time_ms is None or own is None:
      is_same = time_ms is own
    else:
      is_same = np.allclose(own, time_ms, rtol=1e-3)
    if not is_same:
      words = "no" if own is None else f"{float(np.ravel(own)[0]):g} ms as"
      raise UserError(
        f"--{name}={'none' if time_ms is None else f'{time_ms:g}'}: {path} has "
        f"{words} {_TIMES[name]}; the flag is for schedules that do not say it"
      )


def _summary(schedule: Schedule, path) -> str:
  """A pulse sequence in one sentence."""
  sequence: Sequence = schedule.sequence

  def span(values, unit):
    low, high = float(np.min(values)), float(np.max(values))
    numbers = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return f"{numbers}{unit}"

  columns = ""
  if len(schedule.by_position) > 1:
    columns = ", ".join(_COLUMNS[name] for name in schedule.by_position)
  inversion = sequence.inversion_time_ms
  spoiling = "balanced" if sequence.balanced else "taken to be gradient-spoiled"
  return (
    f"schedule {path}: {sequence.n_frames} frames, flip angles "
    f"{span(sequence.flip_angles_deg, '°')}, TR {span(sequence.tr_ms, ' ms')}, "
    f"TE {span(sequence.te_ms, ' ms')}, "
    + ("no inversion" if inversion is None else f"inversion {inversion:g} ms")
    + f" before the first pulse; {spoiling}"
    + (f"; its columns have no names: {columns}" if columns else "")
  )


def _place(
  images: Images, options: ImportOptions, assumptions: list[str]
) -> Place:
  """Position of the voxels, from --affine_from, --voxel_mm or the scan."""
  shape = images.shape[:3]
  if options.affine_from:
    other_shape, place = read_place(options.affine_from)
    if other_shape[:3] != shape:
      raise UserError(
        f"{options.affine_from}: shape {other_shape[:3]}, but "
        f"{images.path} has {shape}"
      )
    if not place.code:
      sizes = nibabel.affines.voxel_sizes(place.affine)
      raise UserError(
        f"{options.affine_from} states no place (sform_code and qform_code are "
        "0); --voxel_mm="
        + ",".join(f"{size:.6g}" for size in sizes)
        + " gives "
        "its voxel sizes alone"
      )
    assumptions.append(f"voxels lie where those of {options.affine_from} do")
    return place
  sizes_mm = options.voxel_sizes_mm()
  if sizes_mm is not None:
    assumptions.append(
      "x to the right, y to the front, slices upwards, centred"
    )
    return Place(plain_affine(shape, sizes_mm), code=0)
  if isinstance(images, RawSeries):
    found = None if images.affine is None else Place(images.affine)
  else:
    found = images.place
  if found is None:
    raise UserError(
      f"{images.path}: the position of its voxels is missing; "
      "--affine_from=FILE (a NIfTI file of the same shape) or --voxel_mm=1,1,5 "
      "gives it"
    )
  if not found.code:
    assumptions.append(
      f"{images.path} states no place (sform_code and qform_code are 0): x to "
      "the left, y to the front, slices upwards, centred"
    )
  return found
