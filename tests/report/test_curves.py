"""Curves of errors: titles, labels and ticks of the panels."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mrf_jax.evaluation.panels import save
from mrf_jax.report.curves import draw_curves


def errors(factor):
  maps = {"pd": [0.03 * factor, 0.04], "t1_ms": [90 * factor, 120.0]}
  maps["t2_ms"] = [12 * factor, 20.0]
  return {tissue: maps for tissue in ("wm", "gm", "csf")}


def drawn(positions):
  points = [
    (method, x, errors(x * (1 + k)))
    for k, method in enumerate(("cohen", "hoppe"))
    for x in positions
  ]
  figure = draw_curves(points, label="noise level", title="simulated")
  FigureCanvasAgg(figure).draw()
  return np.reshape(figure.axes, (3, 3))


def ticks(axis):
  """Numbers printed below a panel."""
  low, high = axis.get_xlim()
  return [
    label.get_text()
    for x, label in zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
    if low <= x <= high
  ]


def test_rows_are_maps_columns_tissues():
  panels = drawn([0.15, 0.3, 0.6, 1.2])
  assert [a.get_title() for a in panels[0]] == ["WM", "GM", "CSF"]
  assert [a.get_xlabel() for a in panels[2]] == ["noise level"] * 3
  assert [a.get_ylabel() for a in panels[:, 0]] == [
    "MAE of PD (a.u.)",
    "MAE of T1 (ms)",
    "MAE of T2 (ms)",
  ]
  inner = {a.get_title() for a in panels[1:].flat}
  inner |= {a.get_xlabel() for a in panels[:2].flat}
  assert inner == {""}
  line = panels[1, 0].get_lines()[1]
  assert line.get_label() == "hoppe"
  np.testing.assert_allclose(line.get_ydata()[0], 2 * 0.15 * 90)


@pytest.mark.parametrize(
  ("positions", "expected"),
  [
    ([0.15, 0.3, 0.6, 1.2], ["0.15", "0.3", "0.6", "1.2"]),
    (
      [780, 974, 1169, 1548, 3118, 6880, 13858],
      ["1,000", "2,000", "5,000", "10,000"],
    ),
  ],
)
def test_tick_labels_do_not_overlap(positions, expected):
  """Numbers below the panels are plain and apart."""
  panels = drawn(positions)
  for axis in panels[2]:
    assert ticks(axis) == expected
    boxes = [
      label.get_window_extent()
      for label in axis.get_xticklabels(which="both")
      if label.get_text()
    ]
    boxes.sort(key=lambda box: box.x0)
    for left, right in itertools.pairwise(boxes):
      assert left.x1 < right.x0


def test_figure_is_written(tmp_path):
  points = [("cohen", x, errors(x)) for x in (1.0, 2.0)]
  figure = draw_curves(points, label="steps", title="simulated")
  save(figure, tmp_path / "errors.png")
  assert (tmp_path / "errors.png").stat().st_size > 10_000
