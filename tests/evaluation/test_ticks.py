"""Ticks of logarithmic axes: enough of them, as plain numbers."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mrf_jax.evaluation.ticks import set_plain_ticks


@pytest.mark.parametrize(
  ("low", "high"),
  [(100, 190), (0.021, 0.034), (0.002, 0.03), (60, 500), (1, 4e3), (2e-4, 9)],
)
def test_ticks_are_several_plain_numbers(low, high):
  figure = Figure()
  FigureCanvasAgg(figure)
  axis = figure.subplots()
  axis.plot([1, 2], [low, high])
  axis.set(yscale="log")
  set_plain_ticks(axis.yaxis)
  figure.draw_without_rendering()
  bottom, top = axis.get_ylim()
  ticks = [
    t for t in axis.yaxis.get_major_ticks() if bottom < t.get_loc() < top
  ]
  assert 2 <= len(ticks) <= 14
  for tick in ticks:
    text = tick.label1.get_text()
    assert float(text.replace(",", "")) == pytest.approx(tick.get_loc())
    assert "$" not in text
  assert not axis.yaxis.get_minorticklocs().size
