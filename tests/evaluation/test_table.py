import math

import pandas as pd
import pytest

from mrf_jax.errors import UserError
from mrf_jax.evaluation.table import (
  COLUMNS,
  format_markdown,
  format_text,
  read_table,
  summarise,
  write_rows,
)
from mrf_jax.maps import MAP_NAMES
from tests.evaluation.examples import NAN, cells, subject_errors

HEAD = "method,tissue,map,mae_mean,mae_std,rmse_mean,rmse_std,n"


def _table(*rows):
  return pd.DataFrame(rows, columns=[*COLUMNS])


def _rows(method, tissue, mae, n=6):
  return [(method, tissue, m, mae, 0.5, mae + 1, 0.25, n) for m in MAP_NAMES]


def _first(rows):
  """Cells of the first row."""
  return next(rows.itertuples(index=False, name=None))


def test_mean_and_sample_standard_deviation():
  subjects = [subject_errors("wm", mae, 2 * mae) for mae in (1.0, 2.0, 6.0)]
  row = summarise({"cohen": subjects}).iloc[1]
  assert [*row[:3], row.n] == ["cohen", "wm", "t1_ms", 3]
  spread = math.sqrt(7)
  numbers = [row.mae_mean, row.mae_std, row.rmse_mean, row.rmse_std]
  assert numbers == pytest.approx([3.0, spread, 6.0, 2 * spread])
  # The note names the divisor: these squares, of sum 14, are divided by 2.
  note = "Mean ± standard deviation (n − 1) over the left-out subjects, n = 3."
  assert note in format_markdown(summarise({"cohen": subjects}), title="t")


def test_one_subject_has_no_spread():
  rows = summarise({"cohen": [subject_errors("wm", 4.0, 5.0)]})
  assert _first(rows)[3:] == (4.0, 0.0, 5.0, 0.0, 1)


def test_empty_tissues_do_not_count():
  full, empty = subject_errors("csf", 4.0, 5.0), subject_errors("csf", NAN, NAN)
  some, none = (
    _first(summarise({"cohen": s})) for s in ([empty, full], [empty, empty])
  )
  assert some[3:] == (4.0, 0.0, 5.0, 0.0, 1)
  assert none[-1] == 0
  assert all(map(math.isnan, none[3:7]))


def test_order_is_method_tissue_map():
  subject = subject_errors("brain", 1.0, 1.0) | subject_errors("wm", 1.0, 1.0)
  rows = summarise({"truth": [subject], "cohen": [subject]})
  assert [row[:3] for row in rows.itertuples(index=False, name=None)] == [
    (method, tissue, name)
    for method in ("truth", "cohen")
    for tissue in ("wm", "brain")
    for name in MAP_NAMES
  ]


def test_csv_is_exact(tmp_path):
  path = tmp_path / "table1.csv"
  rows = _table(
    ("cohen", "wm", "pd", 0.1 + 0.2, 1 / 3, 1e-17, 0.0, 6),
    ("a, b", "csf", "t1_ms", 1162.6, 0.0, 5e-324, 1.7976931348623157e308, 1),
    ("nan", "csf", "pd", NAN, NAN, NAN, NAN, 0),
  )
  write_rows(rows, path)
  pd.testing.assert_frame_equal(read_table(path), rows, check_exact=True)
  assert path.read_text().splitlines() == [
    HEAD,
    "cohen,wm,pd,0.30000000000000004,0.3333333333333333,1e-17,0.0,6",
    '"a, b",csf,t1_ms,1162.6,0.0,5e-324,1.7976931348623157e+308,1',
    "nan,csf,pd,nan,nan,nan,nan,0",
  ]
  assert list(tmp_path.iterdir()) == [path]


def test_failed_writing_keeps_old_table(tmp_path):
  class Unprintable:
    def __str__(self):
      raise TypeError

  path = tmp_path / "table1.csv"
  write_rows(_table(*_rows("cohen", "wm", 1.0)), path)
  before = path.read_bytes()
  rows = _table(*_rows("cohen", "wm", 2.0), *_rows(Unprintable(), "wm", 2.0))
  with pytest.raises(TypeError):
    write_rows(rows, path)
  assert path.read_bytes() == before
  assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (None, "No such file"),
    (b"", "No columns"),
    (b"method,tissue\n", "the columns are not method,tissue,map"),
    (b"HEAD,more\nm,wm,pd,1,2,3,4,6,7\n", "the columns are not"),
    (b"HEAD\nm,wm,pd,1,2,3,4,6,7\n", "the columns are not"),
    (b"HEAD\nm,wm,pd,1,2,3,4,6\nm,wm,pd,1,2,3,4,6,7\n", "line 3"),
    (b"HEAD\nm,wm,pd,1,2,x,4,6\n", "'x'.* column 'rmse_mean'"),
    (b"HEAD\nm,wm,pd,1,2,3,4,6.5\n", "'6.5'.* column 'n'"),
    (b"HEAD\nm,wm,pd,1,2,3,4,99999999999999999999\n", "too large"),
    (b"HEAD\nm,wm,pd,1,2,3,4,6\nm,wm,pd,1,6\n", "column 'rmse_mean'"),
    (b"HEAD\nm,wm,pd,1,2,3,4,6\nm,wm,pd,1,2,3,", "column 'rmse_std'"),
    (b"HEAD\nm,wm\n", "column 'mae_mean'"),
    (b"HEAD\n\n", "column 'mae_mean'"),
    (b"HEAD\n\xe9,wm,pd,1,2,3,4,6\n", "utf-8"),
    (b'HEAD\n"m,wm,pd,1,2,3,4,6\n', "EOF inside string"),
  ],
)
def test_bad_csv_is_refused(tmp_path, content, message):
  path = tmp_path / "t.csv"
  if content is not None:
    path.write_bytes(content.replace(b"HEAD", HEAD.encode()))
  with pytest.raises(UserError, match=message) as caught:
    read_table(path)
  assert str(caught.value).startswith(f"{path}: ")
  assert "\n" not in str(caught.value)


