"""Schedules from text and MATLAB files, and text files written and read."""

import dataclasses

import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.sequence.files import (
  load_sequence,
  read_schedule,
  save_sequence,
)
from mrf_jax.sequence.schedules import jiang_type
from mrf_jax.sequence.sequence import (
  FRAME_FIELDS,
  PREPARATION_FIELDS,
  PULSE_FIELDS,
)
from tests.io.matlab_files import save_v5, save_v73


@pytest.fixture
def path(tmp_path):
  return tmp_path / "schedule.txt"


@pytest.fixture
def load(path, tmp_path):
  """Function that reads a schedule and TRs of their own from texts."""

  def load(text, trs=None, **options):
    path.write_text(text)
    if trs is not None:
      options["tr_path"] = tmp_path / "tr.txt"
      options["tr_path"].write_text(trs)
    return load_sequence(path, **options)

  return load


def check_columns(sequence, columns):
  """Compares the first fields, in the order of `FRAME_FIELDS`."""
  for name, values in zip(FRAME_FIELDS, columns, strict=False):
    actual = getattr(sequence, name)
    np.testing.assert_allclose(actual, values, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize(
  ("text", "options", "columns"),
  [
    (
      "# angle, TR, TE, phase\n10, 12, 2, 0\n20 13 2.5 90\n",
      {},
      ([10, 20], [12, 13], [2, 2.5], [0, 90]),
    ),
    # Spreadsheets write a byte order mark before their CSV.
    ("\ufeffFA,TR\n10,12\n20,13\n", {}, ([10, 20],)),
    (
      "TR,rf_phase_deg,FA\n12,0,10\n13,180,20\n",
      {"te_ms": 3.0},
      ([10, 20], [12, 13], [3, 3], [0, 180]),
    ),
    (
      "0.5 0.012 0.002 3.0\n1.0 0.013 0.002 0\n",
      {"time_unit": "s", "angle_unit": "rad"},
      (np.rad2deg([0.5, 1]), [12, 13], [2, 2], [np.rad2deg(3), 0]),
    ),
    ("2\n3\n", {"angle_unit": "deg"}, ([2, 3],)),
    (
      "# made today\n# tr_ms,flip_angle_deg\n14,10\n15,20\n",
      {},
      ([10, 20], [14, 15]),
    ),
    # Words that name no column are a comment.
    ("# my schedule\n10,14\n20,15\n", {}, ([10, 20], [14, 15])),
    # Longer or shorter TRs of their own.
    (
      "3\n4\n5\n",
      {"trs": "12\n13\n14\n15\n", "n_frames": 2},
      ([3, 4], [12, 13]),
    ),
    ("3\n4\n5\n", {"trs": "12\n13\n", "n_frames": 2}, ([3, 4], [12, 13])),
  ],
)
def test_columns_of_a_text(load, text, options, columns):
  sequence = load(text, **options, inversion_time_ms=None)
  check_columns(sequence, columns)
  assert sequence.has_constant_phase == (len(columns) < 4)
  assert sequence.inversion_time_ms is None


@pytest.mark.parametrize(
  "text",
  [
    "tr_ms\n12\n13\n14\n",
    "# TR\n12\n13\n14\n",
    "TR (ms)\n12\n13\n14\n",
    "Repetition\n12\n13\n14\n",
    "# made today\n12\n13\n14\n",
    "FA,TR\n10,12\n20,13\n30,14\n",
    "# TR FA\n12 10\n13 20\n14 30\n",
    "TR,other\n12,a\n13,b\n14,c\n",
  ],
)
def test_column_of_trs_by_name(load, text):
  sequence = load("10\n20\n30\n", text)
  np.testing.assert_array_equal(sequence.tr_ms, [12, 13, 14])
  np.testing.assert_array_equal(sequence.flip_angles_deg, [10, 20, 30])


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("10 12\n20 13\n", "2 columns, none of them named tr_ms; one is needed"),
    ("FA,TE\n10,2\n20,2\n", "2 columns, none of them named tr_ms"),
    ("TR,tr_ms\n12,2\n13,2\n", "2 columns, 2 of them named tr_ms"),
    ("FA\n10\n20\n", "the column is 'FA', not tr_ms"),
    ("# te_ms\n10\n20\n", "the column is 'te_ms', not tr_ms"),
    ("FA TR\n10\n20\n", "the column is 'FA', not tr_ms"),
    ("FA,TR\n10,12\n20\n", "row 1 has 1 columns, not 2"),
    ("FA,TR\n10,12\n20,x\n", r"tr_ms\[1\] is 'x', not a number"),
    ("12\n13,14\n", "row 1 has 2 columns, not 1"),
    ("TR\n", "nothing but 'TR'"),
    # Too few: both files are named.
    ("12\n", r"tr_ms\[1\] .* 1 TRs, but .*schedule\.txt has 2 flip angles"),
  ],
)
def test_unclear_columns_of_trs(load, text, message):
  with pytest.raises(UserError, match=rf"tr\.txt: .*{message}"):
    load("10\n20\n", text)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("azimuth,TR\n10,12\n", "column 'azimuth' is unknown; known are flip_"),
    ("TR\n12\n", "no column of flip angles"),
    ("FA,TR\n", "nothing but 'FA,TR'"),
    ("FA,TR\n10,12\n20,nan\n", r"tr_ms\[1\] is nan"),
    ("0.1\n0.5\n", r"flip_angles_deg\[1\] is the largest, 0.5, .* radians"),
    ("10 0.012\n20 0.013\n", "median of tr_ms is 0.0125 ms, .* seconds"),
    ("TE,FA\n0.002,10\n", "median of te_ms is 0.002 ms, .* seconds"),
    ("FA,TR,TE\n10,,5\n20,,5\n", r"tr_ms\[0\] is '', not a number"),
    ("FA,TR,TE\n10,12\n20,12\n", "row 0 has 2 columns, not 3"),
    ("10 12\n20\n", "row 1 has 1 columns, not 2"),
    ("10 12\n20 1O\n", r"tr_ms\[1\] is '1O', not a number"),
    ("FA,flip\n10,20\n", "flip_angles_deg has two columns, 'flip' again"),
    ("", "not a table of numbers"),
    ("ten\n", "not a table of numbers"),
    ("1 2\n3\n", "row 1 has 1 columns, not 2"),
    ("1 2 3 4 5\n", "5 columns; at most 4 are known"),
    ("10 14000\n20 15000", "tr_ms is 14500 ms, a thousand times"),
  ],
)
def test_bad_text_is_named(load, path, text, message):
  with pytest.raises(UserError, match=message) as caught:
    load(text)
  assert str(path) in str(caught.value)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"n_frames": 3}, r"schedule\.txt: flip_angles_deg: 2 frames, 3"),
    ({"n_frames": 0}, "n_frames is 0, not at least"),
    ({"n_frames": -1}, "n_frames is -1, not at least"),
    ({"time_unit": "min"}, "time_unit: 'min' is not one of s, ms, us"),
    ({"tr_ms": 0.012}, "tr_ms is 0.012 ms, which looks like seconds"),
    ({"inversion_time_ms": 2e4}, "inversion_time_ms is 20000 ms, .* µs"),
    ({"time_unit": "s"}, "tr_ms is 14500 ms, a thousand times"),
  ],
)
def test_options_that_do_not_fit(load, options, message):
  with pytest.raises(UserError, match=message):
    load("10 14\n20 15\n", **options)


