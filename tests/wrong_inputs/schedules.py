"""Schedules whose columns, units or names are not what they seem."""

import pathlib

import numpy as np
import scipy.io

from mrf_jax.importing.from_flags import ImportOptions, read_acquisition
from mrf_jax.sequence.sequence import Sequence
from tests.wrong_inputs.cases import Case, Seen

N_FRAMES = 200
_FRAME = np.arange(N_FRAMES)
FLIPS = 10 + 50 * np.abs(np.sin(_FRAME / 40))
TRS = 12 + 2 * np.random.default_rng(1).random(N_FRAMES)
TES = np.full(N_FRAMES, 2.0)
# RF spoiling of 117°.
PHASES = np.mod(117.0 * _FRAME * (_FRAME + 1) / 2, 360)
SOUND = {
  "flip_angles_deg": FLIPS,
  "tr_ms": TRS,
  "te_ms": TES,
  "rf_phases_deg": PHASES,
}
_PLAIN = {"FA": FLIPS, "TR": TRS, "TE": TES, "TI": 20.0}
_NAMES = "flip_angle_deg tr_ms te_ms rf_phase_deg\n"


def _seen(path: pathlib.Path, wanted: dict, **flags) -> Seen:
  """What a schedule is read as, through the flags of `--mode=import`."""
  options = ImportOptions(schedule=str(path), **flags)
  acquisition, said = read_acquisition(options)
  sequence = acquisition.sequence
  right = all(_agree(sequence, name, value) for name, value in wanted.items())
  phases = np.round(sequence.rf_phases_deg[1:4], 1).tolist()
  result = (
    f"flip angles {sequence.flip_angles_deg.min():.4g} to "
    f"{sequence.flip_angles_deg.max():.4g}°, TR {sequence.tr_ms.min():.3g} to "
    f"{sequence.tr_ms.max():.3g} ms, TE {sequence.te_ms.max():.3g} ms, phases "
    f"{phases}° …, inversion {sequence.inversion_time_ms} ms, T2 preparation "
    f"{sequence.t2_preparation_ms} ms, "
    + ("balanced" if sequence.balanced else "spoiled")
  )
  return Seen(result, right, tuple(said))


def _agree(sequence: Sequence, name: str, wanted) -> bool:
  """Whether a field is the wanted one to the digits of the file."""
  value = getattr(sequence, name)
  if wanted is None or isinstance(wanted, bool):
    return value is wanted
  if value is None:
    return False
  apart = np.asarray(value) - wanted
  if name == "rf_phases_deg":
    apart = np.mod(apart + 180, 360) - 180
  return bool(np.all(np.abs(apart) < 0.01))


def _text(case, expected, words, first, columns, wanted, **flags) -> Case:
  """A case of a text file with some first lines."""

  def run(folder):
    path = folder / "train.txt"
    rows = zip(*columns, strict=True)
    lines = (" ".join(f"{value:.6g}" for value in row) for row in rows)
    path.write_text(first + "\n".join(lines) + "\n")
    return _seen(path, wanted, **flags)

  return Case(case, expected, words, run)


def _matlab(case, expected, words, variables, wanted, **flags) -> Case:
  """A case of a MATLAB file."""

  def run(folder):
    path = folder / "train.mat"
    scipy.io.savemat(path, variables)
    return _seen(path, wanted, **flags)

  return Case(case, expected, words, run)


def _phases(name: str, values=PHASES, **more) -> dict:
  return {**_PLAIN, **more, name: values}


_ALL = (FLIPS, TRS, TES, PHASES)
_RAD = np.deg2rad(PHASES)
_UNWRAPPED = 117.0 * _FRAME * (_FRAME + 1) / 2
_ASKED = "--phase_unit=deg or --phase_unit=rad"
_SECONDS = "looks like seconds"


def _comment(comment, expected, words, columns=(FLIPS, TRS), **wanted) -> Case:
  """A case of a comment before the flip angles and TRs."""
  case = f"text, the comment # {comment}"
  return _text(case, expected, words, f"# {comment}\n", columns, wanted)


def _with_commas(path: pathlib.Path) -> Seen:
  path.write_text("\n".join(f"{f:.2f}".replace(".", ",") for f in FLIPS))
  return _seen(path, {"flip_angles_deg": FLIPS})