def test_markdown_layout():
  rows = _rows("truth", "wm", 1.0) + _rows("cohen", "wm", 209.04)
  rows += _rows("hoppe", "wm", 253.9) + _rows("cohen", "csf", 7.0)
  text = format_markdown(_table(*rows), title="Table 1", note="Simulated.")
  lines = text.splitlines()
  assert lines[:3] == ["# Table 1", "", "Simulated."]
  assert lines[4] == (
    "| tissue | method | PD MAE (a.u.) | PD RMSE (a.u.) | T1 MAE (ms) "
    "| T1 RMSE (ms) | T2 MAE (ms) | T2 RMSE (ms) |"
  )
  starts = [line.split("|")[1:3] for line in lines[6:10]]
  assert [(t.strip(), m.strip()) for t, m in starts] == [
    ("WM", "cohen"),
    ("WM", "hoppe"),
    ("WM", "truth"),  # first in the rows, but only a reference
    ("CSF", "cohen"),
  ]
  assert cells(text, "WM", "hoppe")[:3] == [
    "253.900 ± 0.500",
    "254.900 ± 0.250",
    "253.9 ± 0.5",
  ]
  assert text.endswith("n = 6.\n")


@pytest.mark.parametrize("reference", ["training_mean", "truth", "acquired"])
def test_best_mean_is_bold(reference):
  """Of each cell; rows of references do not compete, and come last."""
  first = [("a", "gm", m, 1.0, 0.5, 9.0, 0.5, 6) for m in MAP_NAMES]
  second = [("b", "gm", m, 2.0, 0.1, 8.0, 0.5, 6) for m in MAP_NAMES]
  rows = _table(*_rows(reference, "gm", 0.1), *second, *first)
  text = format_markdown(rows, title="t", note="")
  methods = [line.split("|")[2].strip() for line in text.splitlines()[-5:-2]]
  assert methods == ["b", "a", reference]
  assert cells(text, "GM", "a")[2:4] == ["**1.0 ± 0.5**", "9.0 ± 0.5"]
  assert cells(text, "GM", "b")[2:4] == ["2.0 ± 0.1", "**8.0 ± 0.5**"]
  assert cells(text, "GM", reference)[2:4] == ["0.1 ± 0.5", "1.1 ± 0.2"]


def test_cells_without_subjects_are_dashes():
  empty = [("a", "csf", m, NAN, NAN, NAN, NAN, 0) for m in MAP_NAMES]
  rows = _table(*empty, *_rows("b", "csf", 3.0, n=5))
  text = format_markdown(rows, title="t")
  assert cells(text, "CSF", "a") == ["–"] * 6
  assert cells(text, "CSF", "b")[2] == "**3.0 ± 0.5**"
  assert text.endswith("n = 0–5.\n")


def test_numbers_of_subjects_by_tissue():
  rows = _table(*_rows("a", "wm", 1.0, n=6), *_rows("a", "csf", 1.0, n=5))
  assert "n = 6 (wm), 5 (csf)." in format_text(rows)


def test_text_fits_a_terminal():
  """In 80 columns, MAE above RMSE, aligned; a star marks the best method."""
  rows = _rows("spatiotemporal_plus", "wm", 2.0) + _rows("b", "wm", 1000.0)
  rows += [("b", "csf", m, NAN, NAN, NAN, NAN, 0) for m in MAP_NAMES]
  rows += _rows("truth", "wm", 1.0)
  text = format_text(_table(*rows))
  lines = text.splitlines()
  assert max(map(len, lines)) <= 80
  mae, rmse = lines.index("MAE"), lines.index("RMSE")
  for first, best in ((mae, "2.000 ± 0.500*"), (rmse, "3.000 ± 0.250*")):
    heading, _, one, other, truth, _, empty = lines[first + 1 : first + 8]
    assert heading.split() == [
      *("tissue", "method", "PD", "(a.u.)", "T1", "(ms)", "T2", "(ms)")
    ]
    assert one.split()[:2] == ["WM", "spatiotemporal_plus"] and best in one
    assert other.split()[0] == "b" and truth.split()[0] == "truth"
    assert empty.split() == ["CSF", "b", "–", "–", "–"]
    # The last digits stand below each other.
    ends = {len(line.rstrip("*")) for line in (heading, one, other, truth)}
    assert len(ends) == 1
  assert text.count("*") == 2 * len(MAP_NAMES) + 1