COLUMNS = {
  "FA": np.array([[10.0], [20.5], [170.0]]),
  "PH": np.array([[0], [180], [200]], np.uint8),
  "TE": np.array([[2], [2], [3]], np.uint8),
  "TR": np.array([[12], [13], [200]], np.uint8),
}


@pytest.mark.parametrize("save", [save_v5, save_v73])
def test_matlab_files_of_both_kinds(tmp_path, save):
  path = tmp_path / "schedule.mat"
  save(path, COLUMNS)
  sequence = load_sequence(path, inversion_time_ms=50.0)
  # Not in eight bits: 200 ms is 200 ms.
  columns = [10, 20.5, 170], [12, 13, 200], [2, 2, 3], [0, 180, 200]
  check_columns(sequence, columns)
  assert sequence.inversion_time_ms == 50.0
  save(path, {**COLUMNS, "TI": 18.0, "note": np.eye(2)})
  assert load_sequence(path, n_frames=2).inversion_time_ms == 18.0


def test_matlab_variables_by_other_names(tmp_path):
  path = tmp_path / "schedule.mat"
  save_v5(path, {"theta_list": [10.0, 20.0], "TR": [12.0, 13.0]})
  with pytest.raises(UserError, match=r"no flip angles .* theta_list, TR"):
    load_sequence(path)
  sequence = load_sequence(path, variables={"flip_angles_deg": "theta_list"})
  np.testing.assert_allclose(sequence.flip_angles_deg, [10, 20])
  with pytest.raises(UserError, match="no variable 'beta'"):
    load_sequence(path, variables={"flip_angles_deg": "beta"})
  with pytest.raises(UserError, match="variables: 'flips' is not one of"):
    load_sequence(path, variables={"flips": "alpha_list"})


