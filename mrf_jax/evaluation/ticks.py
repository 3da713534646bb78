"""Ticks of logarithmic axes as plain numbers: 200, not 2 × 10²."""

from matplotlib.axis import Axis
from matplotlib.ticker import (
  FuncFormatter,
  Locator,
  LogLocator,
  MaxNLocator,
  NullFormatter,
  NullLocator,
)


def set_plain_ticks(axis: Axis) -> None:
  """Sets few ticks on an axis with a logarithmic scale and its final limits."""
  low, high = axis.get_view_interval()
  axis.set_major_locator(_locator(high / low))
  axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.6g}"))
  axis.set_minor_locator(NullLocator())
  axis.set_minor_formatter(NullFormatter())


def _locator(ratio: float) -> Locator:
  """Places of the ticks between ends of this ratio."""
  if ratio < 6:
    # Equal steps: of 1, 2 and 5 there would be one or none.
    return MaxNLocator(5, steps=(1, 2, 5, 10))
  return LogLocator(subs=(1, 2, 5) if ratio < 1e4 else (1,))
