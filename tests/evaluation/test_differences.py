import math

import pandas as pd
import pytest

from mrf_jax.errors import UserError
from mrf_jax.evaluation.differences import (
  COLUMNS,
  format_differences,
  paired_differences,
)
from mrf_jax.evaluation.table import format_markdown, summarise, write_rows
from mrf_jax.maps import MAP_NAMES
from tests.evaluation.examples import NAN, cells, subject_errors


def _subjects(maes, tissue="wm"):
  """Subjects whose RMSE is twice the MAE."""
  return [subject_errors(tissue, mae, 2 * mae) for mae in maes]


def _pair(method, other, tissue="wm", **options):
  errors = {"a": _subjects(method, tissue), "b": _subjects(other, tissue)}
  return list(paired_differences(errors, **options).itertuples(index=False))


def _numbers(row):
  return row.mean, row.low, row.high


def _table(rows):
  return pd.DataFrame(rows, columns=[*COLUMNS])


def _rows(method, other, mean, low, high, n=6):
  return [
    (method, other, "wm", name, error, mean, low, high, n)
    for name in MAP_NAMES
    for error in ("mae", "rmse")
  ]


@pytest.mark.parametrize(
  ("method", "other", "confidence", "mean", "half"),
  [
    # Differences 1, 2, 3, 4: s = sqrt(5/3); the tables give t = 3.182446 for
    # 95 % and 2.353363 for 90 % with three degrees of freedom.
    ([11, 22, 33, 44], [10, 20, 30, 40], 0.95, 2.5, 3.182446 * 15**0.5 / 6),
    ([1, 2, 3, 4], [0, 0, 0, 0], 0.9, 2.5, 2.353363 * 15**0.5 / 6),
    # The spread between subjects, far above the difference, drops out.
    ([101, 502, 903], [100, 500, 900], 0.95, 2.0, 4.302653 / 3**0.5),
    # A constant difference has no width.
    ([0.4, 5.4, 9.4], [0.1, 5.1, 9.1], 0.95, 0.3, 0.0),
  ],
)
def test_student_interval(method, other, confidence, mean, half):
  rows = _pair(method, other, confidence=confidence)
  assert {row.n for row in rows} == {len(method)}
  for row, scale in zip(rows[:2], (1, 2), strict=True):
    expected = scale * mean, scale * (mean - half), scale * (mean + half)
    assert _numbers(row) == pytest.approx(expected, rel=1e-6, abs=1e-12)
  assert [row.error for row in rows[:2]] == ["mae", "rmse"]


def test_exchanged_methods_change_the_sign():
  a, b = [1.0, 4.0, 2.0], [2.0, 3.5, 7.0]
  for row, turned in zip(_pair(a, b), _pair(b, a), strict=True):
    assert _numbers(turned) == pytest.approx((-row.mean, -row.high, -row.low))


def test_each_pair_comes_once_in_order():
  subject = subject_errors("brain", 1.0, 1.0) | subject_errors("csf", 2.0, 2.0)
  subjects = [subject, subject]
  rows = paired_differences({"z": subjects, "a": subjects, "m": subjects})
  assert [row[:5] for row in rows.itertuples(index=False, name=None)] == [
    (method, other, tissue, name, error)
    for method, other in (("z", "a"), ("z", "m"), ("a", "m"))
    for tissue in ("csf", "brain")
    for name in MAP_NAMES
    for error in ("mae", "rmse")
  ]


@pytest.mark.parametrize(
  ("method", "other", "n", "mean"),
  [
    ([NAN, 3.0, 4.0], [1.0, NAN, 1.0], 1, 3.0),
    ([NAN, 3.0], [1.0, NAN], 0, NAN),
    ([2.0], [1.5], 1, 0.5),
    ([], [], None, None),
  ],
)
def test_one_subject_has_no_interval(method, other, n, mean):
  rows = _pair(method, other, "csf")
  if n is None:
    assert rows == []
    return
  assert len(rows) == 6
  assert rows[0].n == n
  assert rows[0].mean == pytest.approx(mean, nan_ok=True)
  assert math.isnan(rows[0].low) and math.isnan(rows[0].high)


def test_only_subjects_of_both_count():
  row = _pair([NAN, 3.0, 5.0, 9.0], [1.0, 1.0, 2.0, NAN])[0]
  assert (row.n, row.mean) == (2, 2.5)
  assert row.high - row.mean == pytest.approx(12.706205 * 0.5)

  # A tissue that one method does not name at all.
  errors = {"a": _subjects([1.0, 2.0]), "b": _subjects([1.0, 2.0], "gm")}
  rows = paired_differences(errors)
  assert len(rows) == 12
  assert (rows["n"] == 0).all() and rows["mean"].isna().all()


