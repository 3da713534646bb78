"""Figures of maps, errors and signals: sizes, colours and determinism."""

import functools

import numpy as np
import pytest
from matplotlib.image import imread

from mrf_jax.errors import UserError
from mrf_jax.evaluation.figures import (
  error_figure,
  figure3,
  map_windows,
  signal_figure,
)
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.report.results import load_results

_Y, _X = np.mgrid[:40, :32]


def _ellipse(y, x, height, width):
  return ((_Y - y) / height) ** 2 + ((_X - x) / width) ** 2 < 1


MASK = _ellipse(20, 16, 16, 12)


def _head(scale=1.0):
  fluid = _ellipse(22, 16, 5, 2)

  def fill(tissue, csf):
    return np.where(MASK, scale * np.where(fluid, csf, tissue), np.nan)

  return Maps(fill(0.7, 1.0), fill(700, 4500), fill(65, 1500))


def _drawn(draw, path, **changes):
  """Pixels of a figure of two methods, T1 too long and too short."""
  arguments = {
    "reference": _head(),
    "estimates": {"cohen": _head(1.1), "spatiotemporal": _head(0.95)},
    "mask": MASK,
    "title": "simulated subject 1",
    "sides": ("L", "R"),
  }
  draw(path, **(arguments | changes))
  return imread(path)[..., :3]


_figure = functools.partial(_drawn, figure3, difference_of="cohen")
_errors = functools.partial(_drawn, error_figure)


def _colour(image, column, n_columns):
  """Colour of T1 in tissue, left of the middle of a panel."""
  width = (image.shape[1] - 0.74 * 150) / n_columns  # less the colour bar
  return image[image.shape[0] // 2, int((column + 0.3) * width)]


def _reddish(image):
  """Pixels of the red half of the difference's colours."""
  return np.count_nonzero(image[..., 0] > image[..., 2] + 0.4)


def test_figure3_shows_maps(tmp_path):
  path = tmp_path / "figure3.png"
  image = _figure(path)
  height, width, _ = image.shape
  assert 600 < height < 2000 and 800 < width < 2500
  assert 20_000 < path.stat().st_size < 2_000_000
  assert len(np.unique(image.reshape(-1, 3), axis=0)) > 50
  assert np.all(image[-1] == 0) and np.all(image[:, 0] == 0)  # background
  assert [p.name for p in tmp_path.iterdir()] == ["figure3.png"]


@pytest.mark.parametrize("draw", [_figure, _errors])
def test_figures_are_deterministic(draw, tmp_path):
  paths = [tmp_path / name for name in ("a.png", "b.png")]
  for path in paths:
    draw(path)
  assert paths[0].read_bytes() == paths[1].read_bytes()


def test_difference_is_estimate_minus_reference(tmp_path):
  limits = {"pd": 0.1, "t1_ms": 100, "t2_ms": 10}
  path = tmp_path / "f.png"
  above, below = (
    _figure(path, estimates={"cohen": _head(scale)}, difference_limits=limits)
    for scale in (1.1, 0.9)
  )
  assert _reddish(above) > 1.5 * _reddish(below)


def test_figure3_of_six_methods(tmp_path):
  names = "spatiotemporal cohen hoppe gomez dictionary dictionary_svd".split()
  image = _figure(
    tmp_path / "f.png", estimates={name: _head(1.1) for name in names}
  )
  # Eight panels of 1.7 in with gaps and two colour bars of 0.74 in.
  width = (8 * 1.76 + 2 * 0.74 + 0.1) * 150
  assert image.shape[1] == pytest.approx(width, abs=2)


def test_errors_share_their_colours(tmp_path):
  image = _errors(tmp_path / "errors.png")
  above, below = (_colour(image, column, 2) for column in (0, 1))
  assert above[0] > above[2] and below[0] < below[2]  # estimate - reference
  # The smaller error has the paler colour.
  assert above.min() < below.min() - 0.1
  assert [p.name for p in tmp_path.iterdir()] == ["errors.png"]


def test_error_colours_ignore_the_order(tmp_path):
  estimates = {"cohen": _head(1.1), "hoppe": _head(0.95)}
  reordered = dict(reversed(estimates.items()))
  first = _errors(tmp_path / "a.png", estimates=estimates)
  second = _errors(tmp_path / "b.png", estimates=reordered)
  for column in (0, 1):
    np.testing.assert_array_equal(
      _colour(first, column, 2), _colour(second, 1 - column, 2)
    )


def test_equal_errors_look_equal(tmp_path):
  estimates = {name: _head(1.1) for name in ("cohen", "hoppe", "gomez")}
  image = _errors(tmp_path / "e.png", estimates=estimates)
  colours = [_colour(image, column, 3) for column in range(3)]
  assert colours[0][0] > colours[0][2] + 0.2
  np.testing.assert_array_equal(colours, [colours[0]] * 3)


def test_error_limits_can_be_given(tmp_path):
  usual = _errors(tmp_path / "a.png")
  wide = _errors(tmp_path / "b.png", difference_limits={"t1_ms": 1e4})
  assert _colour(wide, 0, 2).min() > 0.85 > _colour(usual, 0, 2).min()


UNKNOWN = Maps(*(np.full(MASK.shape, np.nan) for _ in MAP_NAMES))
TINY = Maps(*np.ones((3, 2, 2)))
ZERO = Maps(*(np.zeros(MASK.shape) for _ in MAP_NAMES))


@pytest.mark.parametrize("draw", [_figure, _errors])
@pytest.mark.parametrize(
  ("reference", "estimate"),
  [(_head(), _head()), (_head(), UNKNOWN), (ZERO, ZERO), (ZERO, UNKNOWN)],
  ids=["perfect", "missing", "constant", "empty"],
)
def test_maps_without_errors_are_drawn(draw, reference, estimate, tmp_path):
  estimates = {"cohen": estimate}
  draw(tmp_path / "f.png", reference=reference, estimates=estimates)


@pytest.mark.parametrize(
  ("draw", "changes", "message"),
  [
    (_figure, {"difference_of": "hoppe"}, "hoppe"),
    (_figure, {"mask": np.zeros_like(MASK)}, "empty"),
    (_figure, {"mask": np.ones((3, 3), bool)}, "shape"),
    (_errors, {"estimates": {}}, "no estimates"),
    (_errors, {"mask": np.zeros_like(MASK)}, "empty"),
    (_errors, {"mask": np.ones((3, 3), bool)}, "pd of reference has shape"),
    (_errors, {"estimates": {"cohen": TINY}}, "pd of cohen"),
  ],
)
def test_bad_input_draws_nothing(draw, changes, message, tmp_path):
  with pytest.raises(UserError, match=message):
    draw(tmp_path / "f.png", **changes)
  assert not list(tmp_path.iterdir())


def test_anterior_is_up(tmp_path):
  path = tmp_path / "s.png"
  image = np.zeros((20, 20), complex)
  image[15:] = 1j  # the anterior quarter is bright
  signal_figure(path, image, title="first frame", sides=("L", "R"))
  drawn = imread(path)[:, :400, :3].mean(-1)
  rows = np.flatnonzero(drawn[:, 300] > 0.9)
  assert rows.size > 50
  assert rows.max() < 0.5 * drawn.shape[0]


def test_signal_figure_file(tmp_path):
  path = tmp_path / "signal.png"
  signal_figure(
    path, np.exp(1j * _X) * _Y, title="first frame", sides=("L", "R")
  )
  assert path.stat().st_size > 3_000
  assert imread(path).std() > 0.1
  assert [p.name for p in tmp_path.iterdir()] == ["signal.png"]


def test_windows_tell_white_from_grey_matter(smoke):
  for left_out in load_results(smoke):
    everywhere = np.ones(left_out.subject.n_voxels, bool)
    windows = map_windows(left_out.reference, everywhere)
    for name in MAP_NAMES:
      low, high = windows[name]
      values = np.asarray(getattr(left_out.reference, name))
      white, grey = (
        np.median(values[left_out.tissues[tissue]]) for tissue in ("wm", "gm")
      )
      assert 0 <= low < white < grey < high
      # Their proton densities differ by a tenth only.
      share = 0.05 if name == "pd" else 0.1
      assert grey - white > share * (high - low)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 40.0, 1e5])