def _encoded(case, first, columns, wanted, *, separator, encoding) -> Case:
  """A case of a table as a spreadsheet writes it."""

  def run(folder):
    path = folder / "train.csv"
    rows = [first, *zip(*columns, strict=True)]
    lines = [separator.join(map(str, row)) for row in rows]
    path.write_text("\r\n".join(lines) + "\r\n", encoding=encoding)
    return _seen(path, wanted)

  return Case(case, "right", "", run)


def _in_one_line(path: pathlib.Path) -> Seen:
  path.write_text(" ".join(f"{flip:.4g}" for flip in FLIPS) + "\n")
  return _seen(path, {"flip_angles_deg": FLIPS})


def _with_exchanged_files(folder: pathlib.Path) -> Seen:
  for name, values in (("fa.txt", FLIPS), ("tr.txt", TRS)):
    np.savetxt(folder / name, values)
  return _seen(
    folder / "tr.txt",
    {"flip_angles_deg": FLIPS},
    schedule_tr=str(folder / "fa.txt"),
  )


_COLUMN_CASES = [
  _text("text, as it should be", "right", "", _NAMES, _ALL, SOUND),
  _text(
    "text, the number of the frame first",
    "refused",
    "counts 1, 2 … 200: numbers of the frames?",
    "",
    (_FRAME + 1.0, FLIPS),
    {"flip_angles_deg": FLIPS},
  ),
  _text(
    "text, the number of the frame alone",
    "refused",
    "200°; they count 1, 2, 3",
    "",
    (_FRAME + 1.0,),
    {"flip_angles_deg": FLIPS},
  ),
  _text(
    "text, flip angles × 10",
    "refused",
    "more than 180°",
    _NAMES[:20] + "\n",
    (10 * FLIPS, TRS),
    {"flip_angles_deg": FLIPS},
  ),
  _text(
    "text, flip angles up to 200°, --angle_unit=deg",
    "right",
    "",
    "",
    (4 * FLIPS - 40, TRS),
    {"flip_angles_deg": 4 * FLIPS - 40},
    angle_unit="deg",
  ),
  _text(
    "text without names, TR first",
    "refused",
    "a first line of names",
    "",
    (TRS, FLIPS),
    {"flip_angles_deg": FLIPS},
  ),
  _text(
    "text, TR first by a comment # TR FA",
    "right",
    "",
    "# TR FA\n",
    (TRS, FLIPS),
    {"flip_angles_deg": FLIPS, "tr_ms": TRS},
  ),
  _text(
    "text without names, phases in rad third",
    "refused",
    "taken for TEs but may be phases",
    "",
    (FLIPS, TRS, np.deg2rad(PHASES)),
    SOUND,
  ),
  Case(
    "--schedule and --schedule_tr exchanged",
    "refused",
    "may be TRs, and what for TRs",
    _with_exchanged_files,
  ),
  _text(
    "text without names, flip angle and TR",
    "named",
    "its columns have no names: flip angle, TR",
    "",
    (FLIPS, TRS),
    {"flip_angles_deg": FLIPS, "tr_ms": TRS},
  ),
  _text(
    "text, a comment # frame FA TR",
    "refused",
    "'frame' is unknown",
    "# frame FA TR\n",
    (_FRAME, FLIPS, TRS),
    {"flip_angles_deg": FLIPS},
  ),
  _text(
    "text, a first line FA (rad), TR (s)",
    "right",
    "",
    "FA (rad), TR (s)\n",
    (np.deg2rad(FLIPS), TRS / 1e3),
    {"flip_angles_deg": FLIPS, "tr_ms": TRS},
  ),
  Case(
    "text with decimal commas, 10,05",
    "refused",
    "decimal commas",
    lambda folder: _with_commas(folder / "train.txt"),
  ),
  *(
    _encoded(
      f"text of a spreadsheet, {case}",
      first,
      (FLIPS, TRS * 1e3),
      {"flip_angles_deg": FLIPS, "tr_ms": TRS},
      separator=separator,
      encoding=encoding,
    )
    for case, first, separator, encoding in (
      ("semicolons", ("FA", "TR (µs)"), ";", "utf-8-sig"),
      ("empty cells at the end", ("FA", "TR (µs)", ""), ",", "utf-8"),
      ("Windows-1252", ("FA (°)", "TR (µs)"), ",", "cp1252"),
      ("UTF-16", ("FA", "TR (µs)"), "\t", "utf-16"),
    )
  ),
  _text(
    "text with semicolons and decimal commas",
    "refused",
    "decimal commas",
    "10,5;12\n",
    (np.round(FLIPS),),
    {"flip_angles_deg": FLIPS},
  ),
  _text(
    "text, a comment of MATLAB, % TR FA",
    "right",
    "",
    "% TR FA\n",
    (TRS, FLIPS),
    {"flip_angles_deg": FLIPS, "tr_ms": TRS},
  ),
  _text(
    "text, a first line Echo Time (TE) [s] and more",
    "right",
    "",
    "Flip angle (FA),Repetition time (TR) [s],Echo Time (TE) [s]\n",
    (FLIPS, TRS / 1e3, TES / 1e3),
    {"flip_angles_deg": FLIPS, "tr_ms": TRS, "te_ms": TES},
  ),
  _text(
    "text, the number of the frame first, without a name",
    "refused",
    "row 0 has 3 columns, not 2 as the names FA, TR",
    ",FA,TR\n",
    (_FRAME, FLIPS, TRS),
    {"flip_angles_deg": FLIPS},
  ),
  Case(
    "text, all flip angles in one line",
    "refused",
    "each frame has a line of its own",
    lambda folder: _in_one_line(folder / "train.txt"),
  ),
]

