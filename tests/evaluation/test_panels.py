"""Layout of figures: headings, titles and colour bars do not overlap."""

import itertools

import numpy as np
import pytest

from mrf_jax.evaluation.panels import bounding_box, panel_grid, write_heading

NAMES = (
  "reference",
  "spatiotemporal",
  "dictionary_svd",
  "spatiotemporal_without_augmentation",
  "spatiotemporal_without_augmentation\n− reference",
)


def _grid(title="simulated subject 0", n_columns=5, bars_after=(4,)):
  return panel_grid(
    (40, 32), n_rows=3, n_columns=n_columns, bars_after=bars_after, title=title
  )


def _overlaps(boxes):
  return any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("title", ["short", "a long title that breaks " * 8])
@pytest.mark.parametrize("n_columns", [1, 5])
def test_headings_and_title_do_not_overlap(title, n_columns):
  figure, axes, _ = _grid(title, n_columns, bars_after=(n_columns - 1,))
  for axis, name in zip(axes[0], NAMES[-n_columns:], strict=True):
    write_heading(axis, name)
  title_box = figure.texts[0].get_window_extent()
  boxes = [axis.title.get_window_extent() for axis in axes[0]]
  assert not _overlaps([*boxes, title_box])
  for box in (*boxes, title_box):
    assert 0 <= box.x0 and box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1


def test_only_wide_headings_are_smaller():
  _, axes, _ = _grid()
  for axis, name in zip(axes[0], NAMES, strict=True):
    write_heading(axis, name)
  sizes = [axis.title.get_fontsize() for axis in axes[0]]
  assert sizes[:3] == [9, 9, 9]
  assert all(5 < size < 9 for size in sizes[3:])


def test_bars_follow_their_column():
  figure, axes, bars = _grid(n_columns=4, bars_after=(1, 3))
  assert [len(row) for row in axes] == [4, 4, 4]
  assert [len(row) for row in bars] == [2, 2, 2]
  x = [axis.get_position().x0 for axis in axes[0]]
  bar = [axis.get_position().x0 for axis in bars[0]]
  assert x[0] < x[1] < bar[0] < x[2] < x[3] < bar[1]
  boxes = [axis.get_window_extent() for row in (*axes, *bars) for axis in row]
  assert not _overlaps(boxes)
  assert len(figure.axes) == 3 * (4 + 2)


def test_bounding_box():
  mask = np.zeros((20, 10), bool)
  mask[8:12, 1:3] = True
  assert bounding_box(mask) == (slice(6, 14), slice(0, 5))