@pytest.mark.parametrize(
  ("variables", "message"),
  [
    ({"flip": [1.0, 2.0]}, "FA and flip both look like"),
    ({"FA": np.ones((2, 2))}, "FA is not a vector"),
    ({"FA": "ten"}, "FA is not a vector"),
    ({"FA": np.zeros((1, 0))}, "FA is empty"),
    ({"FA": np.zeros((0, 0))}, "FA is empty"),
    ({"TR": np.zeros((1, 0))}, "TR is empty"),
    ({"TR": [12.0, 13, 14]}, "tr_ms has length 3, not 2 as flip_angles_deg"),
    ({"TI": [20.0, 30.0]}, "inversion_time_ms has length 2, not 1"),
    ({"TI": 0.02}, "median of inversion_time_ms is 0.02"),
    ({"TR": [12.0, -1.0]}, r"tr_ms\[1\] is -1"),
  ],
)
def test_bad_matlab_variables_are_named(tmp_path, variables, message):
  path = tmp_path / "schedule.mat"
  save_v5(path, {"FA": [10.0, 20.0], **variables})
  with pytest.raises(UserError, match=message) as caught:
    load_sequence(path)
  assert str(path) in str(caught.value)


@pytest.mark.parametrize(
  "more",
  [
    {"inversion_time_ms": 18.0},
    {"inversion_time_ms": None},
    {"inversion_time_ms": None, "saturation_time_ms": 7.25},
    {"t2_preparation_ms": 40.0, "balanced": True},
    {"slice_time_bandwidth": 2.7, "inversion_efficiency": 0.96},
  ],
)
def test_saved_sequence_is_read_again(path, more):
  """Every field of it, whatever the default of a field is."""
  saved = dataclasses.replace(jiang_type(50), inversion_time_ms=None)
  saved = dataclasses.replace(saved, **more)
  save_sequence(saved, path)
  open_times = {*read_schedule(path).open_times}
  assert not {"inversion_time_ms", "tr_ms"} & open_times
  loaded = load_sequence(path, inversion_time_ms=33.0)
  for name in FRAME_FIELDS:
    expected = getattr(saved, name)
    np.testing.assert_allclose(getattr(loaded, name), expected, rtol=1e-6)
  for name in (*PREPARATION_FIELDS, "balanced", *PULSE_FIELDS):
    assert getattr(loaded, name) == getattr(saved, name), name


def test_one_number_for_all_frames(tmp_path):
  path = tmp_path / "schedule.mat"
  save_v5(path, {"FA": [10.0, 20.0, 30.0], "TR": [12.0], "TE": [3.0]})
  sequence = load_sequence(path)
  np.testing.assert_array_equal(sequence.tr_ms, [12.0] * 3)
  np.testing.assert_array_equal(sequence.te_ms, [3.0] * 3)


def test_open_times_are_listed(path):
  path.write_text("10\n20\n")
  names = ("tr_ms", "te_ms", "inversion_time_ms")
  assert read_schedule(path).open_times == names
  assert read_schedule(path, tr_path=path).open_times == names[1:]
  path.write_text("# inversion_time_ms 18\n10 14\n20 14\n")
  schedule = read_schedule(path)
  assert schedule.open_times == ("te_ms",)
  assert schedule.by_position == ("flip_angles_deg", "tr_ms")
  assert schedule.sequence.inversion_time_ms == 18.0