_TIME_CASES = (
  [
    _text(
      f"text, times in {unit}",
      "refused",
      words,
      _NAMES,
      (FLIPS, TRS * factor, TES * factor, PHASES),
      SOUND,
    )
    for unit, factor, words in (
      ("s", 1e-3, _SECONDS),
      ("µs", 1e3, "a thousand times too long? time_unit is ms; --time_unit=us"),
    )
  ]
  + [
    _text(
      "text, times in µs, --time_unit=us",
      "right",
      "",
      _NAMES,
      (FLIPS, TRS * 1e3, TES * 1e3, PHASES),
      SOUND,
      time_unit="us",
    ),
    _text(
      "text, times in s, --time_unit=ms",
      "refused",
      _SECONDS,
      "",
      (FLIPS, TRS * 1e-3),
      {"tr_ms": TRS},
      time_unit="ms",
    ),
    _matlab(
      "MATLAB, an inversion time in µs",
      "refused",
      "a thousand times too long?",
      {**_PLAIN, "TI": 20e3},
      {"inversion_time_ms": 20.0},
    ),
    _matlab(
      "MATLAB, an inversion time of 2 s as 2",
      "named",
      "if it was meant in seconds, it is 2000 ms",
      {**_PLAIN, "TI": 2.0},
      {"inversion_time_ms": 2000.0},
    ),
  ]
  + [
    _text(
      f"--{name}={value}",
      "refused",
      f"--{name} is {float(value):g} ms, which looks like {unit}",
      "",
      (FLIPS,),
      {},
      **{name: value},
    )
    for name, value, unit in (
      ("tr_ms", 0.015, "seconds"),
      ("tr_ms", 15000.0, "µs"),
      ("te_ms", 0.002, "seconds"),
      ("te_ms", 2000.0, "µs"),
      ("inversion_time_ms", "0.02", "seconds"),
      ("inversion_time_ms", "20000", "µs"),
    )
  ]
  + [
    _text(
      "--tr_ms=12 with --te_ms=0.1 and --inversion_time_ms=2.6",
      "named",
      "the inversion time is 2.6 ms, which is short",
      "",
      (FLIPS,),
      {"te_ms": 0.1, "inversion_time_ms": 2.6},
      tr_ms=12.0,
      te_ms=0.1,
      inversion_time_ms="2.6",
    ),
    _text(
      "--inversion_time_ms=40 for a file that says 20",
      "refused",
      "has 20 ms as inversion time; the flag is for schedules that do not",
      "# inversion_time_ms 20\n",
      (FLIPS, TRS),
      {"inversion_time_ms": 40.0},
      inversion_time_ms="40",
    ),
  ]
)

