"""Differences of variants head by head, from records made by hand."""

import numpy as np
import pytest
from scipy import stats

from mrf_jax.experiment.variants import comparisons
from mrf_jax.report.paired import format_paired, paired_table, paired_tables

NAN = float("nan")
HEADS = range(6)
RNG = np.random.default_rng(3)
# MAE in the T1 of white matter of six heads, ms.
SAME = RNG.uniform(90, 110, 6)
VALUES = {
  "same": SAME,
  # One cause less lowers all heads alike, another none.
  "quiet": SAME - RNG.uniform(8, 12, 6),
  "still": SAME + RNG.uniform(-30, 30, 6),
  "none": SAME - 40,
  "noise": SAME - 35 + RNG.uniform(-1, 1, 6),
}
CONTENT = {
  "base": "",
  "ways": dict.fromkeys(VALUES, ""),
  # In the order of a stored configuration.
  "paired": {"none": ["noise"], "same": ["still", "quiet", "none"]},
}


def variant(name, values, heads=HEADS, methods=("cohen", "truth")):
  rows = [
    [method, head, tissue, map_name, factor * value, 2 * factor * value]
    for method in methods
    for head, value in zip(heads, values, strict=True)
    for tissue, factor in (("wm", 1.0), ("brain", 3.0))
    for map_name in ("pd", "t1_ms")
  ]
  # Heads without a tissue.
  rows += [[m, h, "csf", "pd", NAN, NAN] for m in methods for h in heads]
  return {"question": "causes", "name": name, "by_subject": rows}


def all_variants():
  return [variant(name, values) for name, values in VALUES.items()]


def cell_of(text, name, column):
  """Cell of a variant's line under a heading."""
  lines = [line for line in text.splitlines() if line.startswith("|")]
  place = lines[0].removesuffix(" |").split(" | ").index(column)
  (line,) = (x for x in lines if x.startswith(f"| {name} |"))
  return line.removesuffix(" |").split(" | ")[place]


@pytest.mark.parametrize(
  ("name", "other"),
  [("quiet", "same"), ("still", "same"), ("noise", "none")],
)
def test_intervals_are_those_of_a_paired_t_test(name, other):
  rows = paired_table(CONTENT, all_variants())
  test = stats.ttest_rel(VALUES[name], VALUES[other])
  low, high = test.confidence_interval(0.95)
  for error, factor in (("mae", 1), ("rmse", 2)):
    (row,) = rows[
      (rows["method"] == "cohen")
      & (rows["variant"] == name)
      & (rows["other"] == other)
      & (rows["tissue"] == "wm")
      & (rows["map"] == "t1_ms")
      & (rows["error"] == error)
    ].itertuples()
    assert [row.difference, row.low, row.high] == pytest.approx(
      [factor * x for x in (np.mean(VALUES[name] - VALUES[other]), low, high)]
    )
    assert [row.value, row.other_value] == pytest.approx(
      [factor * VALUES[k].mean() for k in (name, other)]
    )
    assert row.n == 6
  text = format_paired("causes", CONTENT, all_variants())
  cell = cell_of(text, name, "WM T1 (ms)")
  excludes_zero = low > 0 or high < 0
  assert cell.startswith("**") == excludes_zero == (test.pvalue < 0.05)
  mean = np.mean(VALUES[name] - VALUES[other])
  assert cell.strip("*") == f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def test_lines_are_variants_below_what_they_are_compared_with():
  text = format_paired("causes", CONTENT, all_variants())
  names = [
    line.split(" | ")[0].removeprefix("| ")
    for line in text.splitlines()
    if line.startswith("|")
  ]
  assert names[2:] == ["*same*", "still", "quiet", "none", "*none*", "noise"]
  assert cell_of(text, "*same*", "brain T1 (ms)") == f"{3 * SAME.mean():.1f}"
  assert cell_of(text, "*none*", "WM PD (a.u.)") == f"{SAME.mean() - 40:.3f}"
  # No head has this tissue, and truth is no method.
  assert "CSF" not in text and "**truth**" not in text
  assert "n = 6;" in text and "causes.csv" in text


def test_heads_are_paired_by_their_numbers():
  """Those that one of two variants lacks do not count."""
  some = variant("quiet", VALUES["quiet"][[4, 1, 2]], heads=(4, 1, 2))
  content = {**CONTENT, "paired": "same", "ways": {"quiet": "", "same": ""}}
  rows = paired_table(content, [variant("same", SAME), some])
  row = rows.iloc[1]
  expected = (VALUES["quiet"] - SAME)[[1, 2, 4]]
  assert row.n == 3 and row.difference == pytest.approx(expected.mean())
  alone = variant("quiet", VALUES["quiet"][:1], heads=(0,))
  text = format_paired("causes", content, [variant("same", SAME), alone])
  # One head has no interval.
  mean = VALUES["quiet"][0] - SAME[0]
  assert cell_of(text, "quiet", "WM T1 (ms)") == f"{mean:+.1f}"


def test_variants_that_were_not_run_are_named():
  found = [v for v in all_variants() if v["name"] not in ("still", "none")]
  text = format_paired("causes", CONTENT, found)
  assert "Not run: still, none." in text
  assert "| noise |" not in text and "| quiet |" in text
  nothing = format_paired("causes", CONTENT, found[:1])
  assert nothing.startswith("No two variants have errors to compare.")
  record = {"config": {"questions": {"causes": CONTENT, "x": {"ways": {}}}}}
  tables = paired_tables({**record, "ways": found[:1]})
  assert [*tables] == ["causes"] and tables["causes"].empty


def test_one_name_compares_all_others_with_it():
  ways = {"a": "", "same": "", "b": ""}
  assert comparisons({"ways": ways, "paired": "same"}) == {"same": ["a", "b"]}
  assert comparisons({"ways": ways}) == {}