@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0])
def test_windows_have_round_ends(scale, spread):
  values = scale * (1 + spread * np.linspace(-1, 1, 200))
  (low, high), *_ = map_windows(
    Maps(*[values] * 3), np.ones(200, bool)
  ).values()
  assert 0 <= low <= scale < high
  for end in (low, high):
    assert float(f"{end:.3g}") == pytest.approx(end, rel=1e-9)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_windows_of_maps_without_values(value):
  maps = Maps(*np.full((3, 5), value))
  assert set(map_windows(maps, np.ones(5, bool)).values()) == {(0.0, 1.0)}


def test_sides_are_marked_in_the_corners(tmp_path):
  """Other letters change the lower corners of panels, and nothing else."""
  usual, other = (
    _errors(tmp_path / "f.png", sides=sides)
    for sides in (("L", "R"), ("R", "L"))
  )
  rows, columns = np.nonzero(np.any(usual != other, -1))
  assert rows.size
  panel = 1.76 * 150
  within = (columns - 0.1 * 150) % panel / panel
  assert np.all((within < 0.1) | (within > 0.85))


def test_limits_change_the_colours(tmp_path):
  usual = _figure(tmp_path / "a.png")
  wide = _figure(tmp_path / "b.png", windows={"t2_ms": (0.0, 2000.0)})
  third = usual.shape[0] // 3
  # Only the row of T2 may differ.
  np.testing.assert_array_equal(usual[:third], wide[:third])
  assert np.any(usual[2 * third :] != wide[2 * third :])