_PHASE_CASES = [
  _text(
    "text, phases in rad",
    "refused",
    _ASKED,
    _NAMES,
    (FLIPS, TRS, TES, _RAD),
    SOUND,
  ),
  _text(
    "text, phases in rad, --phase_unit=rad",
    "right",
    "",
    _NAMES,
    (FLIPS, TRS, TES, _RAD),
    SOUND,
    phase_unit="rad",
  ),
  _matlab(
    "MATLAB, phases in rad", "refused", _ASKED, _phases("PH", _RAD), SOUND
  ),
  _matlab(
    "MATLAB, phases of −π to π",
    "refused",
    _ASKED,
    _phases("PH", np.angle(np.exp(1j * _RAD))),
    SOUND,
  ),
  _matlab(
    "MATLAB, phases in rad over many turns",
    "refused",
    _ASKED,
    _phases("PH", np.deg2rad(_UNWRAPPED)),
    SOUND,
  ),
  _matlab(
    "MATLAB, phases in turns",
    "refused",
    "--phase_unit=cycles",
    _phases("PH", PHASES / 360),
    SOUND,
  ),
  _matlab(
    "MATLAB, flip angles in rad, phases in degrees, --angle_unit=rad",
    "refused",
    "--phase_unit=deg",
    _phases("PH", FA=np.deg2rad(FLIPS)),
    SOUND,
    angle_unit="rad",
  ),
  _matlab(
    "MATLAB, phases of 0 and 1 half turns",
    "refused",
    "--phase_unit=half_turns",
    _phases("PH", _FRAME % 2),
    {"rf_phases_deg": 180.0 * (_FRAME % 2)},
  ),
  _matlab(
    "MATLAB, the same, --phase_unit=half_turns",
    "right",
    "",
    _phases("PH", _FRAME % 2),
    {"rf_phases_deg": 180.0 * (_FRAME % 2)},
    phase_unit="half_turns",
  ),
  _matlab(
    "MATLAB, one phase of π/2 for all pulses",
    "right",
    "",
    _phases("PH", np.full(N_FRAMES, np.pi / 2)),
    {"flip_angles_deg": FLIPS},
  ),
  _matlab(
    "MATLAB, phases of 0 and 180°",
    "right",
    "",
    _phases("PH", 180.0 * (_FRAME % 2)),
    {"rf_phases_deg": 180.0 * (_FRAME % 2)},
  ),
  _matlab(
    "MATLAB, phases in degrees over many turns",
    "right",
    "",
    _phases("PH", _UNWRAPPED),
    SOUND,
  ),
]

_NAME_CASES = [
  *(
    _matlab(f"MATLAB, phases as {name}", "right", "", _phases(name), SOUND)
    for name in ("phi", "RFphase", "RF_phase", "rf_phase_list")
  ),
  _text(
    "text, phases as rf phase",
    "right",
    "",
    "FA, TR, TE, rf phase\n",
    _ALL,
    SOUND,
  ),
  _matlab(
    "MATLAB, phases as phase_rad",
    "right",
    "",
    _phases("phase_rad", _RAD),
    SOUND,
  ),
  *(
    _matlab(
      f"MATLAB, {name} with as many values as frames",
      "refused",
      f"{name} has as many values as there are frames and may be rf_phases_deg",
      _phases(name),
      SOUND,
    )
    for name in ("theta", "phase_increment")
  ),
  _matlab(
    "MATLAB, flip angles as alpha, TR as TR_s",
    "right",
    "",
    {"alpha": FLIPS, "TR_s": TRS / 1e3, "TE": TES, "phi": PHASES},
    SOUND,
  ),
  _matlab(
    "MATLAB, an inversion time as TIs",
    "right",
    "",
    {"FA": FLIPS, "TR": TRS, "TE": TES, "PH": PHASES, "TIs": 40.0},
    {**SOUND, "inversion_time_ms": 40.0},
  ),
  _matlab(
    "MATLAB, two inversion times as TIs",
    "refused",
    "TIs has 2 values, but inversion_time_ms needs 1",
    {"FA": FLIPS, "TR": TRS, "TE": TES, "TIs": [20.0, 40.0]},
    SOUND,
  ),
  _matlab(
    "MATLAB, the increment of RF spoiling as rf_spoil_inc",
    "refused",
    "rf_spoil_inc may describe the phases of the pulses",
    {**_PLAIN, "rf_spoil_inc": 117.0},
    SOUND,
  ),
  _matlab(
    "MATLAB, inversion = 0",
    "right",
    "",
    {"FA": FLIPS, "TR": TRS, "TE": TES, "inversion": 0},
    {"inversion_time_ms": None},
  ),
  *(
    _matlab(
      f"MATLAB, {name} = 0",
      "right",
      "",
      {"FA": FLIPS, "TR": TRS, "TE": TES, name: 0},
      {"inversion_time_ms": None},
    )
    for name in ("inversion_flag", "doInv", "IR")
  ),
  *(
    _matlab(
      f"MATLAB, {name} = 15",
      "right",
      "",
      {"FA": FLIPS, "TR": TRS, "TE": TES, name: 15.0},
      {"inversion_time_ms": 15.0},
    )
    for name in ("inv_delay", "TI_delay", "t_inv")
  ),
  _matlab(
    "MATLAB, an inversion time of 0",
    "named",
    "if none is played",
    {**_PLAIN, "TI": 0.0},
    {"inversion_time_ms": None},
  ),
  _matlab(
    "MATLAB, a number TE_eff without TE",
    "named",
    "the numbers TE_eff (2.5) are not read",
    {"FA": FLIPS, "TR": TRS, "TI": 20.0, "TE_eff": 2.5},
    {"te_ms": np.full(N_FRAMES, 2.5)},
  ),
  _matlab(
    "MATLAB, isBSSFP = 1",
    "right",
    "",
    {**_PLAIN, "isBSSFP": 1},
    {"balanced": True},
  ),
  _matlab(
    "MATLAB, balanced = 'yes'",
    "refused",
    "balanced is a text, not 1 or 0",
    {**_PLAIN, "balanced": "yes"},
    {"balanced": True},
  ),
  _matlab(
    "MATLAB, flip angles and phases as a complex FA",
    "named",
    "flip angles and phases are those of the complex FA",
    {"TR": TRS, "TE": TES, "FA": FLIPS * np.exp(1j * _RAD)},
    SOUND,
  ),
  _matlab(
    "MATLAB, a T2 preparation as T2prep, and balanced",
    "right",
    "",
    {**_PLAIN, "T2prep": 40.0, "balanced": True},
    {"t2_preparation_ms": 40.0, "balanced": True},
  ),
  _matlab(
    "MATLAB, complex pulses rf",
    "named",
    "the phases of the pulses are those of the complex rf",
    {**_PLAIN, "rf": FLIPS * np.exp(1j * _RAD)},
    SOUND,
  ),
  _matlab(
    "MATLAB, complex pulses rf without FA",
    "named",
    "flip angles and phases are those of the complex rf",
    {"TR": TRS, "TE": TES, "rf": FLIPS * np.exp(1j * _RAD)},
    SOUND,
  ),
  _matlab(
    "MATLAB, another vector, spiral_angle",
    "named",
    "spiral_angle, 200 values, one a frame, is not read",
    _phases("PH", spiral_angle=7.5 * _FRAME),
    SOUND,
  ),
]