def test_what_is_not_read_is_a_warning(load):
  text = "# an inversion comes first\n10\n20\n"
  with pytest.warns(UserWarning, match="'an inversion comes first' is not"):
    load(text)


@pytest.mark.parametrize(
  ("comments", "fields"),
  [
    ("# inversion_time_ms 40 ms", {"inversion_time_ms": 40.0}),
    ("# inversion time 40", {"inversion_time_ms": 40.0}),
    ("#TI=20ms", {"inversion_time_ms": 20.0}),
    ("# TI (s): 0.021", {"inversion_time_ms": 21.0}),
    ("# adiabatic, TI = 0.021 s.", {"inversion_time_ms": 21.0}),
    ("# no inversion", {"inversion_time_ms": None}),
    ("# Inversion: none", {"inversion_time_ms": None}),
    ("# T2 prep: 40 ms", {"t2_preparation_ms": 40.0}),
    # A saturation stands for the inversion that is assumed.
    (
      "# saturation_time_ms 7",
      {"saturation_time_ms": 7.0, "inversion_time_ms": None},
    ),
    ("# Balanced", {"balanced": True}),
    ("# balanced: true", {"balanced": True}),
    ("# bSSFP sequence", {"balanced": True}),
    ("# balanced = no", {"balanced": False}),
    ("# is_balanced: 1", {"balanced": True}),
    ("# Inversion Recovery: TI=40ms TR=12ms", {"inversion_time_ms": 40.0}),
    ("# not balanced", {"balanced": False}),
    ("# slice_time_bandwidth 4", {"slice_time_bandwidth": 4.0}),
    ("# inversion efficiency: 0.96", {"inversion_efficiency": 0.96}),
    ("# pulse time-bandwidth product: 2.7", {"slice_time_bandwidth": 2.7}),
    ("# TR 12 ms, TE 3000 us", {"tr_ms": [12.0] * 2, "te_ms": [3.0] * 2}),
  ],
)
def test_settings_in_comments(load, comments, fields):
  sequence = load(f"{comments}\n35\n40\n")
  for name, value in fields.items():
    np.testing.assert_array_equal(getattr(sequence, name), value)


@pytest.mark.parametrize(
  ("comment", "message"),
  [
    ("inversion_time_ms", "looks like inversion_time_ms, .*# inversion_time"),
    ("inversion_time_ms 0.02", "0.02 ms, which looks like seconds"),
    ("inversion_time_ms 20,5", "'inversion_time_ms 20,5' is not read"),
    ("inversion: yes", "looks like inversion_time_ms"),
    ("inversion pulse 40 ms before", "is not read; # inversion_time_ms 20"),
    ("TI: 20 deg", "looks like inversion_time_ms"),
    ("TI 20\n# TI 30", "comments set inversion_time_ms to 20.0 and to 30.0"),
    ("t2_preparation_ms 0.04", "0.04 ms, which looks like seconds"),
    ("balanced: perhaps", "looks like balanced"),
    ("a schedule for bSSFP, 2013", "is not read; # balanced"),
    ("RF spoiling of 117 degrees", "is not read; a column rf_phase_deg"),
    ("TR = 12-14 ms", "looks like tr_ms, but cannot be read; # tr_ms 12"),
    ("no gradient spoiling", "is not read; # balanced"),
    ("RF phase: 117 quadratic", "looks like rf_phases_deg, but cannot"),
    ("spoiling: none", "is not read; # balanced"),
    ("slice_time_bandwidth: high", "slice_time_bandwidth, .*# slice_time_band"),
    ("slice_time_bandwidth 4 ms", "looks like slice_time_bandwidth"),
    ("inversion_efficiency 96", "inversion_efficiency is 96, not above"),
    ("slice_time_bandwidth 0.5", "slice_time_bandwidth is 0.5, not at least 1"),
  ],
)
def test_comments_that_cannot_be_read(load, comment, message):
  with pytest.raises(UserError, match=rf"schedule\.txt: .*{message}"):
    load(f"# {comment}\n35\n40\n")


