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


def test_student_interval():
  # Differences 1, 2, 3, 4: mean 2.5, s = sqrt(5/3); the tables give
  # t = 3.182446 for 95 % and 2.353363 for 90 % with three degrees of freedom.
  row = _pair([11.0, 22.0, 33.0, 44.0], [10.0, 20.0, 30.0, 40.0])[0]
  half = 3.182446 * math.sqrt(5 / 3) / 2
  assert (row.error, row.n) == ("mae", 4)
  assert _numbers(row) == pytest.approx((2.5, 2.5 - half, 2.5 + half), rel=1e-6)

  row = _pair([1.0, 2.0, 3.0, 4.0], [0.0] * 4, confidence=0.9)[1]
  half = 2.353363 * math.sqrt(5 / 3)  # twice, as the RMSE here
  assert row.error == "rmse"
  assert _numbers(row) == pytest.approx((5.0, 5 - half, 5 + half), rel=1e-6)


def test_subjects_are_paired():
  # The spread between subjects, far above the difference, drops out.
  row = _pair([101.0, 502.0, 903.0], [100.0, 500.0, 900.0])[0]
  assert row.mean == pytest.approx(2.0)
  assert row.high - row.low == pytest.approx(2 * 4.302653 / math.sqrt(3))


def test_constant_difference_has_no_width():
  for row in _pair([0.4, 5.4, 9.4], [0.1, 5.1, 9.1]):
    expected = 0.3 if row.error == "mae" else 0.6
    assert _numbers(row) == pytest.approx([expected] * 3, abs=1e-12)


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
