"""Schedules from text and MATLAB files, and text files written and read."""

import dataclasses

import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.sequence.files import load_sequence, open_times, save_sequence
from mrf_jax.sequence.schedules import jiang_type
from mrf_jax.sequence.sequence import FRAME_FIELDS, PREPARATION_FIELDS
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
    ("TR\n", "empty"),
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
    ("angle,TR\n10,12\n", "column 'angle' is unknown; known are flip_angles"),
    ("TR\n12\n", "no column of flip angles"),
    ("FA,TR\n", "empty"),
    ("FA,TR\n10,12\n20,nan\n", r"tr_ms\[1\] is nan"),
    ("0.1\n0.5\n", r"flip_angles_deg\[1\] is the largest, 0.5, .* radians"),
    ("10 0.012\n20 0.013\n", "median of tr_ms is 0.0125, .* seconds"),
    ("TE,FA\n0.002,10\n", "median of te_ms is 0.002, .* seconds"),
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
    ({"time_unit": "us"}, "time_unit: 'us' is not one of ms, s"),
    ({"time_unit": "s"}, "tr_ms is 14500 ms, a thousand times"),
  ],
)
def test_options_that_do_not_fit(load, options, message):
  with pytest.raises(UserError, match=message):
    load("10 14\n20 15\n", **options)


COLUMNS = {
  "FA": np.array([[10.0], [20.5], [300.0]]),
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
  columns = [10, 20.5, 300], [12, 13, 200], [2, 2, 3], [0, 180, 200]
  check_columns(sequence, columns)
  assert sequence.inversion_time_ms == 50.0
  save(path, {**COLUMNS, "TI": 18.0, "note": np.eye(2)})
  assert load_sequence(path, n_frames=2).inversion_time_ms == 18.0


def test_matlab_variables_by_other_names(tmp_path):
  path = tmp_path / "schedule.mat"
  save_v5(path, {"alpha_list": [10.0, 20.0], "TR": [12.0, 13.0]})
  with pytest.raises(UserError, match=r"no flip angles .* alpha_list, TR"):
    load_sequence(path)
  sequence = load_sequence(path, variables={"flip_angles_deg": "alpha_list"})
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
    ({"FA": [10.0, 2j]}, "FA is not a vector of real"),
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
  ],
)
def test_saved_sequence_is_read_again(path, more):
  """Every field of it, whatever the default of a field is."""
  saved = dataclasses.replace(jiang_type(50), inversion_time_ms=None)
  saved = dataclasses.replace(saved, **more)
  save_sequence(saved, path)
  assert not {"inversion_time_ms", "tr_ms"} & {*open_times(path)}
  loaded = load_sequence(path, inversion_time_ms=33.0)
  for name in FRAME_FIELDS:
    expected = getattr(saved, name)
    np.testing.assert_allclose(getattr(loaded, name), expected, rtol=1e-6)
  for name in (*PREPARATION_FIELDS, "balanced"):
    assert getattr(loaded, name) == getattr(saved, name), name


def test_one_number_for_all_frames(tmp_path):
  path = tmp_path / "schedule.mat"
  save_v5(path, {"FA": [10.0, 20.0, 30.0], "TR": [12.0], "TE": [3.0]})
  sequence = load_sequence(path)
  np.testing.assert_array_equal(sequence.tr_ms, [12.0] * 3)
  np.testing.assert_array_equal(sequence.te_ms, [3.0] * 3)


def test_open_times_are_listed(path):
  path.write_text("10\n20\n")
  assert open_times(path) == ("tr_ms", "te_ms", "inversion_time_ms")
  assert open_times(path, tr_path=path) == ("te_ms", "inversion_time_ms")
  path.write_text("# inversion_time_ms 18\n10 14\n20 14\n")
  assert open_times(path) == ("te_ms",)
  assert load_sequence(path).inversion_time_ms == 18.0


@pytest.mark.parametrize("comment", ["# inversion_time_ms", "# TI 18"])
def test_inversion_without_a_value(load, path, comment):
  sequence = load(f"{comment}\n35\n40\n", inversion_time_ms=None)
  assert sequence.inversion_time_ms is None
  np.testing.assert_array_equal(sequence.flip_angles_deg, [35.0, 40.0])
  assert "inversion_time_ms" in open_times(path)


@pytest.mark.parametrize("suffix", ["txt", "mat"])
def test_missing_file_and_folder(tmp_path, suffix):
  with pytest.raises(UserError, match="there is no such file"):
    load_sequence(tmp_path / f"missing.{suffix}")
  with pytest.raises(UserError, match="cannot be read"):
    load_sequence(tmp_path)