@pytest.mark.parametrize(
  ("head", "tr_ms"),
  [
    ("FA (deg), TR (ms)", [12.0, 13.0]),
    ("flip angle [deg],TR [s]", [12e3, 13e3]),
    ("# FA (deg) TR (s)", [12e3, 13e3]),
    ("Flip_Angle_deg TR_us", [0.012, 0.013]),
  ],
)
def test_names_with_units(load, head, tr_ms):
  scale = 12.0 / tr_ms[0]
  sequence = load(f"{head}\n35 {12 * scale:g}\n40 {13 * scale:g}\n")
  np.testing.assert_allclose(sequence.tr_ms, [12.0, 13.0])
  np.testing.assert_allclose(sequence.flip_angles_deg, [35.0, 40.0])


@pytest.mark.parametrize(
  ("text", "options", "message"),
  [
    ("FA [rad],TR\n35,12\n40,13\n", {}, "if the unit is rad: are these deg"),
    ("FA,TR_us\n35,12\n40,13\n", {}, "0.0125 ms, .*its name says us"),
    ("35 0.012\n40 0.013\n", {"time_unit": "ms"}, "looks like seconds"),
    ("TR (deg),FA\n12,35\n13,40\n", {}, r"column 'TR \(deg\)' is unknown"),
    ("# frame FA TR\n0 35 12\n1 40 13\n", {}, "'frame' is unknown"),
    ("# TR FA\n35 12 2\n40 13 2\n", {}, "names of columns, but rows have 3"),
    ("0 35\n1 40\n2 45\n", {}, "first column counts 0, 1 … 2: numbers of"),
    ("12 10\n13 35\n12 60\n", {}, "12 to 13, may be TRs"),
    ("10 12 0\n20 12 2.04\n", {}, "third, 0 to 2.04, is taken for TEs"),
    ("10,35\n10,05\n", {}, "row 1 is '10,05', .* decimal commas"),
    ("10,5 12,5\n11,5 12,5\n", {}, "row 0 is '10,5 12,5', .* decimal commas"),
    ("35\n400\n", {}, r"flip_angles_deg\[1\] is 400°, .*--angle_unit=deg"),
    ("FA\n" + "\n".join(map(str, range(1, 200))), {}, "numbers of the frames"),
  ],
)
def test_doubtful_columns(load, text, options, message):
  with pytest.raises(UserError, match=rf"schedule\.txt: .*{message}"):
    load(text, **options)


@pytest.mark.parametrize(
  ("text", "options", "flips"),
  [
    ("35\n400\n", {"angle_unit": "deg"}, [35, 400]),
    # Ramps, and columns whose names say what they are.
    ("1\n2\n3\n4\n", {"angle_unit": "deg"}, [1, 2, 3, 4]),
    ("FA TR\n12 10\n13 35\n12 60\n", {}, [12, 13, 12]),
    ("10 , 12\n20 ,13\n", {}, [10, 20]),
  ],
)
def test_sound_columns_that_look_doubtful(load, text, options, flips):
  np.testing.assert_array_equal(load(text, **options).flip_angles_deg, flips)


SPOILING_DEG = np.mod(117.0 * np.arange(6) * np.arange(1, 7) / 2, 360)


@pytest.mark.parametrize(
  ("phases", "units"),
  [
    (np.deg2rad(SPOILING_DEG), "deg or rad"),
    (np.deg2rad(SPOILING_DEG) - np.pi, "deg or rad"),
    # Not brought back within a turn.
    (np.deg2rad(117.0 * np.arange(6) * np.arange(1, 7) / 2), "deg or rad"),
    ([0, np.pi] * 3, "deg or rad"),
    (SPOILING_DEG / 180, "deg or rad or half_turns"),
    ([0, 1] * 3, "deg or rad or cycles or half_turns"),
  ],
)
def test_phases_in_another_unit_are_asked_about(tmp_path, phases, units):
  path = tmp_path / "schedule.mat"
  save_v5(path, {"FA": np.linspace(10, 60, 6), "PH": phases})
  with pytest.raises(UserError, match=rf"{units}; --phase_unit=deg or --phase"):
    load_sequence(path)
  unit = units.split()[-1]
  turn = {"rad": 2 * np.pi, "half_turns": 2.0}[unit]
  sequence = load_sequence(path, phase_unit=unit)
  expected = np.mod(np.asarray(phases) * 360 / turn, 360)
  apart = np.mod(sequence.rf_phases_deg - expected + 180, 360) - 180
  np.testing.assert_allclose(apart, 0, atol=1e-9)
  assert load_sequence(path, phase_unit="deg").n_frames == 6