def test_numbers_of_subjects_must_agree():
  with pytest.raises(UserError, match="a 2, b 3"):
    _pair([1.0, 2.0], [1.0, 2.0, 3.0])


def test_csv_has_all_digits(tmp_path):
  path = tmp_path / "differences.csv"
  errors = {"a": [0.1, 0.7, NAN], "b": [1 / 3, 0.2, 1.0]}
  rows = paired_differences({m: _subjects(x) for m, x in errors.items()})
  write_rows(rows, path)
  text = pd.read_csv(path, dtype=object)
  assert ",".join(text) == "method,other,tissue,map,error,mean,low,high,n"
  pd.testing.assert_frame_equal(text.astype(COLUMNS), rows, check_exact=True)
  assert list(tmp_path.iterdir()) == [path]


def test_layout_is_that_of_table_1():
  errors = {
    method: [
      subject_errors("wm", mae, 2.0) | subject_errors("csf", 9.0 - mae, 2.0)
      for mae in maes
    ]
    for method, maes in {"a": [1.0, 2.0], "b": [4.0, 3.0]}.items()
  }
  table = format_markdown(summarise(errors), title="t", note="Simulated.")
  text = format_differences(
    paired_differences(errors), against="b", title="t", note="Simulated."
  )
  ours, theirs = text.splitlines(), table.splitlines()
  assert ours[:6] == theirs[:6]  # title, note, headings, alignment
  starts = [line.split("|")[1:3] for line in ours[6:8]]
  assert starts == [[" WM ", " a "], [" CSF ", " a "]]
  assert text.endswith(".\n") and "n = 2;" in ours[-1]
  for word in ("95 %", "negative is better", "not adjusted", "training"):
    assert word in ours[-1]


def test_pairs_are_turned_to_baseline():
  rows = _rows("a", "b", 1.5, 1.0, 2.0) + _rows("b", "c", 4.0, 3.0, 5.0)
  rows += _rows("a", "c", 99.0, 98.0, 100.0)
  text = format_differences(_table(rows), against="b", title="t")
  assert cells(text, "WM", "a")[0] == "**+1.500 [+1.000, +2.000]**"
  assert cells(text, "WM", "c")[2] == "**-4.0 [-5.0, -3.0]**"
  assert "99" not in text


@pytest.mark.parametrize(
  ("low", "high", "bold"),
  [(-1, 1, False), (0.01, 1, True), (-2, -0.01, True), (0, 0, False)],
)
@pytest.mark.parametrize("against", ["a", "b"])
def test_intervals_without_zero_are_bold(low, high, bold, against):
  rows = _rows("a", "b", (low + high) / 2, float(low), float(high))
  text = format_differences(_table(rows), against=against, title="t")
  found = cells(text, "WM", "b" if against == "a" else "a")
  assert all(cell.startswith("**") == bold for cell in found)


def test_equal_methods_differ_by_plus_zero():
  rows = _rows("a", "b", 0.0, 0.0, 0.0)
  for against, other in ("ab", "ba"):
    text = format_differences(_table(rows), against=against, title="t")
    assert cells(text, "WM", other)[2] == "+0.0 [+0.0, +0.0]"


def test_cells_without_interval():
  rows = _rows("a", "b", 1.0, NAN, NAN, n=1)[:2]
  rows += _rows("a", "b", NAN, NAN, NAN, n=0)[2:4]
  text = format_differences(_table(rows), against="b", title="t")
  # PD of one subject, T1 of none, and no row of T2.
  assert cells(text, "WM", "a") == ["+1.000"] * 2 + ["–"] * 4


def test_confidence_is_named():
  rows = _table(_rows("a", "b", 1.0, 0.5, 1.5))
  text = format_differences(rows, against="b", title="t", confidence=0.99)
  assert "99 % confidence" in text


def test_unknown_method_is_refused():
  rows = _table(_rows("a", "b", 1.0, 0.0, 2.0))
  with pytest.raises(UserError, match="'c'; there are a, b"):
    format_differences(rows, against="c", title="t")


def test_single_method_gives_empty_table():
  rows = paired_differences({"a": _subjects([1.0, 2.0])})
  assert rows.empty
  text = format_differences(rows, against="a", title="t")
  assert text.startswith("# t\n\n| tissue | method |")