_COMMENT_CASES = [
  *(
    _comment(comment, "right", "", balanced=True)
    for comment in ("Balanced", "balanced: true", "bSSFP")
  ),
  _comment("not balanced", "right", "", balanced=False),
  *(
    _comment(comment, "refused", "# balanced (or")
    for comment in ("for a bSSFP sequence, 2013", "IR-bSSFP")
  ),
  *(
    _comment(comment, "right", "", inversion_time_ms=40.0)
    for comment in (
      "inversion_time_ms 40 ms",
      "inversion time 40",
      "TI = 40 ms",
      "Inversion Time: 0.04 s",
    )
  ),
  *(
    _comment(comment, "right", "", inversion_time_ms=None)
    for comment in ("no inversion", "inversion: 0")
  ),
  _comment("inversion_time_ms 0.02", "refused", _SECONDS),
  _comment(
    "TI: see the paper", "refused", "# inversion_time_ms 20 (or none) says it"
  ),
  _comment("after an inversion", "named", "# inversion_time_ms 20 (or none)"),
  _comment("T2 preparation: 40 ms", "right", "", t2_preparation_ms=40.0),
  _comment("no gradient spoiling", "refused", "# balanced (or"),
  _comment("RF spoiling, 117°", "refused", "a column rf_phase_deg"),
  _comment("RF spoiling: off", "right", "", rf_phases_deg=np.zeros(N_FRAMES)),
  _comment("TE 2.5 / TR 13", "named", "# te_ms 2 sets it", te_ms=2.5),
  _comment(
    "TR = 12 ms, TE = 3 ms",
    "right",
    "",
    (FLIPS,),
    tr_ms=np.full(N_FRAMES, 12.0),
    te_ms=np.full(N_FRAMES, 3.0),
  ),
  _comment("made by hand in 2024", "right", "", tr_ms=TRS),
]

CASES: list[Case] = [
  *_COLUMN_CASES,
  *_TIME_CASES,
  *_PHASE_CASES,
  *_NAME_CASES,
  *_COMMENT_CASES,
]