@pytest.mark.parametrize(
  "phases",
  [
    SPOILING_DEG,
    [0, 180] * 3,
    np.zeros(6),
    np.full(6, 0.5),
    [0, 1, 2, 3, 4, 5],
    [0.5, 90.0] * 3,
  ],
)
def test_phases_in_degrees(tmp_path, phases):
  path = tmp_path / "schedule.mat"
  save_v5(path, {"FA": np.linspace(10, 60, 6), "PH": phases})
  np.testing.assert_array_equal(load_sequence(path).rf_phases_deg, phases)


def test_phases_in_degrees_beside_flip_angles_in_radians(tmp_path):
  path = tmp_path / "schedule.mat"
  save_v5(path, {"FA": np.linspace(0.2, 1.0, 6), "PH": SPOILING_DEG})
  with pytest.raises(UserError, match="but angles are in rad; --phase_unit"):
    load_sequence(path, angle_unit="rad")
  sequence = load_sequence(path, angle_unit="rad", phase_unit="deg")
  np.testing.assert_array_equal(sequence.rf_phases_deg, SPOILING_DEG)
  np.testing.assert_allclose(sequence.flip_angles_deg[-1], np.rad2deg(1.0))


FRAMES = {"FA": np.linspace(10, 60, 6), "TR": np.full(6, 12.0)}


@pytest.mark.parametrize(
  ("name", "save"),
  [("PH", save_v5), ("RF_phase", save_v73), ("rfPhases", save_v5)],
)
def test_phases_by_similar_names(tmp_path, name, save):
  path = tmp_path / "schedule.mat"
  save(path, {**FRAMES, name: SPOILING_DEG})
  np.testing.assert_array_equal(load_sequence(path).rf_phases_deg, SPOILING_DEG)


def test_similar_names_of_all_fields(tmp_path):
  path = tmp_path / "schedule.mat"
  values = {
    "alpha": np.linspace(0.2, 1.0, 6),
    "TR_s": np.full(6, 0.012),
    "EchoTime": 3.0,
    "phase_rad": np.deg2rad(SPOILING_DEG),
    "TIs": 40.0,
    "T2prep": 30.0,
    "balanced": 1,
  }
  save_v5(path, values)
  sequence = load_sequence(path, angle_unit="rad")
  np.testing.assert_allclose(sequence.flip_angles_deg[-1], np.rad2deg(1.0))
  np.testing.assert_allclose(sequence.tr_ms, 12.0)
  np.testing.assert_allclose(sequence.te_ms, 3.0)
  np.testing.assert_allclose(sequence.rf_phases_deg, SPOILING_DEG, atol=1e-9)
  assert sequence.inversion_time_ms == 40.0
  assert sequence.t2_preparation_ms == 30.0
  assert sequence.balanced


@pytest.mark.parametrize(
  "name", ["theta", "phase_increment", "ADC_phase", "myTR_eff", "TE_eff_ms"]
)
def test_variables_that_may_be_missing_fields(tmp_path, name):
  path = tmp_path / "schedule.mat"
  save_v5(path, {"FA": FRAMES["FA"], name: np.arange(6.0)})
  with pytest.raises(UserError, match=rf"{name} has as many values as there"):
    load_sequence(path)


@pytest.mark.parametrize(
  ("name", "values"),
  [
    ("spiral_phase", np.arange(6.0)),
    ("theta", np.arange(6.0)),
    ("signal", np.exp(1j * np.arange(6.0))),
    ("rf", np.exp(1j * np.arange(6.0))),
  ],
)
def test_variables_that_are_not_read_are_named(tmp_path, name, values):
  path = tmp_path / "schedule.mat"
  save_v5(path, {**FRAMES, "PH": SPOILING_DEG, name: values})
  (note,) = read_schedule(path).notes
  assert f"{name}, 6 " in note and note.endswith("is not read")


