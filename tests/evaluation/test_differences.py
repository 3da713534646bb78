import csv
import math

import pytest
from scipy import stats

from mrf_jax.errors import UserError
from mrf_jax.evaluation.differences import (
  format_differences,
  paired_differences,
  write_differences,
)
from mrf_jax.evaluation.tissues import TISSUES
from mrf_jax.maps import MAP_NAMES


def subjects(values):
  """Errors of one method: the same in every tissue and map."""
  keys = [(t, m) for t in TISSUES for m in MAP_NAMES]
  return [{key: (v, 2 * v) for key in keys} for v in values]


def test_interval_is_that_of_students_t():
  errors = {"a": subjects([5.0, 7.0, 6.0]), "b": subjects([4.0, 4.0, 6.0])}
  row = paired_differences(errors)[0]
  assert (row.method, row.other, row.error, row.n) == ("a", "b", "mae", 3)
  # Differences 1, 3, 0: mean 4/3, as SciPy's own paired test has it.
  expected = stats.ttest_rel([5, 7, 6], [4, 4, 6]).confidence_interval(0.95)
  assert row.mean == pytest.approx(4 / 3)
  assert (row.low, row.high) == pytest.approx((expected.low, expected.high))


def test_every_pair_stands_once():
  errors = {m: subjects([1.0, 2.0]) for m in "abc"}
  rows = paired_differences(errors)
  pairs = {(r.method, r.other) for r in rows}
  assert pairs == {("a", "b"), ("a", "c"), ("b", "c")}
  assert len(rows) == 3 * len(TISSUES) * len(MAP_NAMES) * 2


def test_a_constant_difference_is_certain_and_one_subject_is_not():
  errors = {"a": subjects([5.0, 7.0]), "b": subjects([4.0, 6.0])}
  row = paired_differences(errors)[0]
  assert (row.low, row.mean, row.high) == (1, 1, 1)
  row = paired_differences({m: s[:1] for m, s in errors.items()})[0]
  assert (row.mean, row.n) == (1, 1)
  assert math.isnan(row.low)


def test_subjects_without_the_tissue_do_not_count():
  a, b = subjects([5.0, 7.0, 9.0]), subjects([4.0, 6.0, 5.0])
  a[2] = {key: (math.nan, math.nan) for key in a[2]}
  assert paired_differences({"a": a, "b": b})[0].n == 2


def test_different_subjects_are_refused():
  with pytest.raises(UserError, match="numbers of subjects"):
    paired_differences({"a": subjects([1.0]), "b": subjects([1.0, 2.0])})


def test_csv_keeps_all_digits(tmp_path):
  rows = paired_differences(
    {"a": subjects([0.1, 0.3]), "b": subjects([0.2, 0.1])}
  )
  write_differences(rows, tmp_path / "d.csv")
  with open(tmp_path / "d.csv", newline="") as file:
    read = list(csv.DictReader(file))
  assert list(read[0]) == "method,other,tissue,map,error,mean,low,high,n".split(
    ","
  )
  assert float(read[0]["low"]) == rows[0].low


def test_markdown_turns_pairs_and_marks_what_is_certain():
  errors = {
    "a": subjects([5.0, 7.0, 6.1]),
    "b": subjects([4.0, 6.0, 5.0]),
    "c": subjects([1.0, 9.0, 5.0]),
  }
  text = format_differences(paired_differences(errors), against="b", title="D")
  lines = [x for x in text.splitlines() if x.startswith("| WM")]
  assert [x.split("|")[2].strip() for x in lines] == ["a", "c"]
  # a − b is positive and certain; c − b is not.
  assert "**+1.0 [" in lines[0]
  assert "**" not in lines[1]