@pytest.mark.parametrize("save", [save_v5, save_v73])
@pytest.mark.parametrize("others", [FRAMES, {"TR": FRAMES["TR"]}])
def test_complex_pulses(tmp_path, save, others):
  path = tmp_path / "schedule.mat"
  save(
    path, {**others, "rf": FRAMES["FA"] * np.exp(1j * np.deg2rad(SPOILING_DEG))}
  )
  schedule = read_schedule(path)
  assert "complex rf" in schedule.notes[0]
  sequence = schedule.sequence
  np.testing.assert_allclose(sequence.flip_angles_deg, FRAMES["FA"])
  np.testing.assert_allclose(sequence.rf_phases_deg, SPOILING_DEG, atol=1e-9)


def test_a_few_complex_angles_are_refused(tmp_path):
  path = tmp_path / "schedule.mat"
  sines = np.array([0.2, 0.4, 0.6, 0.8, 1.1, 0.8])
  angles = np.emath.arcsin(sines) * (180 / np.pi)
  save_v5(path, {**FRAMES, "FA": angles})
  with pytest.raises(UserError, match="FA, 1 of 6 values are complex"):
    load_sequence(path)
  # Pulses with phases: some of them may well have none.
  save_v5(path, {"TR": FRAMES["TR"], "rf": angles})
  assert read_schedule(path).sequence.n_frames == 6


@pytest.mark.parametrize(
  ("name", "values", "message"),
  [
    ("phase_increment", 117.0, "phase_increment may describe the phases"),
    ("rfSpoilInc", 117.0, "rfSpoilInc may describe the phases"),
  ],
)
def test_rules_of_phases_are_asked_about(tmp_path, name, values, message):
  path = tmp_path / "schedule.mat"
  save_v5(path, {**FRAMES, name: values})
  with pytest.raises(UserError, match=message):
    load_sequence(path)
  save_v5(path, {**FRAMES, name: np.zeros_like(values)})
  assert load_sequence(path).has_constant_phase


@pytest.mark.parametrize(
  ("name", "values", "needs"),
  [
    ("RFphase", [0.0, 180.0], "rf_phases_deg needs 6, one a frame"),
    ("TIs", [20.0, 40.0], "inversion_time_ms needs 1"),
  ],
)
def test_similar_names_of_another_length(tmp_path, name, values, needs):
  path = tmp_path / "schedule.mat"
  save_v5(path, {**FRAMES, name: values})
  with pytest.raises(UserError, match=f"{name} has 2 values, but {needs}"):
    load_sequence(path)


@pytest.mark.parametrize(
  ("value", "time_ms"), [(0, None), (1, 33.0), (18, 18.0)]
)
def test_inversion_as_a_number(tmp_path, value, time_ms):
  path = tmp_path / "schedule.mat"
  save_v5(path, {**FRAMES, "inversion": value})
  sequence = load_sequence(path, inversion_time_ms=33.0)
  assert sequence.inversion_time_ms == time_ms


def test_texts_of_a_matlab_file_are_named(tmp_path):
  path = tmp_path / "schedule.mat"
  save_v5(path, {**FRAMES, "kind": "bSSFP"})
  assert read_schedule(path).notes == (f"{path}: the texts kind are not read",)


def test_exchanged_files_of_trs_and_flip_angles(load):
  with pytest.raises(UserError, match="flip angles, 12 to 13, may be TRs"):
    load("12\n13\n12\n", "10\n60\n30\n")
  assert load("12\n13\n12\n", "TR\n10\n60\n30\n").tr_ms[1] == 60


def test_inversion_among_the_frames(load):
  with pytest.warns(UserWarning, match="first frame is a pulse of 180°"):
    load("180 12\n35 13\n40 14\n")


@pytest.mark.parametrize("suffix", ["txt", "mat"])
def test_missing_file_and_folder(tmp_path, suffix):
  with pytest.raises(UserError, match="there is no such file"):
    load_sequence(tmp_path / f"missing.{suffix}")
  with pytest.raises(UserError, match="cannot be read"):
    load_sequence(tmp_path)
